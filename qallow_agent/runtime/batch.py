"""A batch: the results of some tasks on their way into one parcel."""

from typing import Final

from qallow_agent.jobs.manifest import Layout
from qallow_agent.jobs.parcels import ResultHead, TaskHead
from qallow_agent.runtime.multipart import Sendable
from qallow_agent.runtime.workshop import Done

_MOST_RESULTS: Final = 1_000
_MOST_FRAMES: Final = 16_000
_MOST_BYTES: Final = 1 << 20
"""A reply of about a megabyte lets both ends work at once (one of 64 is three times slower)."""


class Batch:
    """Results that leave together."""

    __slots__ = ("_plan", "apart", "own", "results", "size_bytes", "small")

    def __init__(self) -> None:
        self.results: list[ResultHead] = []
        self.small: list[bytes] = []
        self.own: list[memoryview] = []
        self.apart: list[tuple[bytes, memoryview]] = []
        self.size_bytes = 0
        self._plan: Layout | None = None

    def add(self, task: TaskHead, done: Done) -> None:
        """Add what came of a task."""
        plan = done.plan
        heads = None if plan is self._plan else plan.heads
        self._plan = plan
        self.results.append(ResultHead(task.number, task.attempt, done.seconds, heads, done.fault))
        if done.small:
            self.small.append(done.small)
            self.size_bytes += len(done.small)
        if done.own or done.apart:
            self.own += done.own
            self.apart += done.apart
            self.size_bytes += sum(map(len, done.own)) + sum(len(data) for _, data in done.apart)

    def full(self) -> bool:
        """Return whether it should leave now."""
        return (
            self.size_bytes >= _MOST_BYTES
            or len(self.results) >= _MOST_RESULTS
            or len(self.own) >= _MOST_FRAMES
        )

    def frames(self) -> list[Sendable]:
        """Return the raw frames of the parcel."""
        if not self.small:
            return [*self.own]
        small = self.small[0] if len(self.small) == 1 else b"".join(self.small)
        return [small, *self.own]
