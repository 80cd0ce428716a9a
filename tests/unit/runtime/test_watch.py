import threading

from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.runtime.sensing.muster import NOBODY, Muster
from qallow_agent.runtime.watch import START_S, Watch

GPU = DeviceAdvert("gpu0", "cuda", "Fake", DeviceState.WARMING, slots=1, busy=0, memory_bytes=1)
SHOWN = DeviceAdvert("card0", "gpu", "Fake", DeviceState.QUARANTINED, 0, 0, 1, why="only shown")


class Gate:
    """A reader that answers when it is let."""

    def __init__(self, muster: Muster) -> None:
        self.muster = muster
        self.go = threading.Semaphore(0)
        self.seen = threading.Event()
        self.closed = threading.Event()

    def read(self) -> Muster:
        self.go.acquire(timeout=10)
        self.seen.set()
        return self.muster

    def close(self) -> None:
        self.closed.set()


def watch_of(gate: Gate, now: list[float]) -> Watch:
    return Watch(gate, "it", period_s=0.0, rest_s=30.0, hung_s=5.0, clock=lambda: now[0])


def wait_for(watch: Watch, gate: Gate) -> Muster:
    gate.go.release()
    for _ in range(10_000):
        if watch.latest() is not NOBODY:
            break
        gate.seen.wait(0.001)
    return watch.latest()


def test_what_was_seen_last_stands_until_it_is_too_old() -> None:
    now, gate = [0.0], Gate(Muster((GPU, SHOWN)))
    watch = watch_of(gate, now)
    assert watch.latest() is NOBODY
    assert wait_for(watch, gate).devices == (GPU, SHOWN)
    now[0] = 4.9
    assert watch.latest().devices == (GPU, SHOWN)
    now[0] = 6.0
    lost, shown = watch.latest().devices
    assert (lost.state, shown.state) == (DeviceState.LOST, DeviceState.QUARANTINED)
    assert "it has not answered for 6 s" in lost.why
    assert lost.fix
    gate.go.release(10)
    watch.close()
    assert gate.closed.wait(5)


def test_a_driver_that_never_answers_is_told_of_after_a_while() -> None:
    now, gate = [0.0], Gate(NOBODY)
    watch = watch_of(gate, now)
    assert watch.latest().complaints == ()
    now[0] = START_S + 1
    [complaint] = watch.latest().complaints
    assert "has not answered" in complaint.why
    gate.go.release(10)
    watch.close()
