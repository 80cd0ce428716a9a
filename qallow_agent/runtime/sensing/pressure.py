"""Pressure stall information: the share of time in which work waited for a resource."""

from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.runtime.sensing.files import ROOT, text

RESOURCES = ("cpu", "memory", "io")


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
