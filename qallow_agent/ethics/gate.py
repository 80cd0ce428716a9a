"""The gate: from scores to verdicts, with a memory that keeps it from flapping."""

import enum
from dataclasses import dataclass

import msgspec

from qallow_agent.base.units import Seconds
from qallow_agent.ethics.policy import DEFAULT_THRESHOLD
from qallow_agent.ethics.score import FULL, Score
from qallow_agent.ethics.signals import CEILINGS, SIGNALS

REOPEN_MARGIN = 30
REOPEN_HELD_S: Seconds = 5.0
DEFER_DEPTH = 200
REFUSE_DEPTH = 500


class Admission(enum.IntEnum):
    """What becomes of new work."""

    ADMIT = 0
    DEFER = 1
    REFUSE = 2


class Running(enum.IntEnum):
    """What becomes of running work."""

    NORMAL = 0
    THROTTLE = 1
    MOVE = 2
    STOP = 3


class Verdict(msgspec.Struct, frozen=True):
    """What the gate says about a place.

    Args:
        admission: What becomes of new work.
        running: What becomes of running work.
        needed: Thousandths of E from which new work is admitted now: the threshold, and after a
            close more.
        wait_s: Seconds until the gate opens if the score stays; None when it would not open.
        stop_s: Within how many seconds running work stops; None unless ``running`` is STOP.
    """

    admission: Admission
    running: Running
    needed: int
    wait_s: Seconds | None = None
    stop_s: Seconds | None = None


@dataclass(slots=True)
class _Place:
    """What is remembered of a place: whether it is closed, and since when it has held well."""

    closed: bool = False
    held_since_s: Seconds | None = None


class Gate:
    """Judges places by their scores; a place that was closed opens only after it held well.

    From the threshold on work is admitted; up to 200 thousandths below it is deferred; up to 500
    below it is refused, and running work throttled; below that running work moves. A place whose
    score fell below the threshold opens again at 30 above it, held for 5 seconds; where what
    cannot be measured keeps the score from ever rising that far, at the highest it can.

    Args:
        threshold: Thousandths of E from which work is admitted; set again with a new policy.
    """

    def __init__(self, threshold: int = DEFAULT_THRESHOLD) -> None:
        self.threshold = threshold
        self._places: dict[str, _Place] = {}

    def judge(self, place: str, score: Score, now_s: Seconds) -> Verdict:
        """Return the verdict on a place, and remember its score; call this about once a second."""
        memory = self._places.setdefault(place, _Place())
        if score.stops or score.e < self.threshold:
            memory.closed, memory.held_since_s = True, None
        elif memory.closed:
            self._hold(memory, score, now_s)
        return self._verdict(memory, score, now_s)

    def look(self, place: str, score: Score, now_s: Seconds) -> Verdict:
        """Return the verdict on one job's score at a place, and remember nothing of it.

        So a job whose data may not be here does not close the place to others.
        """
        return self._verdict(self._places.get(place, _Place()), score, now_s)

    def forget(self, place: str) -> None:
        """Drop what is remembered of a place that is gone."""
        self._places.pop(place, None)

    def reopening(self, score: Score) -> int:
        """Return the thousandths of E that open a closed place.

        A node that cannot measure two of the three reaches the threshold but never 30 above it.
        """
        return max(self.threshold, min(self.threshold + REOPEN_MARGIN, attainable(score)))

    def _hold(self, memory: _Place, score: Score, now_s: Seconds) -> None:
        if score.e < self.reopening(score):
            memory.held_since_s = None
        elif memory.held_since_s is None:
            memory.held_since_s = now_s
        elif now_s - memory.held_since_s >= REOPEN_HELD_S:
            memory.closed, memory.held_since_s = False, None

    def _verdict(self, memory: _Place, score: Score, now_s: Seconds) -> Verdict:
        needed = self.reopening(score) if memory.closed else self.threshold
        if score.stops:
            within_s = min(SIGNALS[each].stop_s for each in score.stops)
            return Verdict(Admission.REFUSE, Running.STOP, needed, stop_s=within_s)
        if score.e < self.threshold - REFUSE_DEPTH:
            return Verdict(Admission.REFUSE, Running.MOVE, needed)
        if score.e < self.threshold - DEFER_DEPTH:
            return Verdict(Admission.REFUSE, Running.THROTTLE, needed)
        if score.e < self.threshold:
            return Verdict(Admission.DEFER, Running.NORMAL, needed)
        if not memory.closed:
            return Verdict(Admission.ADMIT, Running.NORMAL, needed, wait_s=0.0)
        if memory.held_since_s is None:
            wait_s = REOPEN_HELD_S if score.e >= needed else None
        else:
            wait_s = max(0.0, memory.held_since_s + REOPEN_HELD_S - now_s)
        return Verdict(Admission.DEFER, Running.NORMAL, needed, wait_s)


def attainable(score: Score) -> int:
    """Return the highest E that what is measured here allows: the sum of the three ceilings."""
    ceilings = (score.mark(name) for name in CEILINGS.values())
    return sum(FULL if each is None or each.thousandths is None else each.thousandths
               for each in ceilings)  # fmt: skip
