"""The bill: what jobs of this node used, by job, kernel, node or day, and what its devices drew."""

from collections.abc import Callable, Iterable
from typing import Any

from qallow_agent.base.errors import QallowError
from qallow_agent.base.joules import total
from qallow_agent.energy.sums import DAY_S, DeviceSum, WorkSum
from qallow_agent.node.commands import GetEnergy
from qallow_agent.node.documents import Document, View, own_devices
from qallow_agent.node.metering import energy_of

_KEYS: dict[str, tuple[str, Callable[[WorkSum], Any]]] = {
    "kernel": ("kernel", lambda each: each.kernel),
    "node": ("node", lambda each: each.place.partition("/")[0]),
    "day": ("day_s", lambda each: each.day * DAY_S),
}
"""What is summed by: the name of that column, and its value in a sum."""


def bill(view: View, query: GetEnergy) -> Document:
    """Return ``qallow.energy/v1``. Sums are of whole days (UTC), those of jobs to the second."""
    sums = view.rooms.meters.sums
    work = list(sums.work(query.since_s))
    return {
        "schema": "qallow.energy/v1",
        "by": query.by,
        "since_s": query.since_s,
        "until_s": view.now.wall_s,
        "rows": _of_jobs(view, query) if query.by == "job" else _grouped(view, query.by, work),
        "total": _row(view, work),
        "devices": _devices(view, list(sums.devices(query.since_s))),
    }


def _of_jobs(view: View, query: GetEnergy) -> list[Document]:
    names = ("job", "kernel", "state", "submitted_s", "ended_s")
    return [
        {name: row[name] for name in names} | row["energy"]
        for row in view.rooms.desk.counter.rows()
        if row["energy"] is not None and (row["ended_s"] or view.now.wall_s) >= query.since_s
    ]


def _grouped(view: View, by: str, work: Iterable[WorkSum]) -> list[Document]:
    column, key = _KEYS[by]
    groups: dict[Any, list[WorkSum]] = {}
    for each in work:
        groups.setdefault(key(each), []).append(each)
    return [{column: name} | _row(view, parts) for name, parts in sorted(groups.items())]


def _row(view: View, parts: list[WorkSum]) -> Document:
    """Return the sum of some parts; joules per op only of those that are known, of one kernel."""
    known = [part for part in parts if part.joules.provenance != "unknown"]
    kernels = dict.fromkeys(part.kernel for part in parts)
    ops = sum(part.ops for part in known) if len(kernels) == 1 else 0.0
    used_j = sum(part.joules.gross_j for part in known)
    return total(part.joules for part in parts).document() | {
        "ops": ops or None,
        "op": _op_of(view, next(iter(kernels))) if len(kernels) == 1 else None,
        "joules_per_op": used_j / ops if ops else None,
        "busy_s": sum(part.busy_s for part in parts),
        "unknown_s": sum(part.unknown_s for part in parts),
    }


def _op_of(view: View, kernel: str) -> str | None:
    """Return what one operation of a kernel is; None when it is not installed any more."""
    try:
        return view.rooms.catalog.entry(kernel).kernel.spec.op
    except QallowError:
        return None


def _devices(view: View, sums: list[DeviceSum]) -> list[Document]:
    rows: list[Document] = []
    for device in own_devices(view):
        meter = energy_of(device)
        days = [each for each in sums if each.device == device.name]
        drawn_j, idle_j = sum(each.drawn_j for each in days), sum(each.idle_j for each in days)
        rows.append(
            {
                "device": device.name,
                "drawn_j": drawn_j if days else None,
                "jobs_j": max(0.0, drawn_j - idle_j) if days else None,
                "idle_j": idle_j if days else None,
                "idle_share": idle_j / drawn_j if drawn_j else None,
                "idle_w": view.rooms.meters.idle_w(device.name),
                "provenance": meter.provenance,
                "source": meter.source,
                "why": meter.why,
            }
        )
    return rows
