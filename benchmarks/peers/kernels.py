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

POINTS_PER_S = 100_000
SLICES = 16
"""A direct call gets as much at a time as a runner does: caches matter."""


@dataclass(frozen=True)
class Case:
    """A sweep of one kernel whose points take about 10 us each, a lane of many at a time."""

    kernel: Kernel
    swept: str
    span: tuple[float, float]
    ticks: int
    scalars: Mapping[str, int]

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self.kernel.spec.name

    def column(self, seconds: float) -> npt.NDArray[np.float32]:
        """Return points for about so many seconds of one core."""
        return np.linspace(*self.span, int(POINTS_PER_S * seconds), dtype="f4")

    @property
    def fixed(self) -> dict[str, int]:
        """The parameters that all points share."""
        return {"ticks": self.ticks, **self.scalars}


CASES = (
    Case(ELASTICITY, "eps", (0, 0.01), 100_000, {}),
    Case(HARMONIC, "coupling", (1e-4, 2e-3), 1_000, {"pockets": 32}),
)


def direct_rate(case: Case, threads: int, seconds: float) -> float:
    """Return ticks a second of a kernel called in this process, in one thread or several."""
    slices = np.array_split(case.column(seconds), SLICES)

    def one(column: npt.NDArray[np.float32]) -> int:
        run_task(case.kernel, "cpu", case.fixed, {case.swept: column}, {})
        return len(column)

    with ThreadPoolExecutor(threads) as pool:
        return rate(lambda: sum(pool.map(one, slices)), seconds) * case.ticks
