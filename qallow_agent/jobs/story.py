"""The story of a job: what was decided for it, why, and what came of it; bounded, for people."""

from collections import deque

import msgspec

from qallow_agent.base.units import Seconds

MOST_JUDGED = 32
"""Verdicts kept of one decision while its job lives; in the archive fewer are."""
_MOST_DECISIONS = 4
_MOST_PASSAGES = 32
_MOST_CHARACTERS = 300
_ARCHIVED_DECISIONS = 2
_ARCHIVED_JUDGED = 8
_ARCHIVED_PASSAGES = 16


class Judged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What placement thought of one device.

    Args:
        label: ``node-name/device``.
        score: Estimated cost, lower is better; None when it was out.
        why: The arithmetic, or why it was out.
        slots: Runners that were asked of it.
        lasting: It was out for good.
        change: What would have it chosen.
    """

    label: str
    score: float | None
    why: str
    slots: int = 0
    lasting: bool = False
    change: str = ""


class Decided(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision.

    Args:
        at_s: Wall time, of the last when several in a row came to the same.
        wanted: Runners that were wanted.
        judged: The best and the chosen devices first.
        more: Devices that were judged too and are left out here.
        reason: Why nothing was chosen.
        hint: What would change that.
        times: How often in a row it was decided so.
    """

    at_s: float
    wanted: int
    judged: tuple[Judged, ...]
    more: int = 0
    reason: str = ""
    hint: str = ""
    times: int = 1


class Passage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a job: ``what``, at which ``node-id/device``, and why."""

    at_s: float
    what: str
    where: str = ""
    why: str = ""


class Story(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a job's decisions and of what came of them, oldest first."""

    decisions: tuple[Decided, ...] = ()
    passages: tuple[Passage, ...] = ()


class Chronicle:
    """Writes the story of a living job, and forgets its middle.

    Args:
        ahead_s: What to add to monotonic seconds to have wall time.
    """

    def __init__(self, ahead_s: Seconds) -> None:
        self._ahead_s = ahead_s
        self._decisions: list[Decided] = []
        self._passages: deque[Passage] = deque(maxlen=_MOST_PASSAGES)

    def wall_s(self, now: Seconds) -> Seconds:
        """Return the wall time of a monotonic second."""
        return now + self._ahead_s

    def decided(
        self,
        now: Seconds,
        wanted: int,
        judged: tuple[Judged, ...],
        *,
        more: int = 0,
        reason: str = "",
        hint: str = "",
    ) -> None:
        """Take in a decision; the first one is kept, and the last few."""
        decision = Decided(self.wall_s(now), wanted, judged, more, reason, hint)
        last = self._decisions[-1] if self._decisions else None
        if last is not None and _outcome(last) == _outcome(decision):
            self._decisions[-1] = msgspec.structs.replace(decision, times=last.times + 1)
            return
        self._decisions.append(decision)
        if len(self._decisions) > _MOST_DECISIONS:
            del self._decisions[1]

    def note(self, now: Seconds, what: str, where: str = "", why: str = "") -> None:
        """Take in what happened; only the newest is kept."""
        self._passages.append(Passage(self.wall_s(now), what, where, short(why)))

    def story(self) -> Story:
        """Return what is known so far."""
        return Story(tuple(self._decisions), tuple(self._passages))


def short(why: str) -> str:
    """Return a reason that a peer gave, as long as a person reads."""
    return why[:_MOST_CHARACTERS]


def abridged(story: Story) -> Story:
    """Return what is worth keeping of a job that is over."""
    decisions = tuple(
        msgspec.structs.replace(
            each,
            judged=each.judged[:_ARCHIVED_JUDGED],
            more=each.more + max(0, len(each.judged) - _ARCHIVED_JUDGED),
        )
        for each in story.decisions[-_ARCHIVED_DECISIONS:]
    )
    return Story(decisions, story.passages[-_ARCHIVED_PASSAGES:])


def _outcome(decision: Decided) -> tuple[object, ...]:
    chosen = tuple((each.label, each.slots) for each in decision.judged if each.slots)
    return decision.wanted, chosen, decision.reason
