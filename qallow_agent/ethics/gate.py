"""The gate: from scores to verdicts, with a memory that keeps it from flapping."""

import enum

import msgspec

from qallow_agent.base.units import Seconds
from qallow_agent.ethics.score import Score

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


class Gate:
    """Judges places by their scores; a place that was closed opens only after it held well.

    Args:
        threshold: Thousandths of E from which work is admitted; set again with a new policy.
    """

    def __init__(self, threshold: int = 2900) -> None:
        self.threshold = threshold

    def judge(self, place: str, score: Score, now_s: Seconds) -> Verdict:
        """Return the verdict on a place, and remember its score; call this about once a second."""
        raise NotImplementedError

    def look(self, place: str, score: Score, now_s: Seconds) -> Verdict:
        """Return the verdict on one job's score at a place, and remember nothing of it.

        So a job whose data may not be here does not close the place to others.
        """
        raise NotImplementedError

    def forget(self, place: str) -> None:
        """Drop what is remembered of a place that is gone."""
        raise NotImplementedError
