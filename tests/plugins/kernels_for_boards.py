"""A kernel whose 'cuda' backend is plain NumPy, so that a runner of that kind runs anywhere."""

import time
from typing import Any

from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter

Outputs = dict[str, Any]


def on_cpu(points: int, x: Any, seconds: float) -> Outputs:
    """Double x; each point takes ``seconds``."""
    time.sleep(seconds * points)
    return {"y": x * 2, "where": x * 0}


def on_board(points: int, x: Any, seconds: float) -> Outputs:
    """Double x and say that a board did it."""
    time.sleep(seconds * points)
    return {"y": x * 2, "where": x * 0 + 1}


DOUBLE = Kernel(
    KernelSpec(
        name="double",
        version=1,
        doc="Doubles, and says on what.",
        parameters=(
            Parameter("x", "f8", 1.0),
            Parameter("seconds", "f8", 0.0, ge=0, le=600, sweepable=False),
        ),
        outputs=(Output("y", "f8"), Output("where", "f8")),
        cost=lambda _values: Cost(ops=1.0),
    ),
    {"reference": f"{__name__}:on_cpu", "cuda": f"{__name__}:on_board"},
    Canary(scalars={}, columns={"x": (1.0, 4.0)}, answers={"y": (2.0, 8.0)}),
    __name__,
)
