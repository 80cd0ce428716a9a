"""Ray on this machine: two CPUs, its shared-memory store, nothing else asked of it."""

import importlib
import os
import time
from typing import Any

import numpy as np
import psutil

from peers.protocol import Values, idle, middle_s, rate, round_trips, serve

WORKERS = 2
TASKS = 2_000
BATCH = 1_000
BATCHES = 50
ARRAY_ITEMS = (64 << 20) // 4
STORE_BYTES = 1 << 30
ANSWER_S = 60.0


def noop(value: float) -> float:
    """Return its argument."""
    return value


def noops(values: list[float]) -> list[float]:
    """Return a thousand arguments: a batch made by hand."""
    return values


class RayPeer:
    """A local Ray cluster."""

    def __init__(self) -> None:
        self._ray: Any = None
        self._noop: Any = None
        self._noops: Any = None

    def start(self, seconds: float) -> Values:
        """Start Ray and run a first task."""
        del seconds
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        began_s = time.perf_counter()
        self._ray = importlib.import_module("ray")
        self._ray.init(
            address="local",
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=STORE_BYTES,
        )
        ready_s = time.perf_counter() - began_s
        self._noop, self._noops = self._ray.remote(noop), self._ray.remote(noops)
        self._get(self._noop.remote(1.0))
        return {"ready": ready_s, "first": time.perf_counter() - began_s}

    def stop(self) -> None:
        """Shut Ray down."""
        if self._ray is not None:
            self._ray.shutdown()

    def trips(self, seconds: float) -> Values:
        """Measure one task at a time."""
        return round_trips(lambda: self._get(self._noop.remote(1.0)), seconds)

    def submit(self, seconds: float) -> Values:
        """Measure tasks submitted one by one and awaited together."""

        def batch() -> int:
            return len(self._get([self._noop.remote(1.0) for _ in range(TASKS)]))

        return {"submit": rate(batch, seconds)}

    def map(self, seconds: float) -> Values:
        """Measure Ray's own ``Pool.map``, which cuts the list into chunks by itself."""
        pool = importlib.import_module("ray.util.multiprocessing").Pool(WORKERS)
        try:
            points = [float(number) for number in range(50 * TASKS)]
            return {"map": rate(lambda: len(pool.map(noop, points)), seconds)}
        finally:
            pool.terminate()
            pool.join()

    def batch(self, seconds: float) -> Values:
        """Measure tasks of a thousand points each."""
        points = [float(number) for number in range(BATCH)]

        def batches() -> int:
            return len(self._get([self._noops.remote(points) for _ in range(BATCHES)])) * BATCH

        return {"batch": rate(batches, seconds)}

    def array(self, seconds: float) -> Values:
        """Measure a large array there and back through shared memory."""
        array = np.arange(ARRAY_ITEMS, dtype="f4")

        def one() -> None:
            assert self._get(self._noop.remote(array)).shape == array.shape

        return {"array": middle_s(one, seconds) * 1e3}

    def idle(self, seconds: float) -> Values:
        """Measure all its processes but the driver's at rest."""
        daemons = [child.pid for child in psutil.Process().children()]
        return idle(seconds, (), [daemons])

    def _get(self, references: Any) -> Any:
        return self._ray.get(references, timeout=ANSWER_S)


if __name__ == "__main__":
    serve(RayPeer())
