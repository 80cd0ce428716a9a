"""The story of a job: what was decided for it, why, and what came of it; bounded, for people."""

from collections import deque
from contextlib import suppress

import msgspec

from qallow_agent.base.errors import Malformed
from qallow_agent.base.hlc import HybridClock, Stamp
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.messages import JobStep
from qallow_agent.jobs.thinning import surplus

MOST_JUDGED = 32
"""Verdicts kept of one decision while its job lives; in the archive fewer are."""
_MOST_DECISIONS = 4
_MOST_PASSAGES = 32
_MOST_CHARACTERS = 300
_ARCHIVED_DECISIONS = 2
_ARCHIVED_JUDGED = 8
_ARCHIVED_PASSAGES = 16
_MOST_STEPS = 64
_ARCHIVED_STEPS = 32

KEPT, RESUMED, CORRUPT = "checkpoint", "resumed", "corrupt"
"""What a submitter tells of a run: a state was kept, it goes on from one, one was no good."""


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
        stamp: Hybrid time of the first of them.
    """

    at_s: float
    wanted: int
    judged: tuple[Judged, ...]
    more: int = 0
    reason: str = ""
    hint: str = ""
    times: int = 1
    stamp: Stamp = Stamp(0, 0)


class Passage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a job: ``what``, at which ``node-id/device``, and why.

    ``lease`` names the lease it happened to, ``stamp`` is its hybrid time.
    """

    at_s: float
    what: str
    where: str = ""
    why: str = ""
    lease: str = ""
    stamp: Stamp = Stamp(0, 0)


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a submitter told of a run: see :class:`~qallow_agent.jobs.messages.JobStep`."""

    what: str
    lease: str
    task: int
    attempt: int
    epoch: int
    tick: int
    digest: str = ""
    previous: str = ""
    size_bytes: int = 0
    why: str = ""
    stamp: Stamp = Stamp(0, 0)


class Story(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a job's decisions and of what came of them, oldest first."""

    decisions: tuple[Decided, ...] = ()
    passages: tuple[Passage, ...] = ()
    steps: tuple[Step, ...] = ()


class Chronicle:
    """Writes the story of a living job, and forgets its middle.

    Args:
        ahead_s: What to add to monotonic seconds to have wall time.
    """

    def __init__(self, ahead_s: Seconds) -> None:
        self._ahead_s = ahead_s
        self._decisions: list[Decided] = []
        self._passages: deque[Passage] = deque(maxlen=_MOST_PASSAGES)
        self._steps: list[Step] = []
        self._clock = HybridClock()

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
        stamp = self._stamp(now)
        decision = Decided(self.wall_s(now), wanted, judged, more, reason, hint, stamp=stamp)
        last = self._decisions[-1] if self._decisions else None
        if last is not None and _outcome(last) == _outcome(decision):
            self._decisions[-1] = msgspec.structs.replace(
                decision, times=last.times + 1, stamp=last.stamp
            )
            return
        self._decisions.append(decision)
        if len(self._decisions) > _MOST_DECISIONS:
            del self._decisions[1]

    def note(
        self, now: Seconds, what: str, where: str = "", why: str = "", lease: str = ""
    ) -> None:
        """Take in what happened; only the newest is kept."""
        stamp = self._stamp(now)
        self._passages.append(Passage(self.wall_s(now), what, where, short(why), lease, stamp))

    def step(self, now: Seconds, told: JobStep) -> None:
        """Take in what the submitter tells of a run; kept states are thinned out."""
        with suppress(Malformed):  # a stamp from far ahead moves no clock
            self._clock.observe(told.stamp, self._wall_ns(now))
        stamp = self._stamp(now)
        self._steps.append(
            Step(short(told.what), short(told.lease), told.task, told.attempt, told.epoch,
                 told.tick, short(told.digest), short(told.previous), told.size_bytes,
                 short(told.why), stamp)
        )  # fmt: skip
        self._steps = _thinned(self._steps, _MOST_STEPS)

    def story(self) -> Story:
        """Return what is known so far."""
        return Story(tuple(self._decisions), tuple(self._passages), tuple(self._steps))

    def _stamp(self, now: Seconds) -> Stamp:
        return self._clock.stamp(self._wall_ns(now))

    def _wall_ns(self, now: Seconds) -> int:
        return int(self.wall_s(now) * 1e9)


def _thinned(steps: list[Step], most: int) -> list[Step]:
    """Return the steps without some of the older states, and no more than ``most``."""
    if len(steps) <= most:
        return steps
    kept = [place for place, step in enumerate(steps) if step.what == KEPT]
    others = len(steps) - len(kept)
    gone = {kept[at] for at in surplus([steps[at].tick for at in kept], max(2, most - others))}
    return [step for place, step in enumerate(steps) if place not in gone][-most:]


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
    steps = _thinned(list(story.steps), _ARCHIVED_STEPS)
    return Story(decisions, story.passages[-_ARCHIVED_PASSAGES:], tuple(steps))


def _outcome(decision: Decided) -> tuple[object, ...]:
    chosen = tuple((each.label, each.slots) for each in decision.judged if each.slots)
    return decision.wanted, chosen, decision.reason
