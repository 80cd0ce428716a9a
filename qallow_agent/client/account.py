"""The account of a job: how much is done, how many runners it could use, how long it has waited."""

from collections.abc import Callable
from typing import Final

from qallow_agent.base.errors import NoDevice
from qallow_agent.base.ids import JobId
from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.client.arguments import Arguments
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.team import Team
from qallow_agent.jobs.messages import JobProgress, JobState, LeaseStarved

MOST_SLOTS: Final = 256
_PLACES_S: Final = 1.0
"""How often a desk is told that devices are missing."""

PROGRESS_S: Final = 0.25
_SIGN_OF_LIFE_S: Final = 10.0
"""Far below the silence after which a desk takes the leases of a submitter back."""


class Account:
    """Counts a job's evaluations and says what the desk should know.

    Args:
        team: Does them.
        guess_s: Seconds of one, as the kernel declares it.
        slots: Runners that were asked for at first.
        take: Takes note of what an evaluation is given.
    """

    def __init__(
        self, team: Team, guess_s: Seconds, slots: int, take: Callable[[Arguments], None]
    ) -> None:
        self.added = 0
        self.cancelled = 0
        self.slots = slots
        """Runners the desk was last asked for."""
        self._team = team
        self._take = take
        self._guess_s = guess_s
        self._told: JobProgress | None = None
        self._told_s: Seconds = 0.0
        self._places_s: Seconds = 0.0

    def add(self, future: JobFuture) -> None:
        """Take in one evaluation."""
        given = future.arguments
        self._take(given)
        size = given.input_bytes if given.heads else 0
        self.added += 1
        future.piece = self._team.dispatcher.add(
            future, input_bytes=size, deadline_s=future.deadline_s
        )

    def add_sweep(self, points: int, point_bytes: int) -> None:
        """Take in a sweep."""
        self.added += points
        self._team.dispatcher.add_sweep(points, point_bytes=point_bytes)

    def drop(self, future: JobFuture, now: Seconds) -> bool:
        """Give up an evaluation that was cancelled; return whether a runner is still at it."""
        piece = future.piece
        if piece is None or not self._team.drop(piece, now):
            return False
        self.cancelled += 1
        return piece.flying > 0

    def progress(self, job: JobId) -> JobProgress:
        """Return how far it is."""
        dispatcher = self._team.dispatcher
        tally = dispatcher.tally
        share, links = dict(dispatcher.share), dispatcher.links()
        return JobProgress(job, tally.done, tally.failed, tally.rerun, share, links)

    def news(self, job: JobId, now: Seconds) -> JobProgress | None:
        """Return how far it is when that should be told: a few times a second, if it moves."""
        if now - self._told_s < PROGRESS_S:
            return None
        progress = self.progress(job)
        if progress == self._told and now - self._told_s < _SIGN_OF_LIFE_S:
            return None
        self._told, self._told_s = progress, now
        return progress

    def more_slots(self, now: Seconds) -> int:
        """Return how many runners to ask for; 0 to leave it.

        Fewer are not given back one by one: what little is left then is over soon.
        """
        dispatcher = self._team.dispatcher
        if dispatcher.idle:
            return 0
        missing = dispatcher.replicas.missing
        if missing and now >= self._places_s:
            # Runners on the devices there are do not help: each must be on another one.
            self._places_s = now + _PLACES_S
            self.slots = max(self.slots, self._team.workers + missing)
            return self.slots
        left = self.added - self.cancelled - dispatcher.tally.done - dispatcher.tally.failed
        wanted = self._team.useful_slots(left, self._guess_s, MOST_SLOTS, now)
        if wanted <= self.slots:
            return 0
        self.slots = wanted
        return wanted

    def verdict(self) -> tuple[JobState, str]:
        """Return how a job ends of which everything has its outcome, and why."""
        tally = self._team.dispatcher.tally
        if tally.failed:
            what = f"{tally.failed} of {self.added} evaluations failed; the first"
            return JobState.FAILED, f"{what}: {self._team.delivery.first_error}"
        if self.cancelled and not tally.done:
            return JobState.CANCELLED, "every evaluation was cancelled"
        return JobState.SUCCEEDED, ""


class Hunger:
    """How long a job has had work and no runner.

    Args:
        limit_s: What the desk allows; we allow a little more, in case it forgets.
        grace_s: How much more.
    """

    def __init__(self, limit_s: Seconds, grace_s: Seconds) -> None:
        self._limit_s = limit_s
        self._grace_s = grace_s
        self._since_s: Seconds | None = None
        self.reason: LeaseStarved | None = None
        """What the desk said last of why there is none."""

    def note(self, now: Seconds, *, hungry: bool) -> None:
        """Take in whether it is so now."""
        if not hungry:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now

    def lasted_s(self, now: Seconds) -> Seconds:
        """Return for how long it has been so."""
        return 0.0 if self._since_s is None else now - self._since_s

    def too_long(self, now: Seconds) -> NoDevice | None:
        """Return the error once it has been so for too long."""
        if self.lasted_s(now) <= self._limit_s + self._grace_s:
            return None
        why = f"no runner within {show_seconds(self._limit_s)}"
        if self.reason is None:
            return NoDevice(why, retryable=True)
        return NoDevice(f"{why}: {self.reason.reason}", hint=self.reason.hint, retryable=True)
