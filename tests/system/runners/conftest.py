import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import zmq
from zmq.utils import z85

from qallow_agent.base.ids import LeaseId, RunnerId
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.local import Allow, RunnerBusy, RunnerExited, RunnerReady
from qallow_agent.jobs.manifest import unpack
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
from qallow_agent.kernels.settings import KernelSettings
from qallow_agent.runtime.settings import RunnerSettings
from qallow_agent.runtime.yard import RunnerYard
from qallow_agent.testing.freight import Unloader, raw_frames

PLUGINS = Path(__file__).parents[2] / "plugins"
M = TypeVar("M", bound=Message)


class World:
    """A yard with misbehaving kernels, and the news it brought."""

    def __init__(self, modules: tuple[str, ...], cache_dir: str, **settings: Any) -> None:
        secrets = settings.pop("secrets", ())
        self.cache_dir = cache_dir
        self.notices: list[Notice] = []
        self.fences: list[Notice] = []
        self.news: list[tuple[str, Message]] = []
        self.settings = RunnerSettings(import_paths=(str(PLUGINS),), **settings)
        self.yard = RunnerYard(
            self.settings,
            hosts=("127.0.0.1",),
            kernels=KernelSettings(modules=modules, disabled=("elasticity", "harmonic")),
            cache_dir=cache_dir,
            say=self._hear,
            secrets=secrets,
        )
        self._count = 0

    def _hear(self, notice: Notice) -> None:
        (self.fences if "fence" in notice.facts else self.notices).append(notice)

    def pump(self, done: Callable[[], bool], within_s: float = 15.0) -> None:
        poller = zmq.Poller()
        for descriptor in self.yard.pollables():
            poller.register(descriptor, zmq.POLLIN)
        end_s = time.monotonic() + within_s
        while not done():
            now_s = time.monotonic()
            assert now_s < end_s, f"waited {within_s} s; news: {self.news}, {self.notices}"
            due_s = self.yard.next_deadline()
            wait_s = 0.05 if due_s is None else min(0.05, max(0.0, due_s - now_s))
            poller.poll(round(wait_s * 1000))
            self.news += self.yard.drain()
            self.news += self.yard.busy()

    def heard(self, kind: type[M], runner: RunnerId) -> list[M]:
        return [
            message
            for sender, message in self.news
            if sender == f"@runner/{runner}" and isinstance(message, kind)
        ]

    def await_news(self, kind: type[M], runner: RunnerId, within_s: float = 15.0) -> M:
        self.pump(lambda: bool(self.heard(kind, runner)), within_s)
        return self.heard(kind, runner)[-1]

    def await_exit(self, runner: RunnerId) -> RunnerExited:
        return self.await_news(RunnerExited, runner)

    def await_busy(self, runner: RunnerId, task: int) -> RunnerBusy:
        self.pump(lambda: any(item.task == task for item in self.heard(RunnerBusy, runner)))
        return self.heard(RunnerBusy, runner)[-1]

    def start(self) -> tuple[RunnerId, RunnerReady]:
        self._count += 1
        runner = RunnerId(f"runner-{self._count}")
        self.yard.start(runner, "cpu0", "cpu")
        return runner, self.await_news(RunnerReady, runner)

    def submitter(self, kernel: str, **terms: Any) -> "Submitter":
        runner, ready = self.start()
        submitter = Submitter(self, runner, ready)
        submitter.allow(kernel, **terms)
        submitter.dial()
        return submitter


