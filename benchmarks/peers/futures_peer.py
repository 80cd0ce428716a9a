"""``concurrent.futures.ProcessPoolExecutor`` with two workers: what Python itself brings along."""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import psutil

from peers.protocol import Values, idle, middle_s, rate, round_trips, serve
from peers.scaling import TASKS_A_RUNNER, scaling_rates, wait_a_moment

WORKERS = 2
TASKS = 2_000
BATCH = 1_000
BATCHES = 50
ARRAY_ITEMS = (64 << 20) // 4
ANSWER_S = 60.0


def noop(value: Any) -> Any:
    """Return its argument."""
    return value


class FuturesPeer:
    """A pool of worker processes, started like our runners from a server that forks."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def start(self, seconds: float) -> Values:
        """Start the pool and run a first task."""
        del seconds
        began_s = time.perf_counter()
        self._pool = make_pool(WORKERS)
        self._ask(1.0)
        first_s = time.perf_counter() - began_s
        return {"ready": first_s, "first": first_s}

    def stop(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def trips(self, seconds: float) -> Values:
        """Measure one task at a time."""
        return round_trips(lambda: self._ask(1.0), seconds)

    def submit(self, seconds: float) -> Values:
        """Measure tasks submitted one by one and awaited together."""
        pool = self._workers()

        def batch() -> int:
            futures = [pool.submit(noop, 1.0) for _ in range(TASKS)]
            return len([future.result(ANSWER_S) for future in futures])

        return {"submit": rate(batch, seconds)}

    def map(self, seconds: float) -> Values:
        """Measure its own ``map``, which sends points one by one unless told otherwise."""
        points = [float(number) for number in range(TASKS)]
        return {"map": rate(lambda: len(list(self._workers().map(noop, points))), seconds)}

    def batch(self, seconds: float) -> Values:
        """Measure ``map`` in chunks of a thousand points."""
        points = [float(number) for number in range(BATCH * BATCHES)]

        def batches() -> int:
            return len(list(self._workers().map(noop, points, chunksize=BATCH)))

        return {"batch": rate(batches, seconds)}

    def array(self, seconds: float) -> Values:
        """Measure a large array there and back, pickled through a pipe."""
        array = np.arange(ARRAY_ITEMS, dtype="f4")

        def one() -> None:
            assert self._ask(array).shape == array.shape

        return {"array": middle_s(one, seconds) * 1e3}

    def scaling(self, seconds: float) -> Values:
        """Measure work that waits on 1, 2, 4 and 8 workers."""

        def waits(workers: int, share_s: float) -> float:
            with make_pool(workers) as pool:
                tasks = range(TASKS_A_RUNNER * workers)
                return rate(lambda: len(list(pool.map(wait_a_moment, tasks))), share_s)

        return scaling_rates("waits", waits, seconds)

    def idle(self, seconds: float) -> Values:
        """Measure the workers at rest."""
        return idle(seconds, (), [[child.pid for child in psutil.Process().children()]])

    def _workers(self) -> ProcessPoolExecutor:
        assert self._pool is not None
        return self._pool

    def _ask(self, value: Any) -> Any:
        return self._workers().submit(noop, value).result(ANSWER_S)


def make_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool whose workers are forked from a clean server."""
    return ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))


if __name__ == "__main__":
    serve(FuturesPeer())
