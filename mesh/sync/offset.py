"""Offsets with honest bounds: what four timestamps prove, and nothing more.

A pulse leaves here at t1, arrives there at t2; the echo leaves there at t3, arrives here at t4.
Nothing arrives before it left, so the peer's clock minus ours lies in [t3 - t4, t2 - t1], however
unequal the two ways are and however late anybody stamped an arrival or early a departure. All
samples together, each widened by how far the clocks may have drifted since, intersect to one
interval; its middle is the estimate by one-way minima, its half width the bound.

Source: RFC 5905 section 8 (the four timestamps); Marzullo and Owicki, "Maintaining the Time in a
Distributed System" (1983), for intervals in place of point estimates.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from qallow_agent.base.units import Seconds

RESOLUTION_S = 1e-7
"""Added to every bound: clocks tick and doubles round in steps of at most this."""
RTT_WINDOW = 32
"""Round trips remembered for the shown minimum: about three seconds of pulses."""
MAX_STAMP_NS = 2**63
"""A stamp beyond the year 2262 is no clock's."""
_BISECTIONS = 48
"""Halvings from the widest gap down to its 2^-48 part: an hour to a few picoseconds."""


class Interval(NamedTuple):
    """A closed interval of clock offsets in seconds."""

    low_s: float
    high_s: float

    def moved(self, by_s: float) -> "Interval":
        """Return the interval with both ends moved the same way."""
        return Interval(self.low_s + by_s, self.high_s + by_s)

    @property
    def middle_s(self) -> float:
        """The point farthest from both ends."""
        return (self.low_s + self.high_s) / 2

    @property
    def half_s(self) -> float:
        """Half of the width: the bound of ``middle_s``."""
        return (self.high_s - self.low_s) / 2

    def widened(self, by_s: float) -> "Interval":
        """Return the interval with both ends moved out."""
        return Interval(self.low_s - by_s, self.high_s + by_s)

    def meets(self, other: "Interval") -> bool:
        """Return whether the two have a point in common."""
        return self.low_s <= other.high_s and other.low_s <= self.high_s


class Verdict(Enum):
    """What one exchange of stamps was worth."""

    TAKEN = "taken"
    IMPOSSIBLE = "impossible"
    """The stamps contradict each other; nothing was learnt."""
    STEPPED = "stepped"
    """It contradicts all before: a clock was stepped, so only this exchange counts from here."""


class PeerClock:
    """What is known of one peer's clock relative to ours.

    Args:
        drift: How fast the two may run apart, as a ratio (500 ppm is 0.0005).
    """

    def __init__(self, drift: float) -> None:
        self._drift = drift
        self._interval: Interval | None = None
        self._at_s: Seconds = 0.0
        self._rtts: deque[float] = deque(maxlen=RTT_WINDOW)

    def exchange(self, t1_ns: int, t2_ns: int, t3_ns: int, t4_ns: int, mono_s: Seconds) -> Verdict:
        """Take in one pulse and its echo.

        Args:
            t1_ns: Our clock at or before the pulse's departure.
            t2_ns: The peer's at or after its arrival.
            t3_ns: The peer's at or before the echo's departure.
            t4_ns: Our clock at or after the echo's arrival.
            mono_s: Our monotonic clock then.
        """
        forward_s = (t2_ns - t1_ns) / 1e9
        back_s = (t3_ns - t4_ns) / 1e9
        # The stamps speak of their own moments; by t4 the clocks may have drifted on.
        flight_s = max(0, t4_ns - t1_ns) / 1e9
        sample = Interval(back_s, forward_s).widened(RESOLUTION_S + self._drift * flight_s)
        if not 0 <= t2_ns <= t3_ns < MAX_STAMP_NS or sample.low_s > sample.high_s:
            return Verdict.IMPOSSIBLE
        self._rtts.append(max(0.0, forward_s - back_s))
        before = self.at(mono_s)
        self._at_s = max(self._at_s, mono_s)
        if before is not None and before.meets(sample):
            self._interval = Interval(
                max(before.low_s, sample.low_s), min(before.high_s, sample.high_s)
            )
            return Verdict.TAKEN
        self._interval = sample
        return Verdict.TAKEN if before is None else Verdict.STEPPED

    def at(self, mono_s: Seconds) -> Interval | None:
        """Return the interval of peer minus our clock as of now: it widens while nothing comes."""
        if self._interval is None:
            return None
        return self._interval.widened(self._drift * max(0.0, mono_s - self._at_s))

    @property
    def rtt_s(self) -> Seconds:
        """The shortest of the recent round trips; 0 before the first."""
        return min(self._rtts, default=0.0)

    def forget(self) -> None:
        """Drop what was learnt: our own clock was stepped."""
        self._interval = None
        self._rtts.clear()


class Consensus(NamedTuple):
    """Where the clocks agree: the hull, and how much every interval had to be widened for it."""

    hull: Interval
    spread_s: float


def agree(intervals: Sequence[Interval], faulty: int | None = None) -> Consensus | None:
    """Return the hull of all points that at least n - f intervals cover.

    Args:
        intervals: One a clock.
        faulty: How many of them may lie, f; (n - 1) // 3 when not given.

    Returns:
        None without intervals. Up to f liars cannot move the hull off the truth, since the truth
        is covered by the n - f others. Clocks that are honestly apart cover no common point; then
        all intervals are widened alike by the least amount that gives them one, and that amount
        is reported as their spread.

    Source: Marzullo's intersection, with the hull in place of the best overlap: with one liar the
    best overlap can miss the truth, the hull cannot.
    """
    if not intervals:
        return None
    needed = len(intervals) - ((len(intervals) - 1) // 3 if faulty is None else faulty)
    if (hull := _hull(intervals, needed)) is not None:
        return Consensus(hull, 0.0)
    short_s = 0.0
    enough_s = max(i.high_s for i in intervals) - min(i.low_s for i in intervals)
    for _ in range(_BISECTIONS):
        middle_s = (short_s + enough_s) / 2
        if _hull([i.widened(middle_s) for i in intervals], needed) is None:
            short_s = middle_s
        else:
            enough_s = middle_s
    hull = _hull([i.widened(enough_s) for i in intervals], needed)
    return None if hull is None else Consensus(hull, enough_s)


def _hull(intervals: Sequence[Interval], needed: int) -> Interval | None:
    """Return the smallest interval around every point covered ``needed`` times."""
    # At equal offsets openings sort before closings, since the intervals are closed.
    edges = sorted(
        [(interval.low_s, 0) for interval in intervals]
        + [(interval.high_s, 1) for interval in intervals]
    )
    covered, low_s, high_s = 0, None, None
    for offset_s, closes in edges:
        if not closes:
            covered += 1
            if covered >= needed and low_s is None:
                low_s = offset_s
        else:
            if covered >= needed:
                high_s = offset_s
            covered -= 1
    return None if low_s is None or high_s is None else Interval(low_s, high_s)
