"""Which ticks of a simulation are recorded: every n-th and always the last."""

from collections.abc import Mapping

MAX_TICKS = 10**12
"""Half an hour of one fast core; beyond lies a typing error."""


def records(values: Mapping[str, bool | int | float]) -> int:
    """Return how many ticks a run records; ``record_every`` 0 keeps only the last."""
    ticks, every = int(values["ticks"]), int(values["record_every"])
    return -(-ticks // every) if every else 1


def stride(ticks: int, record_every: int) -> int:
    """Return the ticks between records: at most all of them, so that the last is recorded."""
    return min(record_every or ticks, ticks)
