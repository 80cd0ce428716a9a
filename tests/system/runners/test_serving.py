import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from zmq.utils import z85

from qallow_agent.base.errors import DeviceError
from qallow_agent.base.ids import LeaseId
from qallow_agent.base.message import Message
from qallow_agent.jobs.local import Allow, CanaryDone, Forbid, RunCanary, RunnerTally
from qallow_agent.jobs.parcels import (
    ArrayHead,
    Header,
    LeaseUnknown,
    Ping,
    ResultHead,
    ResultParcel,
    TaskHead,
    TaskParcel,
    pack,
)
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.runtime.gate import Gate
from qallow_agent.runtime.orders import runner_codec
from qallow_agent.runtime.posture import read_posture
from qallow_agent.runtime.runner import bind, endpoint_of, open_router
from qallow_agent.runtime.serving import Server
from qallow_agent.runtime.settings import RunnerSettings
from qallow_agent.runtime.slate import Slate, make_slate
from qallow_agent.runtime.stowage import Stowage
from qallow_agent.runtime.workshop import Workshop
from qallow_agent.testing.freight import Unloader, raw_frames

PLUGINS = Path(__file__).parents[2] / "plugins"
LEASE = LeaseId("lease-a")
CODEC = runner_codec()
NAMES = ("ECHO", "WEIGH", "RAISES", "LEAVES", "SLEEPS", "MIRROR", "LIES")


