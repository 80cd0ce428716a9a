"""Measure the built-in kernels on the CPU against what this machine can do at best.

Limits and rates are measured in one process, one after the other, so that a share means something
on any machine and under any load that lasts; the best of several repeats counts.

Usage: ``python benchmarks/kernels_cpu.py [--threads 1,2] [--quick] [--cpu]``.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from machine import describe

from qallow_agent.kernels.backends import load_backend
from qallow_agent.kernels.bounds import Limits
from qallow_agent.kernels.elasticity import KERNEL as ELASTICITY
from qallow_agent.kernels.elasticity.cpu import bound as elasticity_bound
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.harmonic import KERNEL as HARMONIC
from qallow_agent.kernels.harmonic.cpu import bound as harmonic_bound
from qallow_agent.kernels.limits import measure_limits
from qallow_agent.kernels.spec import Kernel
from qallow_agent.kernels.threads import CREW

STORE_MOVES = 2
"""Bytes moved for each byte stored: a line is read before it is written."""


@dataclass(frozen=True)
class Case:
    """One task: how often it is repeated is decided by the time it takes."""

    label: str
    kernel: Kernel
    scalars: dict[str, int]
    points: int = 0
    span: tuple[float, float] = (1e-4, 2e-3)

    @property
    def updates(self) -> int:
        """Ticks, or pockets' ticks, of the whole task."""
        return max(self.points, 1) * self.scalars["ticks"] * self.scalars.get("pockets", 1)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The sweep, or nothing for a single run."""
        name = "eps" if self.kernel is ELASTICITY else "coupling"
        swept = np.linspace(*self.span, self.points, dtype=np.float32)
        return {name: swept} if self.points else {}


CASES = (
    Case("elasticity, batch", ELASTICITY, {"ticks": 100_000}, 8_192),
    Case("elasticity, a million short runs", ELASTICITY, {"ticks": 1_000}, 1_000_000),
    Case("elasticity, single run", ELASTICITY, {"ticks": 10_000_000}),
    Case("elasticity, every tick stored", ELASTICITY, {"ticks": 1_000, "record_every": 1}, 10_000),
    Case("elasticity, single, stored", ELASTICITY, {"ticks": 10_000_000, "record_every": 1}),
    Case("harmonic 32, batch", HARMONIC, {"ticks": 1_000, "pockets": 32}, 4_096),
    Case("harmonic 8, batch", HARMONIC, {"ticks": 1_000, "pockets": 8}, 16_384),
    Case("harmonic 32, single run", HARMONIC, {"ticks": 50_000, "pockets": 32}),
    Case("harmonic 8, every tick stored", HARMONIC,
         {"ticks": 1_000, "pockets": 8, "record_every": 1}, 8_192),
    Case("ring of 1e5", HARMONIC, {"ticks": 5_000, "pockets": 100_000}),
    Case("ring of 1e6", HARMONIC, {"ticks": 1_000, "pockets": 1_000_000}),
    Case("ring of 8e6", HARMONIC, {"ticks": 200, "pockets": 8_000_000}),
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """What a case reached: updates and stored bytes a second, and the best it could reach."""

    rate: float
    bound: float
    stored: float
    memory: float = field(default=0.0)

    @property
    def line(self) -> str:
        """For people; storing is named where it takes a good part of the memory's rate."""
        share = STORE_MOVES * self.stored / self.memory
        stored = (
            f"  stored {self.stored / 1e9:.1f} GB/s, {share:.0%} of memory" if share > 0.1 else ""
        )
        return f"{self.rate:10.3g}/s {self.rate / self.bound:6.0%} of {self.bound:.2g}{stored}"


def measure(case: Case, limits: Limits, repeats: int, clock: Callable[[], float]) -> Figure:
    """Return the best of some repeats, after one that does not count."""
    spec = case.kernel.spec
    values = spec.validate(case.scalars)
    declared = elasticity_bound if case.kernel is ELASTICITY else harmonic_bound
    per_update = spec.demand(values).ops / (case.updates / max(case.points, 1))
    best_s, stored = float("inf"), 0
    for _ in range(repeats + 1):
        began_s = clock()
        outputs = run_task(case.kernel, "cpu", case.scalars, case.columns, {})
        best_s = min(best_s, clock() - began_s)
        stored = sum(array.nbytes for array in outputs.values())
    bound = declared(limits, values) / per_update
    return Figure(case.updates / best_s, bound, stored / best_s, limits.memory_bytes_per_s)


def _cpu_s(threads: int) -> float:
    return time.process_time() / threads


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", default=f"1,{cores}" if cores > 1 else "1")
    parser.add_argument("--quick", action="store_true", help="two repeats instead of five")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument(
        "--cpu", action="store_true",
        help="count CPU seconds a thread instead of seconds: where others use the machine too",
    )  # fmt: skip
    asked = parser.parse_args()
    for line in describe():
        print(f"- {line}")
    for kernel in (ELASTICITY, HARMONIC):
        load_backend(kernel, "cpu")
    for threads in map(int, asked.threads.split(",")):
        CREW.resize(threads)
        clock = partial(_cpu_s, threads) if asked.cpu else time.perf_counter
        limits = measure_limits(threads, clock)
        print(
            f"\n{threads} threads: {limits.adds_per_s:.3g} adds/s, "
            f"{limits.operations_per_s:.3g} operations/s, {limits.stores_per_s:.3g} stores/s, "
            f"{limits.memory_bytes_per_s / 1e9:.3g} GB/s of memory, read and written"
        )
        for case in CASES:
            if asked.only in case.label:
                figure = measure(case, limits, 2 if asked.quick else 5, clock)
                print(f"{case.label:34}{figure.line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
