"""What the cgroup of this process allows: containers see the whole machine but get a part."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
SELF = Path("/proc/self/cgroup")
_UNLIMITED_BYTES = 1 << 60
"""Version 1 says "no limit" as a number near 2^63; nobody means an exbibyte."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limits on the way from our cgroup to the root; None where there is none."""

    cpus: float | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None


def read_limits(root: Path = ROOT, table: Path = SELF) -> Limits:
    """Return the limits of versions 1 and 2; what cannot be read is no limit.

    Hybrid machines have both, so each controller is looked for on its own.
    """
    cpus: list[float] = []
    memories: list[tuple[int, int]] = []
    for controllers, path in _own_groups(table):
        base = root if not controllers else root / controllers
        for folder in _up_to_root(base, path):
            cpus += _cpu(folder)
            memories += _memory(folder)
    tightest = min(memories, default=None)
    return Limits(
        cpus=min(cpus, default=None),
        memory_bytes=tightest[0] if tightest else None,
        memory_used_bytes=tightest[1] if tightest else None,
    )


def own_group(root: Path = ROOT, table: Path = SELF) -> Path | None:
    """Return the folder of our cgroup of version 2; None where that version is not used."""
    for controllers, path in _own_groups(table):
        if not controllers:
            known = _up_to_root(root, path)
            return known[min(1, len(known) - 1)] if known else None
    return None


def _own_groups(table: Path) -> list[tuple[str, str]]:
    groups: list[tuple[str, str]] = []
    for line in _text(table).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers or controllers in ("cpu,cpuacct", "cpu", "memory"):
            groups.append((controllers, path))
    return groups


def _up_to_root(base: Path, path: str) -> list[Path]:
    """Return the hierarchy's root, then the folders from the cgroup up to below it.

    Inside a container the path may name the host's tree while only our own part is mounted; then
    the mount's root is our cgroup.
    """
    folder = base / path.lstrip("/")
    folders = [base]
    while folder != base and base in folder.parents:
        folders.append(folder)
        folder = folder.parent
    return [f for f in folders if f.is_dir()]


def _cpu(folder: Path) -> list[float]:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    try:
        allowed = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return []
    return [allowed] if allowed > 0 else []


def _memory(folder: Path) -> list[tuple[int, int]]:
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            limit, used = int(_text(folder / limit_name)), int(_text(folder / used_name))
        except ValueError:
            continue
        if 0 < limit < _UNLIMITED_BYTES:
            return [(limit, used)]
    return []


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
