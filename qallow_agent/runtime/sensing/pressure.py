"""Pressure stall information: the share of time in which work waited for a resource."""

from collections.abc import Iterator
from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.runtime.sensing.files import ROOT, folders, text

RESOURCES = ("cpu", "memory", "io")
_MOST_GROUPS = 64
"""Three small files each are read every other second."""


def read_pressure(root: Path = ROOT, group: Path | None = None) -> dict[str, Reading]:
    """Return for each resource the share of the last ten seconds in which something waited for it.

    Kernels may lack it (it is a boot option), and version 1 groups do.

    Args:
        root: Where proc/ lies.
        group: Our cgroup when it is limited: what waits in it is what matters to us.

    Source: Linux, Documentation/accounting/psi.rst: the line "some", field "avg10", in percent.
    """
    found: dict[str, Reading] = {}
    for resource in RESOURCES:
        name = f"pressure_{resource}"
        inside = None if group is None else _share(group / f"{resource}.pressure")
        if inside is not None:
            found[name] = Reading(inside, "ratio", "cgroup")
            continue
        share = _share(root / "proc/pressure" / resource)
        source = f"/proc/pressure/{resource}"
        if share is None:
            why = "this kernel measures no pressure (boot it with psi=1)"
            found[name] = unknown("ratio", source, why)
        else:
            found[name] = Reading(share, "ratio", source)
    return found


def read_others(root: Path = ROOT, group: Path | None = None) -> dict[str, Reading]:
    """Return for each resource the worst pressure among the cgroups beside ours.

    Groups on the way from ours up to the root hold our own work as well; those beside it are
    other programs and people. Without version 2 of cgroups, or where nobody is beside us, the
    whole machine stands for them: our own work is in it.

    Args:
        root: Where proc/ lies.
        group: Our cgroup of version 2; None without.
    """
    found = read_pressure(root)
    if group is None:
        return found
    beside = list(_beside(group))
    for resource in RESOURCES:
        shares = [(_share(each / f"{resource}.pressure"), each.name) for each in beside]
        known = [(share, name) for share, name in shares if share is not None]
        if known:
            share, name = max(known)
            found[f"pressure_{resource}"] = Reading(share, "ratio", f"cgroup {name}")
    return found


def _beside(group: Path) -> Iterator[Path]:
    """Yield the cgroups beside a group and beside its ancestors, at most ``_MOST_GROUPS``."""
    seen = 0
    while (group.parent / "cgroup.procs").exists():
        for each in folders(group.parent, "*"):
            if each != group and each.is_dir():
                yield each
                seen += 1
                if seen >= _MOST_GROUPS:
                    return
        group = group.parent


def _share(path: Path) -> float | None:
    for line in text(path).splitlines():
        kind, _, rest = line.partition(" ")
        fields = dict(part.partition("=")[::2] for part in rest.split())
        if kind == "some":
            try:
                return min(1.0, max(0.0, float(fields.get("avg10", "")) / 100))
            except ValueError:
                return None
    return None
