"""The way to a runner, from a client's side: a real CURVE socket that says what a test wants."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import zmq

from qallow_agent.base.errors import WireError
from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.keys import CurveKey, z85
from qallow_agent.client.wires import Exchange, Wire
from qallow_agent.jobs.manifest import Parts, unpack
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.parcels import (
    ArrayHead,
    Header,
    Ping,
    ResultHead,
    ResultParcel,
    TaskHead,
    TaskParcel,
    pack,
)

pytestmark = [pytest.mark.system]

LEASE = LeaseId("lease-1")


@dataclass
class Notes:
    """Everything a wire told its listener."""

    up: int = 0
    down: list[str] = field(default_factory=list)
    parcels: list[tuple[Header, Sequence[Parts]]] = field(default_factory=list)
    nonsense: list[str] = field(default_factory=list)

    def wire_up(self, wire: Wire) -> None:
        self.up += wire.dial_until_s is None

    def wire_down(self, wire: Wire, reason: str) -> None:
        assert wire.hopeless == reason
        self.down.append(reason)

    def wire_parcel(self, wire: Wire, header: Header, parts: Sequence[Parts]) -> None:
        assert wire.lease.id == LEASE
        self.parcels.append((header, parts))

    def wire_nonsense(self, wire: Wire, error: WireError) -> None:
        self.nonsense.append(error.message)
        wire.close()


class Stage:
    """A runner's socket without a runner, and an exchange that dials it."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.key = CurveKey(os.urandom(32))
        self.router = self.context.socket(zmq.ROUTER)
        self.router.linger = 0
        self.router.curve_server = True
        self.router.curve_secretkey = z85(self.key.secret)
        self.port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.exchange = Exchange(CurveKey(os.urandom(32)), NodeId("here"))
        self.notes = Notes()

    def dial(self, *hosts: str, node: str = "there", **changed: Any) -> Wire:
        given: dict[str, Any] = {
            "id": LEASE, "job": JobId("job-1"), "node": NodeId(node), "node_name": "there",
            "device": "cpu0", "runner": RunnerId("runner-1"), "kernel": "k", "kernel_hash": "h",
            "credits": 10, "ttl_s": 10.0, "expires_s": 0.0, "hosts": hosts, "port": self.port,
            "runner_key": self.key.public, "submitter_key": b"",
        }  # fmt: skip
        return self.exchange.dial(Lease(**given | changed), self.notes, time.monotonic())

    def pump(self, done: Callable[[], object], within_s: float = 10.0) -> None:
        end_s = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < end_s, self.notes
            for source, _ in self.exchange.poller.poll(20):
                reader = self.exchange.readers.get(source)
                if reader is not None:
                    reader()

    def meet(self) -> tuple[Wire, bytes]:
        """Return a connected wire, and how to answer it."""
        wire = self.dial("127.0.0.1")
        self.pump(lambda: self.notes.up)
        wire.send((TaskHead(1, 1, 1, {}),), [])
        assert self.router.poll(5_000)
        route, header = self.router.recv_multipart()
        assert isinstance(unpack([header]), TaskParcel)
        return wire, route

    def close(self) -> None:
        self.exchange.close()
        self.router.close()
        self.context.term()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def results(*heads: ArrayHead) -> bytes:
    return pack(ResultParcel(LEASE, (ResultHead(1, 1, 0.1, heads),)))


def test_tasks_go_out_and_results_come_back(stage: Stage) -> None:
    wire, route = stage.meet()
    assert list(wire.flights) == [1]
    small, large = os.urandom(16), os.urandom(1 << 20)
    heads = (ArrayHead("small", "f8", (2,)), ArrayHead("large", "u1", (1 << 20,)))
    stage.router.send_multipart([route, results(*heads), small, large])
    stage.pump(lambda: stage.notes.parcels)
    _, parts = stage.notes.parcels[0]
    assert [bytes(data) for data in parts[0]] == [small, large]


def test_what_a_runner_said_before_it_went_is_heard(stage: Stage) -> None:
    _, route = stage.meet()
    for _ in range(3):
        stage.router.send_multipart([route, results()])
    time.sleep(0.1)
    stage.router.close(linger=100)
    stage.pump(lambda: stage.notes.down)
    assert len(stage.notes.parcels) == 3
    assert "closed the connection" in stage.notes.down[0]


@pytest.mark.parametrize(
    "frames",
    [
        [b"\xff\xff"],
        [pack(Ping(LEASE)), b"surplus"],
        [results(ArrayHead("x", "f8", (1,)))],
        [results(ArrayHead("x", "f8", (1,))), bytes(15)],
        [results(ArrayHead("x", "f8", (-1,))), bytes(8)],
        [results(ArrayHead("x", "O8", (1,))), bytes(8)],
        [results(ArrayHead("x", "u1", (1,) * 9)), bytes(16)],
        [results(ArrayHead("x", "u1", (16,), b"never filled"))],
    ],
)
def test_a_runner_that_breaks_the_protocol_is_left(stage: Stage, frames: list[bytes]) -> None:
    _, route = stage.meet()
    stage.router.send_multipart([route, *frames])
    stage.pump(lambda: stage.notes.nonsense)
    assert len(stage.notes.nonsense) == 1
    assert stage.notes.parcels == []


def test_of_many_addresses_the_first_to_answer_is_used(stage: Stage) -> None:
    wire = stage.dial("127.0.0.1", "127.0.0.2", "::1")
    stage.pump(lambda: stage.notes.up)
    wire.send((TaskHead(1, 1, 1, {}),), [])
    assert stage.router.poll(5_000)
    assert stage.notes.down == []


def test_a_runner_of_this_machine_is_also_tried_on_loopback(stage: Stage) -> None:
    stage.dial("192.0.2.1", node="here")
    stage.pump(lambda: stage.notes.up)


def test_when_nobody_answers_every_address_is_named(stage: Stage) -> None:
    port = stage.port
    stage.router.close(linger=0)
    stage.dial("127.0.0.1", "127.0.0.2")
    stage.pump(lambda: stage.notes.down)
    assert f"127.0.0.1:{port}" in stage.notes.down[0]
    assert f"127.0.0.2:{port}" in stage.notes.down[0]


def test_an_address_that_is_none_is_hopeless_at_once(stage: Stage) -> None:
    wire = stage.dial("no address at all")
    assert "no address at all" in wire.hopeless
    assert stage.dial().hopeless == "it has no address"


def test_somebody_else_in_the_runners_place_never_gets_a_task(stage: Stage) -> None:
    wire = stage.dial("127.0.0.1", runner_key=CurveKey(os.urandom(32)).public)
    with pytest.raises(AssertionError):
        stage.pump(lambda: stage.notes.up, within_s=0.5)
    wire.send((TaskHead(1, 1, 1, {}),), [])
    assert not stage.router.poll(100)
    assert not wire.flights
