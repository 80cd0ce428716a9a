"""Faults and attacks that only real sockets can show."""

import hashlib
import random
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import ConfigError, InvariantBroken
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.machine import Instant, Lane
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.sockets import client, server
from qallow_agent.mesh.io.zmq_curve import bind

IPV6_LOOPBACK = "::1"


def read_clock() -> Instant:
    return Instant(time.monotonic(), time.time_ns())


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((IPV6_LOOPBACK, 0))
    except OSError:
        return False
    return True


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(0)


class Attackers:
    """Hostile clients with any key, beyond what the transport would do."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self._sockets: list[Any] = []

    def dial(self, victim: Any, key: CurveKey, port: int, routing_id: bytes = b"") -> Any:
        settings = replace(victim.settings, message_limit_bytes=1 << 20)
        dealer = client(self.context, settings, key, victim.curve.public, 10)
        if routing_id:
            dealer.routing_id = routing_id
        dealer.connect(f"tcp://127.0.0.1:{port}")
        self._sockets.append(dealer)
        return dealer

    def dial_plain(self, port: int) -> Any:
        plain = self.context.socket(zmq.DEALER)
        plain.immediate = 1
        plain.connect(f"tcp://127.0.0.1:{port}")
        self._sockets.append(plain)
        return plain

    def close(self) -> None:
        for dealer in self._sockets:
            dealer.close(0)


@pytest.fixture
def attackers(context: Any) -> Iterator[Attackers]:
    made = Attackers(context)
    yield made
    made.close()


def test_a_server_without_a_zap_handler_is_refused(context: Any) -> None:
    settings = TransportSettings()
    with pytest.raises(InvariantBroken, match="every stranger"):
        server(context, settings, CurveKey(b"s" * 32), b"mesh")


def test_a_member_cannot_speak_as_another_by_its_routing_id(
    curve: Any, attackers: Attackers
) -> None:
    victim, member, other = curve.start("victim"), curve.start("member"), curve.start("other")
    for peer in (member, other):
        victim.transport.admit(peer.node, peer.curve.public, peer.transport.contact)
    port = victim.transport.contact.stream
    dealer = attackers.dial(victim, member.curve, port, routing_id=other.node.encode())
    curve.wait(lambda: dealer.poll(0, zmq.POLLOUT))
    dealer.send(b"i am other")
    curve.wait(victim.packets)
    assert victim.packets()[0].sender == member.node


def test_messages_of_too_many_parts_are_dropped(curve: Any, attackers: Attackers) -> None:
    victim, member = curve.start("victim"), curve.start("member")
    victim.transport.admit(member.node, member.curve.public, member.transport.contact)
    dealer = attackers.dial(victim, member.curve, victim.transport.contact.stream)
    curve.wait(lambda: dealer.poll(0, zmq.POLLOUT))
    dealer.send_multipart([b"one", b"two"])
    dealer.send_multipart([b""] * 50)
    dealer.send(b"fine")
    curve.wait(victim.packets)
    assert [packet.data for packet in victim.packets()] == [b"fine"]
    assert victim.transport.counters()["stream.malformed"] == 2


def test_an_oversized_frame_costs_its_sender_the_connection(
    curve: Any, attackers: Attackers
) -> None:
    victim, member = curve.start("victim"), curve.start("member")
    victim.transport.admit(member.node, member.curve.public, member.transport.contact)
    dealer = attackers.dial(victim, member.curve, victim.transport.contact.stream)
    curve.wait(lambda: dealer.poll(0, zmq.POLLOUT))
    dealer.send(b"x" * (victim.settings.message_limit_bytes + 1000))
    curve.wait(lambda: not dealer.poll(0, zmq.POLLOUT))
    assert not victim.packets()


def test_a_flood_is_cut_at_the_peers_rate(curve: Any) -> None:
    slow = replace(curve.settings, peer_rate_hz=10.0, peer_burst=20)
    a, b = curve.start("a"), curve.start("b", slow)
    curve.befriend(a, b)
    for _ in range(200):
        a.transport.send(b.node, b"x", Lane.STREAM)
    curve.wait(lambda: b.transport.counters().get("packet.flood", 0) > 100)
    assert len(b.packets()) < 100


def test_a_client_without_curve_is_refused(curve: Any, attackers: Attackers) -> None:
    a = curve.start("a")
    for port in (a.transport.contact.stream, a.transport.contact.door):
        plain = attackers.dial_plain(port)
        curve.settle(0.1)
        assert not plain.poll(0, zmq.POLLOUT)
    assert not a.packets()


def test_random_bytes_on_every_port_change_nothing(curve: Any) -> None:
    a, b = curve.start("a"), curve.start("b")
    curve.befriend(a, b)
    contact = b.transport.contact
    rng = random.Random(7)
    junk = [rng.randbytes(rng.randrange(1, 3000)) for _ in range(100)]
    for port in (contact.stream, contact.door):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f" + junk[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        for data in junk:
            raw.sendto(data, ("127.0.0.1", contact.datagram))
            raw.sendto(data, ("127.0.0.1", b.settings.beacon_port))
    a.transport.send(b.node, b"alive", Lane.STREAM)
    curve.wait(b.packets)
    curve.settle(0.1)
    assert [packet.data for packet in b.packets()] == [b"alive"]
    assert sum(b.transport.counters().values()) >= 100


def test_a_full_queue_never_blocks_the_sender(curve: Any) -> None:
    tight = replace(curve.settings, high_water=16)
    a, b = curve.start("a", tight), curve.start("b", tight)
    curve.befriend(a, b)
    sent = [a.transport.send(b.node, b"x" * 60_000, Lane.STREAM) for _ in range(2000)]
    assert not sent[-1]
    assert sent.count(True) < 2000
    curve.wait(lambda: len(b.packets()) >= sent.count(True))


def test_a_dead_peers_closed_port_is_reported_as_refused(curve: Any) -> None:
    a, b = curve.start("a"), curve.start("b")
    curve.befriend(a, b)
    curve.stop(b)
    curve.wait(lambda: a.events("down") and a.events("refused"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux queues ICMP errors")
def test_a_datagram_to_a_closed_port_is_reported_as_refused(curve: Any) -> None:
    settings = replace(curve.settings, retry_first_s=30.0, retry_limit_s=30.0)
    a, b = curve.start("a", settings), curve.start("b")
    curve.befriend(a, b)
    curve.stop(b)
    curve.wait(lambda: a.events("down"))
    before = len(a.events("refused"))
    a.transport.send(b.node, b"are you there?", Lane.DATAGRAM)
    curve.wait(lambda: len(a.events("refused")) > before)
    assert a.events("refused")[-1].node == b.node


def test_a_returning_peer_revives_a_link_that_waits_long(curve: Any) -> None:
    patient = replace(curve.settings, retry_first_s=30.0, retry_limit_s=30.0)
    a, b = curve.start("a", patient), curve.start("b")
    curve.befriend(a, b)
    curve.stop(b)
    curve.wait(lambda: a.events("down"))
    again = curve.restart(b)
    again.transport.admit(a.node, a.curve.public, a.transport.contact)
    curve.wait(lambda: len(a.events("up")) == 2)


def test_admitting_again_dials_at_once(curve: Any) -> None:
    patient = replace(curve.settings, retry_first_s=30.0, retry_limit_s=30.0)
    a, b = curve.start("a", patient), curve.start("b")
    curve.befriend(a, b)
    curve.stop(b)
    curve.wait(lambda: a.events("down"))
    again = curve.restart(b)
    again.transport.admit(a.node, a.curve.public, a.transport.contact)
    a.transport.admit(b.node, b.curve.public, b.transport.contact)
    curve.wait(lambda: len(a.events("up")) == 2)


def test_what_was_sent_before_closing_still_arrives(curve: Any) -> None:
    a, b = curve.start("a"), curve.start("b")
    curve.befriend(a, b)
    a.transport.send(b.node, b"i leave", Lane.STREAM)
    curve.stop(a)
    curve.wait(b.packets)
    assert b.packets()[0].data == b"i leave"


def test_a_taken_port_is_named_with_the_way_out(curve: Any) -> None:
    a = curve.start("a")
    contact = a.transport.contact
    for key, port in (
        ("stream_port", contact.stream),
        ("door_port", contact.door),
        ("datagram_port", contact.datagram),
    ):
        settings = replace(curve.settings, **{key: port})
        with pytest.raises(ConfigError, match=str(port)) as caught:
            bind(settings, b"c" * 32, read_clock)
        assert key in caught.value.hint


@pytest.mark.parametrize("address", ["example.org", "203.0.113.7", ""])
def test_a_bind_address_that_is_not_ours_is_named(address: str, curve: Any) -> None:
    settings = replace(curve.settings, bind=address)
    with pytest.raises(ConfigError, match="203" if address.startswith("203") else "no IP address"):
        bind(settings, b"c" * 32, read_clock)


def test_a_peer_known_by_name_is_reached(curve: Any) -> None:
    named = replace(curve.settings, advertise=("localhost",))
    a, b = curve.start("a", named), curve.start("b", named)
    assert b.transport.contact.hosts == ("localhost",)
    curve.befriend(a, b)
    a.transport.knock(b.transport.contact, b.curve.public, b"open", "@trust/b", 5.0)
    a.transport.send(b.node, b"datagram", Lane.DATAGRAM)
    curve.wait(lambda: len(b.packets()) == 2)


def test_a_broadcast_target_known_by_name_is_reached(curve: Any) -> None:
    quiet = replace(curve.settings, beacon=False)
    a, b = curve.start("a", quiet), curve.start("b", quiet)
    a.transport.broadcast(b"seed?", (f"localhost:{b.transport.contact.datagram}",))
    curve.wait(b.packets)
    assert b.packets()[0].data == b"seed?"


def test_a_peer_is_reached_at_the_one_host_that_works(curve: Any) -> None:
    hosts = ("127.0.0.9", "192.0.2.77", "127.0.0.1")
    a, b = curve.start("a"), curve.start("b", replace(curve.settings, advertise=hosts))
    curve.befriend(a, b)
    a.transport.send(b.node, b"found you", Lane.STREAM)
    curve.wait(b.packets)


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 33])
def test_a_key_that_is_none_fails_the_knock_and_no_more(key: bytes, curve: Any) -> None:
    a, b = curve.start("a"), curve.start("b")
    a.transport.knock(b.transport.contact, key, b"?", "@trust/b", 60.0)
    curve.wait(a.failures)
    a.transport.admit(b.node, key, b.transport.contact)
    curve.settle(0.05)
    assert not a.events("up")


@pytest.mark.parametrize(
    ("hosts", "port"),
    [
        (("127.0.0.1",), 99999),
        (("127.0.0.1",), -1),
        (("127.0.0.1",), 0),
        (("fe80::1%;tcp://127.0.0.1",), 1),
        (("a\0b", "", "*", "x" * 5000, "\ud800"), 1),
        ((), 1),
    ],
)
def test_a_contact_that_is_nonsense_harms_nobody(
    hosts: tuple[str, ...], port: int, curve: Any
) -> None:
    a, b = curve.start("a"), curve.start("b")
    nonsense = Contact(hosts, port, port, port)
    a.transport.admit(b.node, b.curve.public, nonsense)
    a.transport.knock(nonsense, b.curve.public, b"?", "@trust/b", 0.1)
    a.transport.send(b.node, b"x", Lane.STREAM)
    a.transport.send(b.node, b"x", Lane.DATAGRAM)
    curve.wait(a.failures)
    assert not a.events("up")


def test_the_door_refuses_a_crowd_from_one_address(curve: Any) -> None:
    strict = replace(curve.settings, door_burst=1, door_rate_hz=0.1)
    a, b = curve.start("a"), curve.start("b", strict)
    for number in range(3):
        reply_as = f"@trust/{number}"
        a.transport.knock(b.transport.contact, b.curve.public, b"me first", reply_as, 5.0)
    curve.wait(lambda: len(a.failures()) == 2 and b.packets())
    assert b.transport.counters()["handshake.door-rate"] == 2


def test_the_door_holds_only_so_many_strangers(curve: Any, attackers: Attackers) -> None:
    small = replace(curve.settings, door_connections=2)
    b = curve.start("b", small)
    port = b.transport.contact.door
    strangers = [
        attackers.dial(b, CurveKey(hashlib.sha256(b"%d" % i).digest()), port) for i in range(5)
    ]
    curve.wait(lambda: b.transport.counters().get("handshake.door-full", 0) >= 1)
    let_in = sum(bool(dealer.poll(0, zmq.POLLOUT)) for dealer in strangers)
    assert let_in <= 2


def test_more_knocks_than_may_run_take_their_turn(curve: Any) -> None:
    a, b = curve.start("a", replace(curve.settings, knocks_limit=2)), curve.start("b")
    for number in range(10):
        reply_as = f"@trust/{number}"
        a.transport.knock(b.transport.contact, b.curve.public, b"?", reply_as, 10.0)
    answered: set[str] = set()

    def answer() -> bool:
        for packet in b.packets():
            if packet.sender not in answered:
                answered.add(packet.sender)
                b.transport.reply(packet.sender, b"!")
        return len(a.packets()) == 10

    curve.wait(answer)
    assert len({packet.sender for packet in a.packets()}) == 10


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_two_nodes_meet_over_ipv6(curve: Any) -> None:
    settings = replace(curve.settings, bind=IPV6_LOOPBACK)
    a, b = curve.start("a", settings), curve.start("b", settings)
    assert b.transport.contact.hosts == (IPV6_LOOPBACK,)
    curve.befriend(a, b)
    a.transport.send(b.node, b"stream", Lane.STREAM)
    a.transport.send(b.node, b"datagram", Lane.DATAGRAM)
    curve.wait(lambda: len(b.packets()) == 2)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_a_dual_stack_node_meets_an_ipv4_node(curve: Any) -> None:
    dual = replace(curve.settings, bind="::", advertise=("127.0.0.1", IPV6_LOOPBACK))
    a, b = curve.start("a", dual), curve.start("b")
    curve.befriend(a, b)
    a.transport.send(b.node, b"datagram", Lane.DATAGRAM)
    b.transport.send(a.node, b"datagram", Lane.DATAGRAM)
    curve.wait(lambda: a.packets() and b.packets())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_closing_leaves_no_descriptor_behind(curve: Any) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def live() -> None:
        a, b = curve.start("a"), curve.start("b")
        curve.befriend(a, b)
        a.transport.knock(b.transport.contact, b.curve.public, b"?", "@trust/b", 60.0)
        curve.wait(b.packets)
        curve.stop(a)
        curve.stop(b)

    live()
    before = descriptors()
    for _ in range(3):
        live()
    assert descriptors() <= before
