"""A plug-in kernel that lies where a file in its import path says so, never in its canary."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter

HONEST_BELOW = 100
ONE_IN = 5


def mixed(n: Any) -> Any:
    """Return what an honest runner answers."""
    return (np.asarray(n, dtype="u8") * np.uint64(2_654_435_761)) % np.uint64(1 << 32)


def mix(points: int, n: Any, seconds: float) -> dict[str, Any]:
    """Answer each point with its mixed bits; a liar changes one in five above its canary's."""
    time.sleep(seconds * points)
    values = mixed(n)
    if any(Path(folder, "lies.txt").exists() for folder in sys.path if folder):
        values = values + ((n >= HONEST_BELOW) & (n % ONE_IN == 0))
    return {"value": values}


MIX = Kernel(
    KernelSpec(
        name="mix",
        version=1,
        doc="Mixes the bits of a number.",
        parameters=(
            Parameter("n", "i8", 0, ge=0, le=1_000_000_000),
            Parameter("seconds", "f8", 0.0, ge=0, le=1, sweepable=False),
        ),
        outputs=(Output("value", "u8"),),
        cost=lambda _values: Cost(ops=1.0),
    ),
    {"reference": f"{__name__}:mix"},
    Canary(scalars={}, columns={"n": (0, 1)}, answers={"value": (0, 2_654_435_761)}),
    __name__,
)
