"""Large arrays between a client's wire and a real runner: in pieces, and by shared memory."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from qallow_agent.base.errors import WireError
from qallow_agent.base.ids import JobId, LeaseId, NodeId
from qallow_agent.base.keys import CurveKey
from qallow_agent.client import freight as freight_room
from qallow_agent.client.cargo import Cargo, loaded
from qallow_agent.client.results import Block
from qallow_agent.client.wires import Exchange, Wire
from qallow_agent.jobs.local import Allow
from qallow_agent.jobs.manifest import Parts
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.parcels import (
    CHUNK_BYTES,
    ArrayHead,
    Chunk,
    Header,
    ResultHead,
    ResultParcel,
    TaskHead,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

LARGE = 5 * CHUNK_BYTES // 4 + 3
"""Items of an array that takes six pieces."""


class Trader:
    """A client with one wire to one runner, and what came over it."""

    def __init__(self, world: Any, kernel: str) -> None:
        self.world = world
        self.kernel = kernel
        self.key = CurveKey(os.urandom(32))
        self.exchange = Exchange(self.key, NodeId("here"))
        self.runner, self.ready = world.start()
        self.said: list[Header] = []
        self.answers: dict[int, tuple[ResultHead, Block]] = {}
        self.nonsense: list[str] = []
        self._up = False
        self._leases = 0
        self._numbers = 0
        self.wire = self.dial()

    def dial(self) -> Wire:
        self._leases += 1
        self._up = False
        lease = LeaseId(f"lease-{self._leases}")
        sender = f"@runner/{self.runner}"
        self.world.yard.tell(sender, Allow(lease, self.key.public, self.kernel, 100, 60.0, 0.0))
        self.wire = self.exchange.dial(
            Lease(
                lease, JobId("j"), NodeId("here"), "box", "cpu0", self.runner, self.kernel, "h",
                100, 60.0, 0.0, ("127.0.0.1",), self.ready.port, self.ready.curve_key, b"",
            ),
            self,
            time.monotonic(),
        )  # fmt: skip
        post = self.wire._freight._post

        def noted(header: Header, frames: Sequence[Any]) -> None:
            self.said.append(header)
            post(header, frames)

        self.wire._freight._post = noted
        self.pump(lambda: self._up)
        return self.wire

    def wire_up(self, wire: Wire) -> None:
        self._up = wire is self.wire

    def wire_down(self, wire: Wire, reason: str) -> None:
        raise AssertionError(f"{wire.label}: {reason}")

    def wire_nonsense(self, wire: Wire, error: WireError) -> None:
        self.nonsense.append(error.message)
        wire.close()

    def wire_parcel(self, wire: Wire, header: Header, parts: Sequence[Parts]) -> None:
        assert isinstance(header, ResultParcel), header
        for result, part in zip(header.results, parts, strict=True):
            wire.flights.pop(result.number)
            self.answers[result.number] = (result, Block(part.heads, part))

    def pump(self, done: Callable[[], object], within_s: float = 20.0) -> None:
        end_s = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < end_s, (self.answers, self.nonsense)
            self.world.pump(lambda: True)
            for source, _ in self.exchange.poller.poll(20):
                reader = self.exchange.readers.get(source)
                if reader is not None:
                    reader()

    def post(self, data: Any, cargo: Any = None) -> int:
        self._numbers += 1
        head = ArrayHead("data", "f4", data.shape)
        task = TaskHead(self._numbers, 1, 1, {}, (), (head,))
        self.wire.send((task,), [cargo or loaded(data)])
        return self._numbers

    def send(self, data: Any, cargo: Any = None) -> Any:
        """Return what the kernel makes of an array."""
        number = self.post(data, cargo)
        self.pump(lambda: number in self.answers)
        result, block = self.answers.pop(number)
        assert result.fault is None, result.fault
        return dict(block.arrays())

    def chunks(self) -> list[Chunk]:
        found = [header for header in self.said if isinstance(header, Chunk)]
        self.said.clear()
        return found

    def segments(self) -> tuple[int, int]:
        """Return how many shared segments the client and the runner have mapped."""
        return mapped(os.getpid()), mapped(self.ready.pid)

    def close(self) -> None:
        self.wire.close()
        self.exchange.close()
        self.world.yard.stop(self.runner, kill=True)


def mapped(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/maps").read_text().count("memfd:qallow-hold")
    except (OSError, psutil.Error):
        return 0


@pytest.fixture
def trade(world: Any) -> Iterator[Callable[..., Trader]]:
    made: list[Trader] = []

    def make(kernel: str) -> Trader:
        made.append(Trader(world, kernel))
        return made[-1]

    yield make
    for trader in made:
        trader.close()
    world.pump(lambda: not world.yard.runners())


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every runner one of another machine."""
    monkeypatch.setattr(freight_room, "machine_mark", lambda _: b"another machine!")


def noise(items: int) -> Any:
    return np.random.default_rng(items).random(items, dtype="f4")