class Submitter:
    """One client of one runner under one lease, over a real CURVE connection."""

    def __init__(self, world: World, runner: RunnerId, ready: RunnerReady) -> None:
        self.world = world
        self.runner = runner
        self.ready = ready
        self.lease = LeaseId(f"lease-of-{runner}")
        public, self._secret = zmq.curve_keypair()
        self.key = z85.decode(public)
        self._public = public
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self._unloader = Unloader()

    def allow(self, kernel: str, *, tasks: int = 100, ttl_s: float = 60.0, lease: str = "") -> None:
        self.world.yard.tell(
            f"@runner/{self.runner}",
            Allow(LeaseId(lease) or self.lease, self.key, kernel, tasks, ttl_s, 0.0),
        )

    def dial(self) -> None:
        self.socket.linger = 0
        self.socket.curve_publickey = self._public
        self.socket.curve_secretkey = self._secret
        self.socket.curve_serverkey = z85.encode(self.ready.curve_key)
        self.socket.connect(f"tcp://127.0.0.1:{self.ready.port}")

    def send(self, *tasks: TaskHead, frames: tuple[bytes, ...] = ()) -> None:
        parcel = TaskParcel(self.lease, tasks)
        self.socket.send_multipart([pack(parcel), *raw_frames(parcel, frames)])

    def post(self, number: int, frames: tuple[bytes, ...] = (), **scalars: Any) -> None:
        """Send one task; frames become float32 arrays called ``data``."""
        arrays = tuple(ArrayHead("data", "f4", (len(frame) // 4,)) for frame in frames)
        self.send(TaskHead(number, 1, 1, scalars, (), arrays), frames=frames)

    def message(self, within_s: float = 15.0) -> list[bytes]:
        waiting = self.socket.poll(0)
        end_s = time.monotonic() + within_s
        while not waiting:
            assert time.monotonic() < end_s, f"no answer; {self.world.news}"
            self.world.pump(lambda: True)
            self.world.news += self.world.yard.drain()
            waiting = self.socket.poll(20)
        return self.socket.recv_multipart()

    def arrays(self, within_s: float = 15.0) -> list[bytes]:
        """Return the bytes of all arrays of the next parcel."""
        while (taken := self._unloader.take(self.message(within_s))) is None:
            continue
        return taken[1]

    def hear(self, within_s: float = 15.0) -> Header:
        return unpack(self.message(within_s))

    def results(self, count: int) -> dict[int, ResultHead]:
        found: dict[int, ResultHead] = {}
        while len(found) < count:
            parcel = self.hear()
            assert isinstance(parcel, ResultParcel), parcel
            assert not found.keys() & {result.number for result in parcel.results}
            found |= {result.number: result for result in parcel.results}
        return found

    def silent(self, for_s: float = 0.3) -> bool:
        return not self.socket.poll(round(for_s * 1000))

    def alive(self) -> bool:
        self.socket.send(pack(Ping(self.lease)))
        return isinstance(self.hear(), Ping)

    def close(self) -> None:
        self.socket.close()
        self.context.term()


def kernels_of(module: str) -> tuple[str, ...]:
    """Return every kernel of a plug-in, as ``kernels.modules`` wants to be told."""
    text = (PLUGINS / f"{module}.py").read_text()
    names = [line.split(" ")[0] for line in text.splitlines() if " = _kernel(" in line]
    return tuple(f"{module}:{name}" for name in names)


@pytest.fixture(scope="module")
def plugins() -> tuple[str, ...]:
    return kernels_of("kernels_that_misbehave")


@pytest.fixture(scope="module")
def prying() -> tuple[str, ...]:
    return kernels_of("kernels_that_pry")


@pytest.fixture(scope="module")
def make_world(
    plugins: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., World]]:
    """Return a maker of yards with their own settings; all are closed at the end."""
    worlds: list[World] = []
    cache_dir = str(tmp_path_factory.mktemp("numba"))

    def make(**settings: Any) -> World:
        wanted = settings.pop("modules", plugins)
        worlds.append(World(wanted, settings.pop("cache_dir", cache_dir), **settings))
        return worlds[-1]

    yield make
    for world in worlds:
        world.yard.close()


@pytest.fixture(scope="module")
def world(make_world: Callable[..., World]) -> World:
    """Return one yard for all tests of a module: starting a nursery takes a second."""
    return make_world(stop_s=2.0, memory_bytes=1 << 30, file_bytes=8 << 20, busy_s=0.05)


@pytest.fixture
def dial(world: World) -> Iterator[Callable[..., Submitter]]:
    """Return a maker of submitters, each with its own runner; all end with the test."""
    submitters: list[Submitter] = []

    def make(kernel: str, **terms: Any) -> Submitter:
        submitters.append(world.submitter(kernel, **terms))
        return submitters[-1]

    yield make
    for submitter in submitters:
        submitter.close()
        world.yard.stop(submitter.runner, kill=True)
    world.pump(lambda: not world.yard.runners())


@pytest.fixture
def raw() -> Callable[[Any], bytes]:
    return msgspec.msgpack.encode
