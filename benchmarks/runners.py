"""How fast runners start and what each keeps to itself, with fences and without.

``python benchmarks/runners.py [RUNNERS]``. One nursery forks runners one after another; times are
from the order until the runner listens; memory is what only that process has (USS) before a task.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil
import zmq

from qallow_agent.base.ids import RunnerId
from qallow_agent.jobs.local import RunnerReady
from qallow_agent.kernels.settings import KernelSettings
from qallow_agent.runtime.settings import RunnerSettings
from qallow_agent.runtime.yard import RunnerYard

_MIB = 1 << 20
_LONGEST_S = 90.0


def start(yard: RunnerYard, name: str) -> tuple[float, int]:
    """Start a runner; return the seconds until it listened, and its process."""
    poller = zmq.Poller()
    poller.register(yard.pollables()[0], zmq.POLLIN)
    began_s = time.perf_counter()
    yard.start(RunnerId(name), "cpu0", "cpu")
    while time.perf_counter() - began_s < _LONGEST_S:
        poller.poll(10)
        for _, message in yard.drain():
            if isinstance(message, RunnerReady):
                return time.perf_counter() - began_s, message.pid
    raise TimeoutError(f"{name} did not listen within {_LONGEST_S:g} s")


def measure(count: int, fences: str, cache_dir: str) -> str:
    """Return one row: how runners behave under these fences."""
    yard = RunnerYard(
        RunnerSettings(fences=fences),
        hosts=("127.0.0.1",),
        kernels=KernelSettings(),
        cache_dir=cache_dir,
        say=lambda _notice: None,
        secrets=(str(Path(cache_dir).parent / "state"),),
    )
    try:
        first_s, _ = start(yard, "first")
        found = [start(yard, f"runner-{number}") for number in range(count)]
        own_mib = [psutil.Process(pid).memory_full_info().uss / _MIB for _, pid in found]
    finally:
        yard.close()
    times_ms = [seconds * 1000 for seconds, _ in found]
    return (
        f"fences {fences:<5} nursery and first {first_s * 1000:6.0f} ms   "
        f"fork to ready {min(times_ms):5.1f} ms best {median(times_ms):5.1f} median   "
        f"own memory {median(own_mib):5.1f} MiB"
    )


def main() -> None:
    """Measure with a warm cache, twice each way, so that noise shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runners", nargs="?", type=int, default=8)
    count = parser.parse_args().runners
    print(f"{count} runners, {os.cpu_count()} cores, Linux {os.uname().release}")
    with tempfile.TemporaryDirectory() as folder:
        caches = str(Path(folder) / "jit")
        (Path(folder) / "state").mkdir()
        for fences in ("off", "auto"):
            measure(1, fences, caches)
        for _ in range(2):
            for fences in ("off", "auto"):
                print(measure(count, fences, caches))


main()
