"""Lateness: how late this process is woken, seen at the waits that its loop makes anyway."""

from collections import deque
from math import ceil

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds

SOURCE = "the loop's own waits"
WINDOW_S: Seconds = 30.0
"""Old enough waits say nothing of now; 30 s hold 30 of the loop's waits on a box without peers."""
LEAST = 10
"""Fewer waits are too few to speak of a 99th percentile."""
MOST = 1_000
"""A busy mesh wakes the loop some thirty times a second: the newest of them do."""


class Lateness:
    """Remembers by how much timed waits overran, and tells their 99th percentile.

    A timer of its own would wake an idle box fifty times a second; the loop's timed waits end a
    few times a second without anybody's help, and are late for the same reason.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[Seconds, Seconds]] = deque(maxlen=MOST)

    def note(self, now_s: Seconds, late_s: Seconds) -> None:
        """Take in that a wait which nothing cut short ended ``late_s`` after its time."""
        self._seen.append((now_s, max(0.0, late_s)))

    def read(self, now_s: Seconds) -> Reading:
        """Return the 99th percentile of the last half minute, in seconds."""
        seen = self._seen
        while seen and now_s - seen[0][0] > WINDOW_S:
            seen.popleft()
        if len(seen) < LEAST:
            why = f"{len(seen)} waits ended by themselves so far, {LEAST} are needed"
            return unknown("seconds", SOURCE, why)
        late = sorted(late_s for _, late_s in seen)
        return Reading(late[ceil(0.99 * len(late)) - 1], "seconds", SOURCE)
