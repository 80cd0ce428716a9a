"""What a runner may take from the machine, set in the child before any kernel runs."""

import os
import resource
from pathlib import Path
from typing import Final

import psutil

from qallow_agent.runtime.libc import (
    SET_CHILD_SUBREAPER,
    SET_DUMPABLE,
    SET_NAME,
    SET_PDEATHSIG,
    prctl,
)
from qallow_agent.runtime.settings import RunnerSettings

_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_OOM_SCORE: Final = "500"
"""Half way to "kill me first": under memory pressure a runner goes before the agent does."""


def die_with_parent(signal_number: int, parent_pid: int) -> None:
    """Have the kernel send us a signal when our parent ends; exit if it already has.

    The signal follows the *thread* that forked us, so the parent forks from a thread that lives as
    long as it does.
    """
    prctl(SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os._exit(1)


def close_memory() -> None:
    """Keep other processes of our user from our memory, environment and open files.

    They can neither trace us nor read below ``/proc/PID`` what only its owner may. Root still can.
    """
    prctl(SET_DUMPABLE, 0)


def take_name(name: str) -> None:
    """Show another name in ``ps`` and ``top``; at most 15 characters (Linux, comm(5))."""
    prctl(SET_NAME, name.encode())


def step_back() -> None:
    """Be among the first to go when memory runs out, and so our children, before the agent."""
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def adopt_orphans() -> None:
    """Become the parent of whatever our children leave behind, so that it can be killed."""
    prctl(SET_CHILD_SUBREAPER, 1)


def orphans(known: frozenset[int]) -> list[int]:
    """Return our direct children other than the known ones, ascending."""
    me = os.getpid()
    listing = Path(f"/proc/{me}/task/{me}/children")
    try:
        children = [int(pid) for pid in listing.read_text().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        children = [child.pid for child in psutil.Process(me).children()]
    return sorted(pid for pid in children if pid not in known)


def memory_allowance(settings: RunnerSettings) -> int:
    """Return the bytes a runner may take: as set, or three quarters of the memory here."""
    if settings.memory_bytes:
        return settings.memory_bytes
    bytes_here = psutil.virtual_memory().total
    for path in _CGROUP_LIMITS:
        try:
            bytes_here = min(bytes_here, int(path.read_text()))
        except (OSError, ValueError):  # no such controller, or "max"
            continue
    return bytes_here * 3 // 4


def confine(settings: RunnerSettings, allowance_bytes: int, kind: str) -> None:
    """Put this process under its limits, for good.

    Args:
        settings: What the operator allows.
        allowance_bytes: Address space beyond what is mapped now (the preloaded libraries).
        kind: The kind of its device. CUDA maps the memory of all boards and of the machine into one
            address space: a runner of a board is not limited by it.

    Raises:
        DeviceError: The system refuses a limit.
    """
    mapped_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    # The limit counts all of a user's threads on this machine; all of everybody's is more, and one
    # read away.
    threads_here = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    wanted = {
        resource.RLIMIT_NPROC: threads_here + settings.processes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: settings.file_bytes,
        resource.RLIMIT_NOFILE: settings.open_files,
    }
    if kind != "cuda":
        wanted[resource.RLIMIT_AS] = mapped_bytes + allowance_bytes
    for what, value in wanted.items():
        _, hard = resource.getrlimit(what)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (limit, limit))
    if settings.cpu_s:
        # The soft limit ends the process by SIGXCPU, which names the reason; the hard one by
        # SIGKILL, which does not.
        resource.setrlimit(resource.RLIMIT_CPU, (settings.cpu_s, settings.cpu_s + 1))
    os.nice(settings.niceness)
