"""dask.distributed on this machine: a scheduler and two workers of one thread, no dashboards."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from nextdoor import HERE, THERE, prefix

from peers.protocol import Values, idle, middle_s, rate, round_trips, serve

WORKERS = 2
TASKS = 200
BATCH = 1_000
BATCHES = 20
ARRAY_ITEMS = (64 << 20) // 4
ANSWER_S = 60.0
LOOK_S = 0.005


def noop(value: Any) -> Any:
    """Return its argument."""
    return value


class DaskPeer:
    """A scheduler, two workers and a client."""

    def __init__(self) -> None:
        self._client: Any = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="bench-dask-")
        self._number = 0

    def start(self, seconds: float) -> Values:
        """Start scheduler, workers and client, and run a first task."""
        del seconds
        if importlib.util.find_spec("distributed") is None:
            raise ImportError("distributed")
        began_s = time.perf_counter()
        contact = Path(self._folder.name) / "scheduler.json"
        common = ["--scheduler-file", str(contact), "--no-dashboard"]
        self._run("dask_scheduler", "--host", "127.0.0.1", "--port", "0", *common)
        for _ in range(WORKERS):
            self._run("dask_worker", "--no-nanny", "--nthreads", "1", *common)
        client = importlib.import_module("distributed").Client
        self._client = client(address=self._address(contact), set_as_default=False)
        self._client.wait_for_workers(WORKERS, timeout=ANSWER_S)
        ready_s = time.perf_counter() - began_s
        self._ask(1.0)
        return {"ready": ready_s, "first": time.perf_counter() - began_s}

    def stop(self) -> None:
        """End client, workers and scheduler; not politely, which takes seconds."""
        if self._client is not None:
            self._client.close(timeout=1)
        for process in self._processes:
            process.kill()
            process.wait()
        self._folder.cleanup()

    def trips(self, seconds: float) -> Values:
        """Measure one task at a time."""
        return round_trips(lambda: self._ask(1.0), seconds)

    def submit(self, seconds: float) -> Values:
        """Measure tasks submitted one by one and gathered together."""

        def batch() -> int:
            submit = self._client.submit
            return self._gather([submit(noop, float(n), pure=False) for n in range(TASKS)])

        return {"submit": rate(batch, seconds)}

    def map(self, seconds: float) -> Values:
        """Measure Dask's own ``Client.map``."""
        points = [float(number) for number in range(TASKS)]

        def batch() -> int:
            return self._gather(self._client.map(noop, points, pure=False))

        return {"map": rate(batch, seconds)}

    def batch(self, seconds: float) -> Values:
        """Measure tasks of a thousand points each."""
        points = [float(number) for number in range(BATCH)]

        def batches() -> int:
            submit = self._client.submit
            futures = [submit(noop, points, pure=False) for _ in range(BATCHES)]
            return self._gather(futures) * BATCH

        return {"batch": rate(batches, seconds)}

    def array(self, seconds: float) -> Values:
        """Measure a large array there and back; scattered, as Dask advises."""
        return {"array": _array_s(self._client, seconds) * 1e3}

    def across(self, seconds: float) -> Values:
        """Measure the same with a worker on a box next door (not encrypted)."""
        if not prefix():
            return {}
        contact = Path(self._folder.name) / "across.json"
        common = ["--scheduler-file", str(contact), "--no-dashboard"]
        self._run("dask_scheduler", "--host", HERE, "--port", "0", *common)
        self._run(
            "dask_worker", "--no-nanny", "--nthreads", "1", "--host", THERE, *common,
            before=prefix(),
        )  # fmt: skip
        client = importlib.import_module("distributed").Client
        with client(address=self._address(contact), set_as_default=False) as other:
            other.wait_for_workers(1, timeout=ANSWER_S)
            return {"across": _array_s(other, seconds) * 1e3}

    def idle(self, seconds: float) -> Values:
        """Measure scheduler and workers at rest."""
        return idle(seconds, (), [[process.pid for process in self._processes]])

    def _ask(self, value: float) -> Any:
        return self._client.submit(noop, value, pure=False).result(ANSWER_S)

    def _gather(self, futures: list[Any]) -> int:
        return len(self._client.gather(futures))

    def _run(self, module: str, *words: str, before: tuple[str, ...] = ()) -> None:
        command = [*before, sys.executable, "-m", f"distributed.cli.{module}", *words]
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
        self._processes.append(process)

    def _address(self, contact: Path) -> str:
        end_s = time.monotonic() + ANSWER_S
        while time.monotonic() < end_s:
            if contact.exists() and (text := contact.read_text(encoding="utf-8")).endswith("}"):
                return str(json.loads(text)["address"])
            if self._processes[0].poll() is not None:
                break
            time.sleep(LOOK_S)
        raise RuntimeError("the scheduler did not start")


def _array_s(client: Any, seconds: float) -> float:
    """Return the seconds of a large array there and back."""
    array = np.arange(ARRAY_ITEMS, dtype="f4")

    def one() -> None:
        sent = client.scatter(array, hash=False)
        back = client.submit(noop, sent, pure=False).result(ANSWER_S)
        assert back.shape == array.shape

    return middle_s(one, seconds)


if __name__ == "__main__":
    serve(DaskPeer())
