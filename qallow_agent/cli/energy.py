"""``energy report``: what work cost, and what the devices of this node drew."""

import time
from collections.abc import Mapping
from typing import Any

import click

from qallow_agent.base.units import show_joules
from qallow_agent.cli.options import LocalAgent, asks_agent, duration
from qallow_agent.cli.output import emit, note, table

_GROUPS = ("kernel", "job", "node", "day")


@click.group()
def energy() -> None:
    """Say how many joules the jobs of this node took, and its devices drew."""


@energy.command(epilog="Example: qallow-agent energy report --by day --since 30d")
@click.option("--by", type=click.Choice(_GROUPS), default="kernel", show_default=True,
              help="What to sum up by.")  # fmt: skip
@click.option("--since", "since_s", type=duration, metavar="DURATION", default="1d",
              help="How far back; sums are of whole days (UTC). [default: 1d]")  # fmt: skip
@asks_agent
def report(agent: LocalAgent, by: Any, since_s: float, as_json: bool) -> None:
    """Sum up the joules of jobs that were submitted here, wherever they ran.

    Gross joules include a job's share of what its devices draw when idle, net ones do not. The
    meter of a device cannot tell programs apart: whatever else runs there while a job does is
    counted as the job's.
    """
    from qallow_agent.node.commands import GetEnergy  # noqa: PLC0415 - only this command needs it

    found = agent.report(GetEnergy(by, max(0.0, time.time() - since_s)))
    if as_json:
        emit(found.schema, found.document)
        return
    document = found.document
    column = "day_s" if by == "day" else by
    rows = list(document.get("rows", ()))
    if rows:
        rows.append({column: "total"} | document.get("total", {}))
    table(
        (by.upper(), "GROSS", "NET", "AT LEAST", "AT MOST", "KNOWN", "J/OP"),
        [_row(str(_name(row, column)), row) for row in rows],
        empty="no job of this node was charged any energy in that time",
        keep=0,
    )
    for op, kernels in _ops(rows).items():
        note(f"one op of {', '.join(kernels)} is one {op}")
    click.echo()
    table(
        ("DEVICE", "DREW", "BY JOBS", "IDLE", "IDLE SHARE", "AT REST", "METER"),
        [_device(row) for row in document.get("devices", ())],
        empty="this node has no devices",
        wrap=True,
    )


def _name(row: Mapping[str, Any], column: str) -> Any:
    value = row.get(column, "")
    if column == "day_s" and not isinstance(value, str):
        return time.strftime("%Y-%m-%d", time.gmtime(value))
    return value


def _row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    known = row.get("provenance", "unknown")
    partly = known == "unknown" and row.get("gross_j") is not None
    return (
        name,
        _joules(row.get("gross_j")),
        _joules(row.get("net_j")),
        "-" if row.get("gross_j") is None else _joules(row.get("low_j")),
        _joules(row.get("high_j")),
        "in part" if partly else known,
        _joules(row.get("joules_per_op")),
    )


def _device(row: Mapping[str, Any]) -> tuple[str, ...]:
    share, idle_w = row.get("idle_share"), row.get("idle_w")
    measured = row.get("provenance") != "unknown"
    return (
        str(row.get("device", "")),
        _joules(row.get("drawn_j")),
        _joules(row.get("jobs_j")),
        _joules(row.get("idle_j")),
        "-" if share is None else f"{share:.0%}",
        "-" if idle_w is None else f"{idle_w:.3g} W",
        f"{row.get('source')} ({row.get('provenance')})" if measured else str(row.get("why", "")),
    )


def _ops(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what an op is, with the kernels it is one of."""
    ops: dict[str, list[str]] = {}
    for row in rows:
        if row.get("op") and row.get("kernel") not in (None, "total"):
            ops.setdefault(row["op"], []).append(row["kernel"])
    return ops


def _joules(value: float | None) -> str:
    return "-" if value is None else show_joules(value)
