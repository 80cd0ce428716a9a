"""How a log is: what ``status`` shows of it, and what is wrong with it."""

from typing import Any

from qallow_agent.base.complaint import Complaint
from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.log import Log


def describe(log: Log) -> dict[str, Any]:
    """Return what ``status`` shows of a log; JSON-shaped."""
    return {
        "origin": log.origin,
        "entries": log.size,
        "signed": parse_checkpoint(log.head.text).size if log.head else 0,
        "stopped": log.stopped,
        "trouble": log.trouble,
    }


def complaints(log: Log) -> list[Complaint]:
    """Return what is wrong with a log, and what a person can do about it."""
    if log.stopped:
        what = f"its log is signed no more: {log.trouble}"
        return [Complaint(what, "check the disk, then start the agent again")]
    if log.trouble:
        what = f"its log waits: {log.trouble}"
        return [Complaint(what, "free space on the disk of the state directory")]
    return []
