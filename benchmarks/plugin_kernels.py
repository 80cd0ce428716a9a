"""Kernels that compute nothing, so that only what lies around them is measured."""

import time
from typing import Any

from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter, Values


def noop(points: int, value: Any) -> dict[str, Any]:
    """Return its argument."""
    del points
    return {"value": value}


def echo(points: int, data: Any) -> dict[str, Any]:
    """Return its array once, as the single point it was asked for."""
    del points
    return {"data": data[None]}


def wait(points: int, seconds: Any) -> dict[str, Any]:
    """Wait at every point, as a task does that asks a sensor, and return how long."""
    for point in range(points):
        time.sleep(float(seconds[point]))
    return {"seconds": seconds}


def _cost(values: Values) -> Cost:
    del values
    return Cost(ops=1.0)


def _cost_of_waiting(values: Values) -> Cost:
    return Cost(ops=1e9 * float(values["seconds"]))


NOOP = Kernel(
    spec=KernelSpec(
        name="bench-noop",
        version=1,
        doc="Returns its argument.",
        parameters=(Parameter("value", "f4", 0.0, doc="Any number."),),
        outputs=(Output("value", "f4", doc="The same."),),
        cost=_cost,
    ),
    backends={"reference": f"{__name__}:noop"},
    canary=Canary(scalars={}, columns={"value": (1.0, 2.0)}, answers={"value": (1.0, 2.0)}),
    module=__name__,
)

ECHO = Kernel(
    spec=KernelSpec(
        name="bench-echo",
        version=1,
        doc="Returns its array.",
        parameters=(Parameter("data", "f4", shape=("n",), doc="Any array."),),
        outputs=(Output("data", "f4", ("n",), doc="The same."),),
        cost=_cost,
    ),
    backends={"reference": f"{__name__}:echo"},
    canary=Canary(
        scalars={}, columns={}, answers={"data": (1.0, 2.0)}, arrays={"data": (1.0, 2.0)}
    ),
    module=__name__,
)

WAIT = Kernel(
    spec=KernelSpec(
        name="bench-wait",
        version=1,
        doc="Waits.",
        parameters=(Parameter("seconds", "f4", 0.02, ge=0, le=60, unit="s", doc="How long."),),
        outputs=(Output("seconds", "f4", unit="s", doc="The same."),),
        cost=_cost_of_waiting,
        op="nanosecond",
    ),
    backends={"reference": f"{__name__}:wait"},
    canary=Canary(
        scalars={}, columns={"seconds": (2**-6, 2**-6)}, answers={"seconds": (2**-6, 2**-6)}
    ),
    module=__name__,
)
