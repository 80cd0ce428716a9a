"""Joules as people read them, and what a job that just ended has used."""

import time
from collections.abc import Mapping
from typing import Any

from qallow_agent.base.errors import QallowError
from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Report
from qallow_agent.base.units import show_joules
from qallow_agent.cli.options import DEFAULT_TIMEOUT_S
from qallow_agent.cli.output import note
from qallow_agent.config.load import find_socket
from qallow_agent.jobs.messages import ListJobs

SETTLE_S = 6.0
"""Executors settle the last seconds of a job two to four seconds after it ended."""
_LOOK_S = 0.25


def describe(energy: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was used, its bounds and how that is known, a line each."""
    rows = [("energy", amount(energy))]
    if energy.get("why"):
        rows.append(("", str(energy["why"])))
    if energy.get("pending"):
        rows.append(("", f"not told of to the end: {', '.join(energy['pending'])}"))
    return rows


def amount(energy: Mapping[str, Any]) -> str:
    """Return gross and net joules with bounds and provenance in one line."""
    gross_j, high_j = energy.get("gross_j"), energy.get("high_j")
    if gross_j is None:
        return "unknown"
    low = show_joules(energy.get("low_j") or 0.0)
    bounds = f"{low} or more" if high_j is None else f"{low} to {show_joules(high_j)}"
    net = show_joules(energy.get("net_j") or 0.0)
    known = energy.get("provenance", "unknown")
    known = "a part unknown" if known == "unknown" else known
    return f"{show_joules(gross_j)} gross, {net} net of idle, {bounds}; {known}"


def spent(socket: str | None, job: str, patience_s: float) -> dict[str, Any] | None:
    """Return what a job has used, as its agent knows it; None when that is not known at all.

    Args:
        socket: The agent's.
        job: Which one.
        patience_s: How long to wait for the devices that have not told all yet.
    """
    from qallow_agent.client.control import ControlLink  # noqa: PLC0415 - brings zmq

    until_s = time.monotonic() + patience_s
    try:
        with ControlLink(find_socket(socket), DEFAULT_TIMEOUT_S) as link:
            while True:
                answer = link.ask(ListJobs(JobId(job)))
                jobs = answer.document.get("jobs", ()) if isinstance(answer, Report) else ()
                energy: dict[str, Any] | None = jobs[0].get("energy") if jobs else None
                if energy is None or not energy.get("pending") or time.monotonic() >= until_s:
                    return energy
                time.sleep(_LOOK_S)
    except QallowError as error:
        note(f"its energy is not known here: {error.message}")
        return None
