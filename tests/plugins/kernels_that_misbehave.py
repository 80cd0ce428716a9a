"""Plug-in kernels for tests: one that behaves, and one for each way to take a runner down."""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from qallow_agent.base.errors import DeviceLost
from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter

Outputs = dict[str, Any]


def _answer(points: int, value: float = 0.0) -> Outputs:
    return {"value": np.full(points, value, dtype="f4")}


def echo(points: int, value: Any) -> Outputs:
    del points
    return {"value": value}


def weigh(points: int, data: Any) -> Outputs:
    return _answer(points, float(data.sum()))


def mirror(points: int, data: Any) -> Outputs:
    return {"data": data[np.newaxis, :].copy() if points == 1 else np.stack([data] * points)}


def raises(points: int) -> Outputs:
    raise RuntimeError(f"no luck with {points} points \udcff")


def loses_its_device(points: int) -> Outputs:
    raise DeviceLost(f"the board failed after {points} points")


def leaves(points: int) -> Outputs:
    sys.exit(points)


def quits(points: int) -> Outputs:
    os._exit(points + 2)


def crashes(points: int) -> Outputs:
    ctypes.string_at(0)
    return _answer(points)


def hangs(points: int) -> Outputs:
    while True:
        points += 1


def sleeps(points: int, seconds: float) -> Outputs:
    time.sleep(seconds)
    return _answer(points)


def eats(points: int) -> Outputs:
    hoard = [np.ones(8 << 20, dtype="f8") for _ in range(1 << 20)]
    return _answer(points, len(hoard))


def prints(points: int, lines: int) -> Outputs:
    for number in range(lines):
        print(f"line {number}")  # noqa: T201 - printing is its misbehaviour
    os.write(1, b"and from C\n")
    sys.stderr.write("and to stderr\n")
    return _answer(points)


def forks(points: int) -> Outputs:
    return _answer(points, float(os.fork() > 0))


def leaves_children(points: int) -> Outputs:
    """Start a process in our session and one that has left it; answer with the first's id."""
    near = subprocess.Popen(["sleep", "600"])
    far = subprocess.Popen(["sleep", "600"], start_new_session=True)
    return {"near": np.full(points, near.pid, "i8"), "far": np.full(points, far.pid, "i8")}


def lies(points: int) -> Outputs:
    return {"value": np.zeros((points, 3), dtype="f4")}


def fills(points: int) -> Outputs:
    with tempfile.TemporaryFile() as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
            file.flush()
    return _answer(points)


def litters(points: int) -> Outputs:
    """Leave files and folders behind where temporary files go."""
    folder = Path(tempfile.mkdtemp())
    for number in range(10):
        (folder / f"file-{number}").write_bytes(bytes(4096))
    return _answer(points)


def spies(points: int) -> Outputs:
    """Answer how many of the names in the environment look like secrets."""
    return _answer(points, sum("SECRET" in name for name in os.environ))


def _kernel(
    name: str,
    *parameters: Parameter,
    outputs: tuple[Output, ...] = (Output("value", "f4"),),
    answers: dict[str, tuple[float, ...]] | None = None,
    **canary: Any,
) -> Kernel:
    spec = KernelSpec(
        name=name.replace("_", "-"),
        version=1,
        doc="Misbehaves on purpose.",
        parameters=parameters,
        outputs=outputs,
        cost=lambda _values: Cost(ops=2.0),
        dimensions=lambda _values: {"n": 1},
    )
    known = Canary(
        scalars=canary.get("scalars", {}), columns=canary.get("columns", {}), answers=answers or {}
    )
    return Kernel(spec, {"reference": f"{__name__}:{name}"}, known, __name__)


DATA = Parameter("data", "f4", shape=("n",))
ECHO = _kernel(
    "echo",
    Parameter("value", "f4", default=1.0),
    columns={"value": (1.0, 2.0)},
    answers={"value": (1.0, 2.0)},
)
WEIGH = _kernel("weigh", DATA)
MIRROR = _kernel("mirror", DATA, outputs=(Output("data", "f4", ("n",)),))
RAISES = _kernel("raises")
LOSES_ITS_DEVICE = _kernel("loses_its_device")
LEAVES = _kernel("leaves")
QUITS = _kernel("quits")
CRASHES = _kernel("crashes")
HANGS = _kernel("hangs")
SLEEPS = _kernel("sleeps", Parameter("seconds", "f8", default=1.0, sweepable=False))
EATS = _kernel("eats")
PRINTS = _kernel("prints", Parameter("lines", "i8", default=3, sweepable=False))
FORKS = _kernel("forks")
LEAVES_CHILDREN = _kernel("leaves_children", outputs=(Output("near", "i8"), Output("far", "i8")))
LIES = _kernel("lies", answers={"value": (0.0,)})
FILLS = _kernel("fills")
LITTERS = _kernel("litters")
SPIES = _kernel("spies")

ALL = tuple(
    f"{__name__}:{name}" for name, item in list(globals().items()) if isinstance(item, Kernel)
)
