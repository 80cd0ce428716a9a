"""Plug-in kernels that pass their canaries and misbehave only when they are told to."""

import ctypes
import time
from typing import Any

import numpy as np

from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter

Outputs = dict[str, Any]

FINE, RAISES, CRASHES, HANGS, EATS = range(5)


def moody(points: int, mood: Any, seconds: float, mark: int) -> Outputs:
    """Answer each point with its mood after ``seconds`` a point, unless a mood forbids it."""
    if mark:
        print(f"moody {mark}", flush=True)  # noqa: T201 - a runner may write no file of ours
    if RAISES in mood:
        raise RuntimeError("in a bad mood")
    if CRASHES in mood:
        ctypes.string_at(0)
    while HANGS in mood:
        points += 1
    if EATS in mood:
        hoard = [np.ones(8 << 20, dtype="f8") for _ in range(1 << 20)]
        return {"value": np.full(points, len(hoard), dtype="f4")}
    time.sleep(seconds * points)
    return {"value": mood.astype("f4")}


def total(points: int, data: Any) -> Outputs:
    """Answer the sum of an array."""
    return {"value": np.full(points, data.sum(), dtype="f8")}


MOODY = Kernel(
    KernelSpec(
        name="moody",
        version=1,
        doc="Answers its mood, or shows it.",
        parameters=(
            Parameter("mood", "i8", FINE, ge=0, le=1_000_000),
            Parameter("seconds", "f8", 0.0, ge=0, le=600, sweepable=False),
            Parameter("mark", "i8", 0, ge=0, sweepable=False, doc="Is printed."),
        ),
        outputs=(Output("value", "f4"),),
        cost=lambda _values: Cost(ops=1.0),
    ),
    {"reference": f"{__name__}:moody"},
    Canary(scalars={}, columns={"mood": (0, 7)}, answers={"value": (0.0, 7.0)}),
    __name__,
)
TOTAL = Kernel(
    KernelSpec(
        name="total",
        version=1,
        doc="Sums an array.",
        parameters=(Parameter("data", "f4", shape=("n",)),),
        outputs=(Output("value", "f8"),),
        cost=lambda _values: Cost(ops=1.0),
    ),
    {"reference": f"{__name__}:total"},
    Canary(scalars={}, columns={}, answers={"value": (3.0,)}, arrays={"data": (1.0, 2.0)}),
    __name__,
)
