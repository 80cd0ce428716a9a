"""Examples of evidence: what the guide shows, what tests and what-if questions start from."""

from qallow_agent.ethics.evidence import Evidence, Item, millionths
from qallow_agent.ethics.signals import SIGNALS

START_MS = 1_795_000_000_000
COMFORTABLE = {
    "s1": 0.35, "s2": 24.0, "s2.slowdown": 0, "s2.shutdown": 0, "s3": 0.95, "s4": 8.0,
    "s4.charge": 0.9, "s5": 0.3, "c1.cpu": 0.02, "c1.io": 0.01, "c1.memory": 0.0, "c2": 1800.0,
    "c3": 0.06, "c4.use": 0.0, "c4.memory": 0.62, "c5": 0.0012, "c6": 1, "c7": 1, "c8": 1,
    "h1": 0.0011, "h2": 1.0, "h3": 1.0, "h4": 1.0, "h5": 1, "s.power": 61.0, "s.limit": 95.0,
    "s.temperature": 58.0, "s.energy": 18_000.0, "h.known": 4, "h.fresh": 4,
}  # fmt: skip
"""A value of every signal, in its unit, on a box that is well."""
SOURCES = {
    "s1": "rapl", "s2": "thermal zones", "s2.slowdown": "nvml", "s2.shutdown": "nvml",
    "s3": "cost model", "s4": "budget", "s4.charge": "battery", "s5": "schedule",
    "c1.cpu": "pressure of the host", "c1.io": "pressure of the host",
    "c1.memory": "pressure of the host", "c2": "logind", "c3": "psutil", "c4.use": "nvml",
    "c4.memory": "nvml", "c5": "own timer", "c6": "policy", "c7": "labels", "c8": "owner",
    "h1": "pulses", "h2": "audits", "h3": "adverts", "h4": "membership", "h5": "witnesses",
    "s.power": "rapl", "s.limit": "rapl", "s.temperature": "thermal zones", "s.energy": "rapl",
    "h.known": "membership", "h.fresh": "membership",
}  # fmt: skip


def comfortable(
    changed: dict[str, float | None] | None = None,
    *,
    without: tuple[str, ...] = (),
    job: str = "job-6lq2",
    at_ms: int = START_MS,
) -> Evidence:
    """Return evidence of a box that is well, but for what is changed or left out.

    Args:
        changed: Values in their signals' units; None for what could not be measured.
        without: Signals that nothing is said about.
        job: The job's id.
        at_ms: When it was put together and measured.
    """
    values: dict[str, float | None] = {**COMFORTABLE, **(changed or {})}
    items = tuple(
        example(name, value, at_ms) for name, value in values.items() if name not in without
    )
    return Evidence("nano1", "cpu0", job, at_ms, items)


def example(name: str, value: float | None, time_ms: int = START_MS) -> Item:
    """Return the evidence for one signal, in its unit; None for what could not be measured."""
    unit = SIGNALS[name].unit
    if value is None:
        return Item(name, None, unit, time_ms, SOURCES[name], "unknown", "no sensor answered")
    return Item(name, millionths(value), unit, time_ms, SOURCES[name])
