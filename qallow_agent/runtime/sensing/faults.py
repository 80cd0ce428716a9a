"""Faults of a device: counted so that none is missed, and none is told twice."""

from dataclasses import dataclass

from qallow_agent.base.complaint import NOTHING, Complaint


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault as it stands now.

    Args:
        key: Which kind.
        count: How often it has happened since some start.
        complaint: What it is and what a person can do.
    """

    key: str
    count: int
    complaint: Complaint


class FaultTally:
    """Counts the faults of one device over every restart of its driver."""

    def __init__(self) -> None:
        self.count = 0
        self.newest = NOTHING
        self._seen: dict[str, int] = {}

    def note(self, faults: tuple[Fault, ...]) -> None:
        """Take in how every kind of fault stands; a count that grew is a new fault."""
        for fault in faults:
            if fault.count > self._seen.get(fault.key, 0):
                self.count += 1
                self.newest = fault.complaint
            self._seen[fault.key] = fault.count