class Floor:
    """A runner's parts in this process, on threads, with one submitter."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.agent, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._theirs = theirs
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.abandoned: list[bool] = []
        gate = Gate(
            self.context, theirs, CODEC, abandon=lambda: self.abandoned.append(True), stop_s=5.0
        )
        gate.open()
        self._router, key = open_router(self.context, 1 << 30)
        self._slate = Slate(make_slate())
        port = bind(self._router, ("127.0.0.1",), RunnerSettings())
        workshop = Workshop(load_catalog(modules), "cpu", 1 << 30)
        self._gate = gate
        self._unloader = Unloader()
        stowage = Stowage(key, 1 << 30)
        self._server = Server(self._router, gate, workshop, self._slate, stowage, read_posture())
        self._threads = [threading.Thread(target=gate.run), threading.Thread(target=self._run)]
        for thread in self._threads:
            thread.start()
        public, secret = zmq.curve_keypair()
        self.key = z85.decode(public)
        self.client = self.context.socket(zmq.DEALER)
        self.client.curve_publickey, self.client.curve_secretkey = public, secret
        self.client.curve_serverkey = z85.encode(key)
        self.client.linger, self.client.rcvtimeo = 0, 10_000
        self.endpoint = f"tcp://127.0.0.1:{port}"

    def _run(self) -> None:
        self._server.run()
        self._gate.stopped.set()

    def tell(self, message: Message) -> None:
        self.agent.send(CODEC.encode(message))

    def allow(self, kernel: str, tasks: int = 100, ttl_s: float = 60.0) -> None:
        self.tell(Allow(LEASE, self.key, kernel, tasks, ttl_s, 0.0))

    def hear(self) -> Message:
        self.agent.settimeout(10)
        return CODEC.decode(self.agent.recv(65536))

    def ask(self, header: Header, *frames: bytes) -> tuple[Header, list[bytes]]:
        self.client.send_multipart([pack(header), *raw_frames(header, frames)])
        return self.answer()

    def answer(self) -> tuple[Header, list[bytes]]:
        while (taken := self._unloader.take(self.client.recv_multipart())) is None:
            continue
        return taken

    def result(self, task: TaskHead, *frames: bytes) -> tuple[ResultHead, list[bytes]]:
        parcel, arrays = self.ask(TaskParcel(LEASE, (task,)), *frames)
        assert isinstance(parcel, ResultParcel)
        return parcel.results[0], arrays

    def stop(self) -> None:
        self.agent.shutdown(socket.SHUT_WR)
        for thread in self._threads:
            thread.join(10)

    def close(self) -> None:
        self.stop()
        self.client.close()
        self._router.close()
        self.context.term()
        self.agent.close()
        self._theirs.close()
        self._slate.close()


@pytest.fixture
def make_floor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Floor]]:
    monkeypatch.syspath_prepend(str(PLUGINS))
    floors: list[Floor] = []

    def make(kernel: str, **terms: Any) -> Floor:
        floor = Floor(tuple(f"kernels_that_misbehave:{name}" for name in NAMES))
        floors.append(floor)
        floor.allow(kernel, **terms)
        floor.client.connect(floor.endpoint)
        return floor

    yield make
    for floor in floors:
        floor.close()


def task(number: int = 1, **scalars: Any) -> TaskHead:
    return TaskHead(number, 1, 1, scalars)


def test_a_task_is_answered_under_its_number_and_attempt(make_floor: Any) -> None:
    result, arrays = make_floor("echo").result(TaskHead(7, 3, 1, {"value": 2.5}))
    assert (result.number, result.attempt, result.fault) == (7, 3, None)
    assert np.frombuffer(arrays[0], "<f4") == 2.5


def test_arrays_and_columns_reach_the_kernel(make_floor: Any) -> None:
    column = np.arange(4, dtype="<f4")
    swept = TaskHead(1, 1, 4, {}, (ArrayHead("value", "f4", (4,)),))
    _, arrays = make_floor("echo").result(swept, column.tobytes())
    assert arrays == [column.tobytes()]


@pytest.mark.parametrize("length", [0, 3, 1 << 18])
def test_an_array_comes_back_bit_by_bit(make_floor: Any, length: int) -> None:
    data = np.random.default_rng(1).random(length).astype("<f4").tobytes()
    mirrored = TaskHead(1, 1, 1, {}, (), (ArrayHead("data", "f4", (length,)),))
    result, arrays = make_floor("mirror").result(mirrored, data)
    assert result.fault is None
    assert arrays == [data]


@pytest.mark.parametrize(
    ("kernel", "code", "words"),
    [
        ("raises", "kernel-failed", "no luck"),
        ("leaves", "kernel-failed", "SystemExit"),
        ("lies", "kernel-failed", "shape"),
        ("no-such", "unknown-kernel", "no-such"),
    ],
)
def test_a_failure_is_told_and_the_next_task_runs(
    make_floor: Any, kernel: str, code: str, words: str
) -> None:
    floor = make_floor(kernel)
    for number in (1, 2):
        result, arrays = floor.result(task(number))
        assert arrays == []
        assert (result.number, result.fault.code) == (number, code)
        assert words in result.fault.message


def test_pings_come_back(make_floor: Any) -> None:
    assert make_floor("echo").ask(Ping(LEASE)) == (Ping(LEASE), [])


def test_an_unknown_lease_is_said_to_be_so(make_floor: Any) -> None:
    floor = make_floor("echo")
    for header in (Ping(LeaseId("other")), TaskParcel(LeaseId("other"), (task(),))):
        assert floor.ask(header) == (LeaseUnknown(LeaseId("other")), [])


def test_a_lease_ends_by_time_and_by_word(make_floor: Any) -> None:
    floor = make_floor("echo", ttl_s=0.2)
    assert floor.ask(Ping(LEASE))[0] == Ping(LEASE)
    time.sleep(0.25)
    assert floor.ask(Ping(LEASE))[0] == LeaseUnknown(LEASE)
    floor.allow("echo")
    while floor.ask(Ping(LEASE))[0] != Ping(LEASE):
        continue
    floor.tell(Forbid(LEASE))
    while floor.ask(Ping(LEASE))[0] != LeaseUnknown(LEASE):
        continue


def test_tasks_beyond_the_credits_are_dropped(make_floor: Any) -> None:
    floor = make_floor("echo", tasks=2)
    floor.client.send(pack(TaskParcel(LEASE, (task(1), task(2), task(3)))))
    result, _ = floor.result(task(4))
    assert result.number == 4


def test_a_stop_hands_back_what_was_not_begun(make_floor: Any) -> None:
    floor = make_floor("sleeps")
    tasks = (task(1, seconds=0.3), task(2, seconds=60.0))
    floor.client.send(pack(TaskParcel(LEASE, tasks)))
    floor.client.send(pack(TaskParcel(LEASE, (task(3, seconds=60.0),))))
    time.sleep(0.1)
    floor.stop()
    parcel, _ = floor.answer()
    assert [result.number for result in parcel.results] == [1]
    assert floor.answer()[0] == LeaseUnknown(LEASE)
    assert floor.abandoned == []


def test_what_was_done_is_tallied_by_lease(make_floor: Any) -> None:
    floor = make_floor("echo")
    for number in range(3):
        floor.result(task(number))
    tally = floor.hear()
    assert isinstance(tally, RunnerTally)
    assert (tally.kernel, tally.tasks, tally.points, tally.ops) == ("echo", 3, 3, 6.0)
    assert tally.lease == LEASE
    assert tally.began_s >= tally.ended_s + tally.busy_s - 1e-6


def test_failed_tasks_count_but_not_their_work(make_floor: Any) -> None:
    floor = make_floor("raises")
    floor.result(task())
    tally = floor.hear()
    assert isinstance(tally, RunnerTally)
    assert (tally.tasks, tally.points, tally.ops) == (1, 0, 0.0)


def test_canaries_report(make_floor: Any) -> None:
    floor = make_floor("echo")
    for kernel, passed in (("echo", True), ("lies", False), ("no-such", False)):
        floor.tell(RunCanary(kernel))
        done = floor.hear()
        assert isinstance(done, CanaryDone)
        assert (done.kernel, done.passed, bool(done.why)) == (kernel, passed, not passed)


def test_junk_is_dropped(make_floor: Any) -> None:
    floor = make_floor("echo")
    for frames in (
        [b""],
        [b"\xff" * 100],
        [pack(Ping(LEASE)), b"extra"],
        [pack(LeaseUnknown(LEASE))],
    ):
        floor.client.send_multipart(frames)
    assert floor.ask(Ping(LEASE))[0] == Ping(LEASE)


def test_a_port_that_is_taken_is_explained_with_the_setting_to_widen() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    holder, router = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    port = holder.bind_to_random_port("tcp://127.0.0.1")
    settings = RunnerSettings(port_first=port, port_last=port)
    with pytest.raises(DeviceError, match=str(port)) as caught:
        bind(router, ("127.0.0.1",), settings)
    assert "runners.port_first" in caught.value.hint
    holder.close()
    router.close()
    context.term()


def test_one_port_serves_every_host() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = bind(router, ("127.0.0.1", "127.0.0.2"), RunnerSettings())
    assert endpoint_of(router) == f"tcp://127.0.0.2:{port}"
    router.close()
    context.term()
