"""What ``doctor`` checks on this machine alone: platform, state, keys, clock, JIT, GPU."""

import ctypes
import os
import platform
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from qallow_agent.base.errors import ConfigError
from qallow_agent.base.units import show_bytes, show_seconds

Level = Literal["ok", "warn", "fail"]

_NEWEST_TRIED = (3, 14)
_ROOM_BYTES = 256 << 20
"""Below this much free space a busy desk's retained results may fill the disk."""

_FILES = 1024
"""Two sockets a peer and a few a runner: hundreds of peers fit below the usual soft limit."""

_JIT_TIMEOUT_S = 60.0
_JIT_PROBE = """
import numba
add = numba.njit("int64(int64)")(lambda x: x + 1)
assert add(1) == 2
print(numba.__version__)
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: its level, a stable name, what was seen, and the fix when there is one."""

    level: Level
    name: str
    what: str
    fix: str = ""


def platform_check() -> Check:
    """Check the operating system and Python."""
    version = platform.python_version()
    if sys.platform != "linux":
        return Check("fail", "platform", f"{sys.platform} is not supported", "use Linux")
    text = f"Linux {platform.release()} on {platform.machine()}, Python {version}"
    if sys.version_info[:2] > _NEWEST_TRIED:
        return Check("warn", "platform", f"{text} is newer than any tried", "use Python 3.14")
    return Check("ok", "platform", text)


def state_checks(state_dir: Path) -> Iterator[Check]:
    """Check the state directory, its free space and every key in it."""
    if not state_dir.exists():
        parent = next(path for path in state_dir.parents if path.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            yield Check("ok", "state", f"{state_dir} will be made by the first start")
        else:
            yield Check(
                "fail",
                "state",
                f"{state_dir} does not exist and {parent} is not writable",
                "choose another with --state-dir, or QALLOW_NODE__STATE_DIR",
            )
        return
    yield _directory_check(state_dir)
    free_bytes = shutil.disk_usage(state_dir).free
    room = f"{show_bytes(free_bytes)} free at {state_dir}"
    if free_bytes < _ROOM_BYTES:
        yield Check("warn", "disk", room, "free some space")
    else:
        yield Check("ok", "disk", room)
    yield from _key_checks(state_dir)


def _directory_check(state_dir: Path) -> Check:
    status = state_dir.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in {os.geteuid(), 0} or not os.access(state_dir, os.W_OK):
        return Check(
            "fail",
            "state",
            f"{state_dir} belongs to user {status.st_uid}, this is user {os.geteuid()}",
            "run as its owner, or choose another with --state-dir",
        )
    if mode & 0o077:
        return Check(
            "warn", "state", f"{state_dir} is open to others ({mode:04o})", f"chmod 700 {state_dir}"
        )
    return Check("ok", "state", f"{state_dir}, mode {mode:04o}")


def _key_checks(state_dir: Path) -> Iterator[Check]:
    from qallow_agent.runtime.keyring import read_key  # noqa: PLC0415 - brings cryptography

    try:
        keys = sorted(state_dir.rglob("*.key"))
    except OSError as error:
        yield Check("fail", "keys", str(error), "run as the agent's user")
        return
    for path in keys:
        try:
            read_key(path)
        except ConfigError as error:
            yield Check("fail", "keys", error.message, error.hint)
        else:
            yield Check("ok", "keys", f"{path}, mode {stat.S_IMODE(path.stat().st_mode):04o}")
    if not keys:
        yield Check("ok", "keys", "none yet; the first start makes them")


def limits_check() -> Check:
    """Check how many files this user may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        return Check("warn", "files", f"only {soft} open files allowed", f"ulimit -n {_FILES}")
    return Check("ok", "files", f"{soft} open files allowed")


class _Timex(ctypes.Structure):
    """``struct timex`` of ``adjtimex(2)`` up to the fields read here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


_STA_UNSYNC = 0x0040
"""Source: linux/timex.h."""


def clock_check() -> Check:
    """Ask the kernel whether anything disciplines the wall clock, and how far off it may be."""
    timex = _Timex()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        why = os.strerror(ctypes.get_errno())
        return Check("warn", "clock", f"the kernel does not tell: adjtimex: {why}")
    error_s = timex.maxerror / 1e6
    if timex.status & _STA_UNSYNC:
        return Check(
            "warn",
            "clock",
            "nothing keeps the wall clock right (certificates and receipts depend on it)",
            "install chrony, or systemctl enable --now systemd-timesyncd",
        )
    return Check("ok", "clock", f"synchronized, at most {show_seconds(error_s)} off")


def jit_check() -> Check:
    """Compile and run one function in a fresh process, as a runner would."""
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and a constant program
            [sys.executable, "-c", _JIT_PROBE],
            capture_output=True,
            text=True,
            timeout=_JIT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(
            "fail", "jit", f"no answer within {_JIT_TIMEOUT_S:.0f} s", "is the machine overloaded?"
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Check("fail", "jit", f"numba cannot compile: {last}", _jit_fix(done.stderr))
    return Check("ok", "jit", f"numba {done.stdout.strip()} compiles and runs")


def _jit_fix(text: str) -> str:
    if "No module named" in text:
        return "pip install 'numba>=0.61'"
    if "mmap" in text or "Permission" in text:
        return "allow executable memory: no MemoryDenyWriteExecute, no noexec on TMPDIR"
    return "pip install --force-reinstall numba llvmlite"


def gpu_checks() -> Iterator[Check]:
    """Say whether NVML answers, and if not, why; a machine without NVIDIA GPU is fine."""
    present = Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists()
    try:
        library: Any = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        if present:
            yield Check(
                "warn",
                "nvml",
                "an NVIDIA driver is loaded, but libnvidia-ml.so.1 is not found",
                "install the driver's user-space libraries (in containers: --gpus all)",
            )
        else:
            yield Check("ok", "nvml", "no NVIDIA driver here: CPU only")
    else:
        yield _nvml_check(library)
    yield _deprecated_check()


def _nvml_check(library: Any) -> Check:
    code = library.nvmlInit_v2()
    if code != 0:
        library.nvmlErrorString.restype = ctypes.c_char_p
        why = (library.nvmlErrorString(code) or b"unknown error").decode()
        return Check(
            "warn", "nvml", f"NVML refuses: {why}", "nvidia-smi says more; reboot after an update"
        )
    try:
        count = ctypes.c_uint()
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        return Check("ok", "nvml", f"NVML answers, {count.value} GPUs")
    finally:
        library.nvmlShutdown()


def _deprecated_check() -> Check:
    try:
        version = metadata.version("pynvml")
    except metadata.PackageNotFoundError:
        return Check("ok", "pynvml", "only nvidia-ml-py provides the module")
    return Check(
        "warn",
        "pynvml",
        f"the deprecated distribution pynvml {version} shadows nvidia-ml-py",
        "pip uninstall pynvml && pip install --force-reinstall nvidia-ml-py",
    )
