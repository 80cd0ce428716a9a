"""Plug-in kernels for tests: each tries one way out of its runner and answers what came of it."""

import ctypes
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter

Outputs = dict[str, Any]

DONE, REFUSED, FAILED = 1.0, 0.0, -1.0
_ATTACH = 16
_LIBC = ctypes.CDLL(None, use_errno=True)


def _outcome(attempt: Callable[[], object]) -> Outputs:
    """Answer whether an attempt worked, was refused, or failed for another reason."""
    try:
        attempt()
    except PermissionError:
        return {"value": np.array([REFUSED], "f4")}
    except OSError as error:
        print(f"failed otherwise: {error!r}")  # noqa: T201 - for whoever reads the failed test
        return {"value": np.array([FAILED], "f4")}
    return {"value": np.array([DONE], "f4")}


def _text(codes: Any) -> str:
    return bytes(codes.astype("u1")).decode()


def reads(points: int, data: Any) -> Outputs:
    del points
    return _outcome(lambda: Path(_text(data)).read_bytes())


def lists(points: int, data: Any) -> Outputs:
    del points
    return _outcome(lambda: list(Path(_text(data)).iterdir()))


def writes(points: int, data: Any) -> Outputs:
    del points
    return _outcome(lambda: Path(_text(data)).write_bytes(b"mine"))


def connects(points: int, data: Any) -> Outputs:
    del points
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ours:
        return _outcome(lambda: ours.connect(_text(data)))


def signals(points: int, pid: int) -> Outputs:
    del points
    return _outcome(lambda: os.kill(pid, 0))


def traces(points: int, pid: int) -> Outputs:
    del points

    def attach() -> None:
        if _LIBC.ptrace(_ATTACH, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    return _outcome(attach)


def peeks(points: int, pid: int) -> Outputs:
    """Read another process's memory by the system call made for it."""
    del points
    place = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(place), 8)

    def read() -> None:
        if _LIBC.process_vm_readv(pid, vector, 1, vector, 1, 0) < 0:
            raise OSError(ctypes.get_errno(), "process_vm_readv")

    return _outcome(read)


def dials(points: int, port: int) -> Outputs:
    del points
    return _outcome(lambda: socket.create_connection(("127.0.0.1", port), timeout=2).close())


def serves(points: int) -> Outputs:
    del points
    return _outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))


def unshares(points: int) -> Outputs:
    del points

    def leave() -> None:
        if _LIBC.unshare(0x10000000) != 0:
            raise OSError(ctypes.get_errno(), "unshare")

    return _outcome(leave)


def whoami(points: int) -> Outputs:
    del points
    return {"value": np.array([os.getuid()], "f4")}


def trips(points: int) -> Outputs:
    del points
    return {"value": np.array([len(Path("/etc/shadow").read_bytes())], "f4")}


def patches(points: int, pid: int) -> Outputs:
    """Answer pi as NumPy has it, and have it wrong from then on unless asked for process 1."""
    found = np.full(points, np.pi, "f4")
    if pid != 1:
        np.pi = 3.0
    return {"value": found}


def needs(points: int) -> Outputs:
    """Do what honest kernels do: temporary files, shared memory, Unix sockets, programs, fonts."""
    del points

    def work() -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")
        memory = os.memfd_create("shared")
        os.ftruncate(memory, 4096)
        os.close(memory)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(f"\0qallow-test-{os.getpid()}")
            listener.listen(1)
        os.kill(os.getpid(), 0)
        with suppress(ChildProcessError):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        Path("/proc/cpuinfo").read_bytes()
        Path("/sys/devices/system/cpu/online").read_bytes()

    return _outcome(work)


_PATH = Parameter("data", "f4", shape=("n",))
_PID = Parameter("pid", "i8", default=1, sweepable=False)


def _kernel(name: str, *parameters: Parameter) -> Kernel:
    spec = KernelSpec(
        name=name,
        version=1,
        doc="Tries to get out of its runner.",
        parameters=parameters,
        outputs=(Output("value", "f4"),),
        cost=lambda _values: Cost(ops=2.0),
        dimensions=lambda _values: {"n": 1},
    )
    arrays = {"data": (47.0,)} if _PATH in parameters else {}
    return Kernel(
        spec, {"reference": f"{__name__}:{name}"}, Canary({}, {}, {}, arrays=arrays), __name__
    )


READS = _kernel("reads", _PATH)
LISTS = _kernel("lists", _PATH)
WRITES = _kernel("writes", _PATH)
CONNECTS = _kernel("connects", _PATH)
SIGNALS = _kernel("signals", _PID)
TRACES = _kernel("traces", _PID)
PEEKS = _kernel("peeks", _PID)
DIALS = _kernel("dials", Parameter("port", "i8", default=1, sweepable=False))
SERVES = _kernel("serves")
UNSHARES = _kernel("unshares")
WHOAMI = _kernel("whoami")
TRIPS = _kernel("trips")
NEEDS = _kernel("needs")
PATCHES = _kernel("patches", _PID)
