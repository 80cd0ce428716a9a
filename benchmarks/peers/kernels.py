"""The built-in kernels in batches, called directly: what the mesh can at best pass on."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peers.protocol import rate
from qallow_agent.kernels.elasticity import KERNEL as ELASTICITY
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.harmonic import KERNEL as HARMONIC
from qallow_agent.kernels.spec import Kernel

SLICES = 16
"""A direct call gets as much at a time as a runner does: caches matter."""


@dataclass(frozen=True)
class Case:
    """A sweep of one kernel, about half a second of work for one core."""

    kernel: Kernel
    swept: str
    column: npt.NDArray[np.float32]
    ticks: int
    scalars: Mapping[str, int]

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self.kernel.spec.name

    @property
    def fixed(self) -> dict[str, int]:
        """The parameters that all points share."""
        return {"ticks": self.ticks, **self.scalars}


CASES = (
    Case(ELASTICITY, "eps", np.linspace(0, 0.01, 16_384, dtype="f4"), 200_000, {}),
    Case(HARMONIC, "coupling", np.linspace(1e-4, 2e-3, 16_384, dtype="f4"), 1_000, {"pockets": 32}),
)


def direct_rate(case: Case, threads: int, seconds: float) -> float:
    """Return ticks a second of a kernel called in this process, in one thread or several."""
    slices = np.array_split(case.column, SLICES)

    def one(column: npt.NDArray[np.float32]) -> int:
        run_task(case.kernel, "cpu", case.fixed, {case.swept: column}, {})
        return len(column)

    with ThreadPoolExecutor(threads) as pool:
        return rate(lambda: sum(pool.map(one, slices)), seconds) * case.ticks
