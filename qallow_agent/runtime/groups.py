"""Groups: a cgroup of its own for each runner, so that limits hold for all it starts together.

Limits of a process (rlimits) count per process: a kernel that forks has them many times. A cgroup
counts the whole tree and ends it at once. That takes version 2 of cgroups and a part of its tree
that is ours to divide (systemd: ``Delegate=yes``); elsewhere runners go without.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qallow_agent.base.units import show_bytes
from qallow_agent.runtime.limits import memory_allowance
from qallow_agent.runtime.settings import RunnerSettings

MOUNTS: Final = Path("/proc/self/mountinfo")
TABLE: Final = Path("/proc/self/cgroup")
_CONTROLLERS: Final = ("memory", "pids", "cpu")
_MARKS: Final = ("user.delegate", "trusted.delegate")
"""What systemd writes on a cgroup that it will not touch again."""

_OWN_BYTES: Final = 64 << 20
"""What a runner has in memory before its first task, beside what it may take."""

_FIX: Final = "run the agent under systemd with Delegate=yes, or name a cgroup in runners.cgroup"


@dataclass(frozen=True, slots=True)
class Groups:
    """Where the groups of runners are made.

    Args:
        base: Their parent; only groups are in it, no process.
        what: What they limit, in words; or why there are none.
        fix: What to do to have them; empty when there are.
    """

    base: Path | None
    what: str
    fix: str = ""

    def enter(self, runner: str, pid: int, settings: RunnerSettings) -> str:
        """Put a runner that has started nothing yet into its group; return why it is not in."""
        if self.base is None:
            return ""
        try:
            self._enter(self.base / runner, pid, settings)
        except OSError as error:
            return f"it got no cgroup: {error.strerror}"
        return ""

    def _enter(self, group: Path, pid: int, settings: RunnerSettings) -> None:
        group.mkdir(exist_ok=True)
        limits = {
            "memory.max": memory_allowance(settings) + _OWN_BYTES,
            "memory.oom.group": 1,
            "pids.max": settings.processes,
        }
        for name, value in limits.items():
            if (group / name).exists():
                (group / name).write_text(str(value))
        (group / "cgroup.procs").write_text(str(pid))

    def kill(self, runner: str) -> None:
        """End everything a runner has started, wherever it hides."""
        if self.base is not None:
            with suppress(OSError):  # it is gone, or the kernel is older than 5.14
                (self.base / runner / "cgroup.kill").write_text("1")

    def close(self, runner: str) -> str:
        """Remove a runner's group; return which limit ended it, empty if none did."""
        if self.base is None:
            return ""
        group = self.base / runner
        self.kill(runner)
        killed = _count(group / "memory.events", "oom_kill")
        limit = _text(group / "memory.max")
        with suppress(
            OSError
        ):  # what was killed may take a moment to go: the next start removes it
            group.rmdir()
        return f"it took more than {show_bytes(int(limit))} of memory" if killed else ""

    def end(self) -> None:
        """Remove what is left of earlier runners."""
        if self.base is not None and self.base.is_dir():
            for group in self.base.iterdir():
                if group.is_dir():
                    with suppress(OSError):
                        group.rmdir()


def survey(settings: RunnerSettings, mounts: Path = MOUNTS, table: Path = TABLE) -> Groups:
    """Return where groups could be made, or why nowhere; changes nothing."""
    if settings.cgroup == "off":
        return Groups(None, "limits hold for each process: switched off", "runners.cgroup = ''")
    own = Path(settings.cgroup) if settings.cgroup else _own(mounts, table)
    if own is None:
        return Groups(None, "limits hold for each process: there is no cgroup version 2", _FIX)
    if not settings.cgroup and not _is_ours(own):
        return Groups(None, f"limits hold for each process: {own} is not delegated", _FIX)
    return Groups(own / "runners", f"each runner gets a cgroup below {own}")


def make_groups(settings: RunnerSettings, mounts: Path = MOUNTS, table: Path = TABLE) -> Groups:
    """Return where groups are made, after making this process's cgroup ready for them."""
    found = survey(settings, mounts, table)
    if found.base is None:
        return found
    own = found.base.parent
    try:
        return _divide(own)
    except OSError as error:
        busy = error.errno == errno.EBUSY
        why = "other programs are in it" if busy else error.strerror
        return Groups(None, f"limits hold for each process: {own} cannot be divided: {why}", _FIX)


def _divide(own: Path) -> Groups:
    """Make room for groups: processes may stand in leaves only, so ours moves into one."""
    ours, base = own / "agent", own / "runners"
    base.mkdir(exist_ok=True)
    if str(os.getpid()) in _text(own / "cgroup.procs").split():
        ours.mkdir(exist_ok=True)
        (ours / "cgroup.procs").write_text(str(os.getpid()))
    offered = [name for name in _CONTROLLERS if name in _text(own / "cgroup.controllers").split()]
    if offered:
        wanted = " ".join(f"+{name}" for name in offered)
        (own / "cgroup.subtree_control").write_text(wanted)
        (base / "cgroup.subtree_control").write_text(wanted)
    groups = Groups(base, f"each runner has a cgroup: {', '.join(offered) or 'no limits'}")
    groups.end()
    return groups


def _own(mounts: Path, table: Path) -> Path | None:
    paths = [line[3:] for line in _text(table).splitlines() if line.startswith("0::")]
    roots = [line.split()[4] for line in _text(mounts).splitlines() if " - cgroup2 " in line]
    if not paths or not roots:
        return None
    return Path(roots[0]) / paths[0].lstrip("/")


def _is_ours(own: Path) -> bool:
    """Return whether this cgroup was given to us: by systemd, by its owner, or as a container's."""
    for mark in _MARKS:
        with suppress(OSError):
            if os.getxattr(own, mark) == b"1":
                return os.access(own / "cgroup.procs", os.W_OK)
    if os.geteuid() != 0:
        return own.exists() and own.stat().st_uid == os.geteuid()
    # Only the machine's root cgroup has no type; a container sees its own part as the root.
    is_mount = own.is_mount()
    return is_mount and (own / "cgroup.type").exists() and os.access(own / "cgroup.procs", os.W_OK)


def _count(path: Path, name: str) -> int:
    found = [line.split()[1] for line in _text(path).splitlines() if line.split()[:1] == [name]]
    return int(found[0]) if found and found[0].isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
