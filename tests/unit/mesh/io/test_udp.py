import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.mesh.io.port import Arrival, Packet
from qallow_agent.mesh.io.refusals import _is_refusal, hear_refusals, refused_addresses
from qallow_agent.mesh.io.udp import DatagramLane, Sealing, open_lane

ALICE = NodeId("alice")
LIMIT = 100


def seal(data: bytes) -> bytes:
    return b"S" + data


def open_sealed(data: bytes) -> tuple[NodeId, bytes]:
    if not data.startswith(b"S"):
        raise Malformed("not sealed")
    return ALICE, data[1:]


def make_lane() -> DatagramLane:
    lane = open_lane("127.0.0.1", 0, 65536)
    return DatagramLane(lane, LIMIT, lambda: Instant(1.0, 2), Counter())


@pytest.fixture
def lane() -> Iterator[DatagramLane]:
    made = make_lane()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[DatagramLane]:
    made = make_lane()
    made.unlock(Sealing(seal, open_sealed))
    yield made
    made.close()


def accept(lane: DatagramLane, data: bytes) -> list[Arrival]:
    arrivals: list[Arrival] = []
    lane.accept(data, Instant(1.0, 2), arrivals)
    return arrivals


def test_a_locked_lane_neither_sends_nor_reads(lane: DatagramLane) -> None:
    lane.admit(ALICE, ["127.0.0.1"], 9)
    assert not lane.send(ALICE, b"x")
    assert accept(lane, b"Sx") == []
    assert lane._drops == {"datagram.locked": 1}


def test_garbage_is_counted_by_reason(lane: DatagramLane) -> None:
    lane.unlock(Sealing(seal, open_sealed))
    assert accept(lane, b"junk") == []
    assert accept(lane, b"S" * (LIMIT + 1)) == []
    assert lane._drops == {"datagram.malformed": 1, "datagram.too-large": 1}
    assert [item.data for item in accept(lane, b"Sx") if isinstance(item, Packet)] == [b"x"]


def test_what_does_not_fit_after_sealing_is_not_sent(lane: DatagramLane) -> None:
    lane.unlock(Sealing(seal, open_sealed))
    assert lane.seal(b"x" * (LIMIT - 1)) == b"S" + b"x" * (LIMIT - 1)
    assert lane.seal(b"x" * LIMIT) is None
    assert lane.seal(b"x" * 10_000) is None


def test_a_peer_without_a_lane_gets_no_datagram(lane: DatagramLane) -> None:
    lane.unlock(Sealing(seal, open_sealed))
    lane.admit(ALICE, ["127.0.0.1"], 0)
    assert not lane.send(ALICE, b"x")
    lane.admit(ALICE, ["::1"], 9)
    assert not lane.send(ALICE, b"x")


def test_answers_go_to_where_datagrams_came_from(lane: DatagramLane, other: DatagramLane) -> None:
    lane.unlock(Sealing(seal, open_sealed))
    lane.admit(ALICE, ["127.0.0.2", "127.0.0.3"], 9)
    assert other.send_to(b"Shi", "127.0.0.1", lane.port)
    arrivals: list[Arrival] = []
    while not arrivals:
        lane.drain(arrivals)
    assert lane.send(ALICE, b"back")
    heard: list[Arrival] = []
    while not heard:
        other.drain(heard)
    assert lane._routes[ALICE] == (("127.0.0.1", other.port),)


def test_the_way_to_a_stranger_is_not_learnt(lane: DatagramLane, other: DatagramLane) -> None:
    lane.unlock(Sealing(seal, open_sealed))
    other.send_to(b"Shi", "127.0.0.1", lane.port)
    arrivals: list[Arrival] = []
    while not arrivals:
        lane.drain(arrivals)
    assert not lane._routes


def test_an_expelled_peer_leaves_no_route(lane: DatagramLane) -> None:
    lane.admit(ALICE, ["127.0.0.1"], 9)
    lane.expel(ALICE)
    lane.expel(ALICE)
    assert not lane._routes
    assert not lane._nodes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux queues ICMP errors")
def test_a_closed_port_is_named_by_the_error_queue() -> None:
    closed = open_lane("127.0.0.1", 0, 65536)
    place = closed.getsockname()
    closed.close()
    with open_lane("127.0.0.1", 0, 65536) as lane:
        lane.sendto(b"x", place)
        refused: list[tuple[str, int]] = []
        for _ in range(1000):
            refused += refused_addresses(lane)
            if refused:
                break
        assert refused == [place]
        assert refused_addresses(lane) == []


def test_other_control_messages_are_no_refusals() -> None:
    error = struct.Struct("@IBBBBII")
    refusal = error.pack(111, 2, 3, 3, 0, 0, 0)
    assert _is_refusal(socket.IPPROTO_IP, 11, refusal)
    assert not _is_refusal(socket.IPPROTO_IP, 11, error.pack(90, 2, 3, 4, 0, 0, 0))
    assert not _is_refusal(socket.IPPROTO_IP, 11, error.pack(111, 1, 3, 3, 0, 0, 0))
    assert not _is_refusal(socket.IPPROTO_IP, 8, refusal)
    assert not _is_refusal(socket.IPPROTO_IP, 11, refusal[:4])


def test_refusals_of_a_socket_that_hears_none_are_none() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet:
        quiet.setblocking(False)
        hear_refusals(quiet)
        assert refused_addresses(quiet) == []