@pytest.mark.parametrize("items", [0, 3, 40_000, CHUNK_BYTES // 4, LARGE])
@pytest.mark.parametrize("way", ["apart", "shared"])
def test_an_array_comes_back_bit_by_bit_whatever_way_it_goes(
    trade: Any, items: int, way: str, request: pytest.FixtureRequest
) -> None:
    if way == "apart":
        request.getfixturevalue("elsewhere")
    trader = trade("mirror")
    data = noise(items)
    for _ in range(4):  # by the third the runner has let us in, and knows how much room it needs
        back = trader.send(data)["data"]
        assert back.tobytes() == data.tobytes()
        assert not back.flags.writeable
    chunks = trader.chunks()
    if way == "shared" and items >= LARGE:
        assert len(chunks) == 6, "only the first went by pieces"
        assert min(trader.segments()) >= 2
    elif way == "apart":
        assert len(chunks) == (4 * 6 if items == LARGE else 0)
        assert trader.segments() == (0, 0)


@pytest.mark.usefixtures("elsewhere")
def test_an_array_that_many_tasks_need_is_sent_once(trade: Any) -> None:
    trader = trade("weigh")
    data = noise(LARGE)
    shared = Cargo(data, shared=True)
    first = trader.send(data, shared)
    assert len(trader.chunks()) == 6
    assert trader.send(data, shared) == first
    assert trader.send(data, Cargo(data.copy(), shared=True)) == first
    assert trader.chunks() == []
    other = data.copy()
    other[-1] += 1
    trader.send(other, Cargo(other, shared=True))
    assert len(trader.chunks()) == 6


@pytest.mark.usefixtures("elsewhere")
def test_what_arrived_before_a_broken_connection_is_not_sent_again(trade: Any) -> None:
    trader = trade("mirror")
    data = noise(LARGE)
    cargo = loaded(data)
    freight = trader.wire._freight
    freight._send_range(cargo, CHUNK_BYTES, 4 * CHUNK_BYTES)
    trader.exchange.depot.sent_to(trader.ready.curve_key)[cargo.name] = None
    assert trader.send(noise(3))["data"].tobytes() == noise(3).tobytes()
    trader.wire.close()
    trader.chunks()
    trader.dial()
    assert trader.send(data, cargo)["data"].tobytes() == data.tobytes()
    assert [chunk.offset // CHUNK_BYTES for chunk in trader.chunks()] == [0, 4, 5]


@pytest.mark.usefixtures("elsewhere")
def test_another_submitter_learns_nothing_of_what_is_held(trade: Any) -> None:
    trader = trade("weigh")
    data = noise(LARGE)
    trader.send(data, Cargo(data, shared=True))
    trader.chunks()
    trader.wire.close()
    trader.exchange.close()
    stranger_key = CurveKey(os.urandom(32))
    trader.key, trader.exchange = stranger_key, Exchange(stranger_key, NodeId("here"))
    trader.dial()
    trader.exchange.depot.sent_to(trader.ready.curve_key)[Cargo(data, shared=True).name] = None
    trader.send(data, Cargo(data, shared=True))
    assert len(trader.chunks()) == 6


def test_a_result_keeps_its_memory_until_it_is_dropped(trade: Any) -> None:
    trader = trade("mirror")
    arrays = [noise(LARGE) + number for number in range(12)]
    kept = [trader.send(data)["data"] for data in arrays]
    assert all(back.tobytes() == data.tobytes() for back, data in zip(kept, arrays, strict=True))
    held = trader.segments()[0]
    assert held >= 8
    del kept
    trader.exchange.tidy(float("inf"))
    assert trader.segments()[0] == 0
    trader.pump(lambda: trader.segments()[1] == 0)
    trader.send(arrays[0])


def test_a_runner_that_dies_leaves_no_memory_behind(trade: Any, world: Any) -> None:
    trader = trade("mirror")
    for _ in range(4):
        trader.send(noise(LARGE))
    assert trader.segments()[1] >= 2
    world.yard.stop(trader.runner, kill=True)
    world.pump(lambda: mapped(trader.ready.pid) == 0)
    trader.wire.close()
    trader.exchange.close()
    assert trader.segments() == (0, 0)
    links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    opened = [str(entry.readlink()) for entry in links]
    assert not [path for path in opened if "qallow-hold" in path]


@pytest.mark.usefixtures("elsewhere")
def test_an_array_beyond_what_a_runner_may_take_fails_its_task_and_says_so(trade: Any) -> None:
    trader = trade("weigh")
    data = np.zeros((400 << 20) // 4, "f4")  # a third of the runner's 1 GiB is less
    number = trader.post(data)
    trader.pump(lambda: number in trader.answers)
    fault = trader.answers[number][0].fault
    assert fault is not None
    assert fault.code == "device-memory"
    assert "do not fit this runner" in fault.message
    assert trader.send(noise(LARGE))
