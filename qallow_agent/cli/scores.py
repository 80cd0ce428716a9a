"""Scores for people: a gate in one line, its signals as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from qallow_agent.cli.output import table

GATES = {"open": "takes", "defers": "puts off", "refuses": "refuses", "forbids": "may not take"}
"""What a gate in each state does with new work."""
_COMPONENTS = ("s", "c", "h")


def gate_line(gate: Mapping[str, Any]) -> str:
    """Return a gate in one line: its score, what each part is least for, and why it is closed."""
    culprits = gate.get("culprits") or ("", "", "")
    parts = [
        f"{name.upper()} {score(gate[name])}{f' ({culprit})' if culprit else ''}"
        for name, culprit in zip(_COMPONENTS, culprits, strict=False)
    ]
    line = f"E {score(gate['e'])} = {' + '.join(parts)}"
    if gate.get("solo"):
        line += ", solo"
    if gate.get("state") != "open":
        line += f"; {GATES.get(gate.get('state', ''), '')} new work: {gate.get('why', '')}"
    return line


def say_signals(signals: Sequence[Mapping[str, Any]]) -> None:
    """Print what each signal came to."""
    if signals:
        table(
            ("SIGNAL", "VALUE", "MARK", "PROVENANCE", "WHAT IT IS"),
            [_row(each) for each in signals],
            wrap=True,
        )


def score(thousandths: int) -> str:
    """Return thousandths with their three decimals."""
    return f"{thousandths / 1000:.3f}"


def _row(signal: Mapping[str, Any]) -> tuple[str, ...]:
    mark = signal.get("thousandths")
    said = [str(signal.get("name", ""))]
    said += [str(signal[each]) for each in ("stop", "why", "source") if signal.get(each)]
    return (
        str(signal.get("signal", "")),
        str(signal.get("shown", "")),
        "-" if mark is None else score(mark),
        str(signal.get("provenance", "")),
        "; ".join(said),
    )
