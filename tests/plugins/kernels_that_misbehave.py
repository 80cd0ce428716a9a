"""Plug-in kernels for tests: one that behaves, and one for each way to take a runner down."""

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from qallow_agent.base.errors import DeviceLost
from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter
from qallow_agent.kernels.threads import CREW

Outputs = dict[str, Any]

_HOARD: list[Any] = []


def _answer(points: int, value: float = 0.0) -> Outputs:
    return {"value": np.full(points, value, dtype="f4")}


def echo(points: int, value: Any) -> Outputs:
    del points
    return {"value": value}


def counts_its_threads(points: int) -> Outputs:
    seen: set[int] = set()
    both = threading.Barrier(CREW.threads, timeout=5)

    def part(_begin: int, _end: int) -> None:
        both.wait()
        seen.add(threading.get_ident())

    CREW.run(part, CREW.threads)
    return _answer(points, len(seen))


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


def aborts(points: int) -> Outputs:
    os.abort()
    return _answer(points)


def pauses(points: int) -> Outputs:
    """Never end, in compiled code that holds no lock of the interpreter."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    return _answer(points)


def leaks(points: int) -> Outputs:
    """Take memory slowly, a megabyte at a time, and never give it back."""
    del points
    while True:
        _HOARD.append(bytearray(1 << 20))


def opens(points: int) -> Outputs:
    """Open files without end and keep them open after the task."""
    del points
    while True:
        _HOARD.append(os.open("/dev/null", os.O_RDONLY))


def threads(points: int) -> Outputs:
    """Start threads without end that outlive the task."""
    del points
    stays = threading.Event()
    while True:
        threading.Thread(target=stays.wait, daemon=True).start()


def multiplies(points: int) -> Outputs:
    """Fork without end, in every copy; each waits where no more can be had."""
    del points
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.2)


def closes(points: int) -> Outputs:
    os.closerange(0, 4096)
    return _answer(points)


def floods(points: int) -> Outputs:
    """Fill the disk with many files, each of a size that is allowed."""
    del points
    while True:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(bytes(1 << 20))


def bends(points: int) -> Outputs:
    """Leave the process other than it was found."""
    os.chdir("/")
    os.umask(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    np.seterr(all="raise")
    return _answer(points)


def stands(points: int) -> Outputs:
    """Answer how many of the things that bends() bends are not straight."""
    mask = os.umask(0o077)
    os.umask(mask)
    bent = (
        Path.cwd() == Path("/"),
        mask == 0,
        bool(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        np.geterr()["divide"] == "raise",
    )
    return _answer(points, float(sum(bent)))


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
ABORTS = _kernel("aborts")
PAUSES = _kernel("pauses")
LEAKS = _kernel("leaks")
OPENS = _kernel("opens")
THREADS = _kernel("threads")
COUNTS = _kernel("counts_its_threads")
MULTIPLIES = _kernel("multiplies")
CLOSES = _kernel("closes")
FLOODS = _kernel("floods")
BENDS = _kernel("bends")
STANDS = _kernel("stands")
SPIES = _kernel("spies")

ALL = tuple(
    f"{__name__}:{name}" for name, item in list(globals().items()) if isinstance(item, Kernel)
)
