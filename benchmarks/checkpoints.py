"""Measure what keeping the states of long runs costs, and what going on from one takes.

Runs with and without states alternate, so that whatever else the machine does meets both alike;
medians of CPU seconds are compared.

Usage: ``python benchmarks/checkpoints.py [--seconds 4] [--repeats 5] [--only harmonic]``.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from machine import describe

from qallow_agent.jobs.parcels import STATE, ArrayHead, TaskHead
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.kernels.state import decode_checkpoint
from qallow_agent.kernels.threads import CREW
from qallow_agent.runtime.workshop import Cut, Workshop

CASES: dict[str, tuple[str, dict[str, int | float]]] = {
    "elasticity": ("elasticity", {"eps": 1e-4, "record_every": 0}),
    "elasticity, 1e5 records": ("elasticity", {"eps": 1e-4, "record_every": -100_000}),
    "harmonic, 32 pockets": ("harmonic", {"pockets": 32, "coupling": 1e-3, "record_every": 0}),
    "harmonic, 1e5 pockets": (
        "harmonic", {"pockets": 100_000, "coupling": 1e-3, "record_every": 0},
    ),
    "harmonic, 1e6 pockets": (
        "harmonic", {"pockets": 1_000_000, "coupling": 1e-3, "record_every": 0},
    ),
}  # fmt: skip
"""Kernel and parameters; a negative record_every is the number of records."""


_HEADER = (
    f"{'case':26}{'ticks':>14}{'states':>8}{'KiB':>9}{'ratio':>8}{'each ms':>9}{'resume ms':>11}"
)


class Run:
    """One run in the workshop of a runner.

    Args:
        shop: The workshop.
        kernel: Which kernel.
        scalars: With which parameters.
    """

    def __init__(self, shop: Workshop, kernel: str, scalars: dict[str, int | float]) -> None:
        self._shop = shop
        self._kernel = kernel
        self._scalars = scalars
        self.blobs: list[bytes] = []

    def go(self, every: int | None, since: bytes = b"") -> float:
        """Return the CPU seconds of a run; ``every`` None keeps no states."""
        self.blobs = []
        heads = (ArrayHead(STATE, "u1", (len(since),)),) if since else ()
        task = TaskHead(1, 1, 1, self._scalars, (), heads)
        cut = None if every is None else Cut(every, "bench", lambda _, b: self.blobs.append(b))
        began_s = time.process_time()
        done = self._shop.run(self._kernel, task, (since,) if since else (), None, cut)
        if done.fault is not None:
            raise SystemExit(f"{self._kernel}: {done.fault.message}")
        return time.process_time() - began_s


def ticks_for(shop: Workshop, kernel: str, scalars: dict[str, int | float], seconds: float) -> int:
    """Return how many ticks take about so many seconds."""
    ticks = 1_000
    Run(shop, kernel, scalars | {"ticks": ticks, "record_every": 0}).go(None)  # compiles
    while True:
        took_s = Run(shop, kernel, scalars | {"ticks": ticks, "record_every": 0}).go(None)
        if took_s > seconds / 20:
            return max(1_000, int(ticks * seconds / took_s))
        ticks *= 4


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of one run, about")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    asked = parser.parse_args()
    for line in describe():
        print(f"- {line}")
    CREW.resize(1)
    shop = Workshop(load_catalog((), ()), "cpu", 1 << 30)
    print(_HEADER)
    for label, (kernel, given) in CASES.items():
        if asked.only not in label:
            continue
        ticks = ticks_for(shop, kernel, given, asked.seconds)
        every = int(given["record_every"])
        records = {"record_every": max(1, ticks // -every) if every < 0 else every}
        run = Run(shop, kernel, given | records | {"ticks": ticks})
        plain, kept = [], []
        for _ in range(asked.repeats):
            plain.append(run.go(None))
            kept.append(run.go(0))
        states = run.blobs
        ratio = statistics.median(kept) / statistics.median(plain)
        each_ms = 1e3 * (statistics.median(kept) - statistics.median(plain)) / max(len(states), 1)
        size = len(states[-1]) / 1024 if states else 0
        resume_ms = resumed_ms(run, states, ticks, statistics.median(plain)) if states else 0.0
        print(
            f"{label:26}{ticks:14,}{len(states):8}{size:9.1f}{ratio:8.3f}{each_ms:9.2f}"
            f"{resume_ms:11.2f}",
            flush=True,
        )
    return 0


def resumed_ms(run: Run, states: list[bytes], ticks: int, whole_s: float) -> float:
    """Return what going on from the last state takes beside the ticks that are left."""
    last = states[-1]
    left = (ticks - decode_checkpoint(last).tick) / ticks
    took_s = statistics.median(run.go(0, last) for _ in range(3))
    return 1e3 * (took_s - left * whole_s)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
