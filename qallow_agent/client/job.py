"""A job as its submitter sees it: the conversation with the desk, from submission to the end.

Every state is left by itself at a known time, whatever the desk does or fails to do.
"""

import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from qallow_agent.base.errors import (
    AgentUnreachable,
    DeadlineExceeded,
    JobCancelled,
    NoDevice,
    QallowError,
    StorageCorrupt,
    revive,
)
from qallow_agent.base.ids import JobId, LeaseId
from qallow_agent.base.machine import soonest
from qallow_agent.base.message import Failure, Message
from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.client.futures import JobFuture, copy_of
from qallow_agent.client.keeper import Keeper
from qallow_agent.client.payload import Payload
from qallow_agent.client.team import Team
from qallow_agent.client.wires import Exchange
from qallow_agent.jobs.messages import (
    Deposit,
    Fetch,
    JobAccepted,
    JobEnded,
    JobProgress,
    JobState,
    JobStopped,
    LeaseBroken,
    LeaseGrant,
    LeaseLost,
    LeaseStarved,
    MoreSlots,
    SubmitJob,
)
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.settings import DispatchSettings

MOST_SLOTS: Final = 256
IDLE_S: Final = 1.0
"""A pool of single evaluations without work for this long gives its runners back."""

PROGRESS_S: Final = 0.25
_SIGN_OF_LIFE_S: Final = 10.0
"""Far below the silence after which a desk takes the leases of a submitter back."""

_SLOTS_S: Final = 0.1
_GRACE_S: Final = 5.0
"""How much later than the desk we give a job up ourselves."""

_SLOTS_AGAIN = (LeaseEnd.IDLE, LeaseEnd.SILENT)
"""After these the desk looks for no replacement until it is asked."""

_STATES = {JobCancelled: JobState.CANCELLED, DeadlineExceeded: JobState.EXPIRED}
"""How a job ends that we gave up; others have failed."""


class Desk(Protocol):
    """The connection to the agent, as a job needs it."""

    timeout_s: Seconds

    def post(self, message: Message, answer: Callable[[Message], None] | None = None) -> int:
        """Send a message; ``answer`` takes the first reply to it."""
        ...

    def listen(self, channel: int, reader: Callable[[Message], None]) -> None:
        """Give every message on a channel to a reader."""
        ...

    def deafen(self, channel: int) -> None:
        """Stop listening to a channel."""
        ...


class Phase(Enum):
    """Where the conversation is. Every phase but OPEN ends at ``until_s`` at the latest."""

    ASKED = "asked"
    OPEN = "open"
    KEEPING = "keeping"
    """Results are being deposited."""
    ENDING = "ending"
    FETCHING = "fetching"
    """Somebody else has computed it: the retained result is on its way."""
    OVER = "over"


class Job:
    """One job, owned by the thread that talks to the mesh; ``id`` and ``named`` are for others.

    Args:
        order: What is asked of the desk.
        payload: The work.
        desk: The agent.
        exchange: Connects to runners.
        guess_s: Seconds of one evaluation, as the kernel declares it.
        touch: Says that the job wants its turn.
    """

    def __init__(
        self,
        order: SubmitJob,
        payload: Payload,
        desk: Desk,
        exchange: Exchange,
        *,
        guess_s: Seconds,
        touch: Callable[["Job"], None],
    ) -> None:
        self.order = order
        self.id = JobId("")
        self.named = threading.Event()
        """Set once ``id`` is known, or never will be."""
        self.phase = Phase.ASKED
        self.retiring = False
        """No more work will be added."""
        self._payload = payload
        self._desk = desk
        self._touch = touch
        self._guess_s = guess_s
        self._keeper = Keeper() if order.options.retain else None
        self._team = Team(
            exchange,
            payload,
            settings=DispatchSettings(),
            retries=order.options.retries,
            keeper=self._keeper,
            report=self._report_broken,
            touch=lambda: touch(self),
        )
        self._added = 0
        self._cancelled = 0
        self._channel = 0
        self._given_up: QallowError | None = None
        self._until_s: Seconds | None = None
        self._ends_s: Seconds | None = None
        self._hungry_s: Seconds | None = None
        self._idle_s: Seconds | None = None
        self._watching = False
        self._starved: LeaseStarved | None = None
        self._slots = order.slots
        self._look_s: Seconds = 0.0
        self._told_s: Seconds = 0.0
        self._told: JobProgress | None = None
        self._parts = bytearray()

    # --- work ------------------------------------------------------------------------------------

    @property
    def accepting(self) -> bool:
        """Whether more work may be added."""
        open_ = self.phase in {Phase.ASKED, Phase.OPEN}
        return open_ and not self.retiring and self._given_up is None

    def add(self, future: JobFuture) -> None:
        """Take in one evaluation."""
        given = future.arguments
        size = given.input_bytes if given.heads else 0
        self._added += 1
        self._idle_s = None
        future.piece = self._team.dispatcher.add(
            future, input_bytes=size, deadline_s=future.deadline_s
        )

    def add_sweep(self, points: int, point_bytes: int) -> None:
        """Take in a sweep; the job ends with it."""
        self._added += points
        self.retiring = True
        self._team.dispatcher.add_sweep(points, point_bytes=point_bytes)

    def drop(self, future: JobFuture) -> None:
        """Give up one evaluation that was cancelled."""
        if future.piece is not None and self._team.dispatcher.cancel(future.piece):
            self._cancelled += 1
            self._touch(self)

    # --- life ------------------------------------------------------------------------------------

    def begin(self, now: Seconds) -> None:
        """Submit the job."""
        try:
            self._channel = self._desk.post(self.order)
        except QallowError as error:
            if isinstance(error, AgentUnreachable):
                raise
            self._fail(error)
            return
        self._desk.listen(self._channel, self._hear)
        self._until_s = now + self._desk.timeout_s
        limit_s = self.order.options.deadline_s
        if limit_s > 0:
            self._ends_s = now + limit_s + _GRACE_S

    def turn(self, now: Seconds) -> None:
        """Send out work, and end the job when there is none left."""
        if self.phase is not Phase.OPEN:
            return
        self._team.send(now)
        if not self._team.dispatcher.idle:
            return
        if self._idle_s is None:
            self._idle_s = now
        lasting = self.order.points == 0 and not self.retiring and not self._team.busy()
        if not lasting or now - self._idle_s >= IDLE_S:
            self._end()

    def tick(self, now: Seconds) -> None:
        """Do what time demands."""
        if self._until_s is not None and self._until_s <= now:
            self._overdue()
            return
        if self.phase not in {Phase.ASKED, Phase.OPEN}:
            return
        self._team.tick(now)
        if self._ends_s is not None and self._ends_s <= now:
            limit_s = self.order.options.deadline_s
            why = f"the job was not done within its deadline of {show_seconds(limit_s)}"
            self.give_up(DeadlineExceeded(why, hint="raise the deadline or add devices"))
        elif self.phase is Phase.OPEN:
            self._watch_hunger(now)
            self._ask_for_slots(now)
            self._tell_progress(now)

    def due(self) -> Seconds | None:
        """Return when ``tick`` and ``turn`` have something to do; None when the job is over."""
        if self.phase is Phase.OVER:
            return None
        if self.phase not in {Phase.ASKED, Phase.OPEN}:
            return self._until_s
        idle_s = None if self._idle_s is None else self._idle_s + IDLE_S
        look_s = self._look_s if self.phase is Phase.OPEN else None
        return soonest(self._until_s, self._ends_s, self._team.due(), idle_s, look_s)

    def give_up(self, error: QallowError) -> None:
        """Fail what has no outcome and tell the desk that the job is over."""
        if self.phase in {Phase.ASKED, Phase.OPEN} and self._given_up is None:
            self._given_up = error
            self._team.stop(error.code, error.message, error.hint)
            self._payload.end(error)
            if self.phase is Phase.OPEN:
                self._say_end(_STATES.get(type(error), JobState.FAILED), error.message)
            # Before it is accepted there is no name under which to end it.
        elif self.phase is Phase.FETCHING:
            self._fail(error)
        self._touch(self)

    def abort(self, error: QallowError) -> None:
        """Fail what has no outcome; the desk cannot be told."""
        if self.phase is not Phase.OVER:
            self._fail(error)

    # --- what the desk says ----------------------------------------------------------------------

    def _hear(self, message: Message) -> None:
        now = time.monotonic()
        if isinstance(message, LeaseGrant) and self.phase is Phase.OPEN:
            self._watching = False
            self._team.grant(message.lease, now)
        elif isinstance(message, LeaseLost) and self.phase is Phase.OPEN:
            self._team.lose(message, now)
            if message.code in _SLOTS_AGAIN:
                self._slots = len(self._team.wires)
        elif isinstance(message, LeaseStarved):
            self._starved = message
        elif isinstance(message, JobAccepted):
            self._accepted(message)
        elif isinstance(message, JobStopped):
            self._stopped(message, now)
        elif isinstance(message, Failure):
            error = revive(
                message.code, message.message, hint=message.hint, retryable=message.retryable
            )
            self._fail(error)
        self._touch(self)

    def _accepted(self, message: JobAccepted) -> None:
        if self.phase is not Phase.ASKED:
            return
        self.id = message.job
        self.named.set()
        self.phase = Phase.OPEN
        self._until_s = None
        self._watching = message.known
        if self._given_up is not None:
            error = self._given_up
            self._say_end(_STATES.get(type(error), JobState.FAILED), error.message)

    def _stopped(self, message: JobStopped, now: Seconds) -> None:
        if self.phase is Phase.OPEN and message.state == JobState.SUCCEEDED:
            self.phase = Phase.FETCHING
            self._team.close()
            self._until_s = now + self._desk.timeout_s
            self._desk.listen(self._desk.post(Fetch(message.job)), self._take_part)
        elif self.phase in {Phase.ASKED, Phase.OPEN}:
            code = message.code or "job-failed"
            self._fail(revive(code, message.reason, hint=message.hint))
        else:
            self._leave()

    def _take_part(self, message: Message) -> None:
        if self.phase is not Phase.FETCHING:
            return
        if isinstance(message, Failure):
            self._fail(revive(message.code, message.message, hint=message.hint))
        elif isinstance(message, Deposit):
            self._until_s = time.monotonic() + self._desk.timeout_s
            self._parts += message.data
            if message.last:
                self._recall()

    def _recall(self) -> None:
        from qallow_agent.client.arrays import block_of  # noqa: PLC0415 - brings NumPy

        try:
            self._team.recall(block_of(bytes(self._parts), self.order.points * self.retiring))
        except StorageCorrupt as error:
            self._fail(error)
            return
        self._payload.end(None)
        self._leave()

    # --- what we say -----------------------------------------------------------------------------

    def _ask_for_slots(self, now: Seconds) -> None:
        if now < self._look_s:
            return
        self._look_s = now + _SLOTS_S
        if self._team.dispatcher.idle or self._watching:
            return
        tally = self._team.dispatcher.tally
        left = self._added - self._cancelled - tally.done - tally.failed
        wanted = self._team.useful_slots(left, self._guess_s, MOST_SLOTS, now)
        # Fewer are not given back one by one: what little is left is over soon.
        if wanted > self._slots:
            self._slots = wanted
            self._desk.post(MoreSlots(self.id, wanted))

    def _tell_progress(self, now: Seconds) -> None:
        if now - self._told_s < PROGRESS_S:
            return
        progress = self._progress()
        if progress == self._told and now - self._told_s < _SIGN_OF_LIFE_S:
            return
        self._told, self._told_s = progress, now
        self._payload.progress(progress)
        if not self._watching:
            self._desk.post(progress)

    def _progress(self) -> JobProgress:
        dispatcher = self._team.dispatcher
        tally = dispatcher.tally
        return JobProgress(self.id, tally.done, tally.failed, tally.rerun, dict(dispatcher.share))

    def _report_broken(self, lease: LeaseId, reason: str) -> None:
        self._desk.post(LeaseBroken(self.id, lease, reason))

    def _watch_hunger(self, now: Seconds) -> None:
        """Give up when no runner comes for much longer than the desk should allow."""
        if self._team.wires or self._watching or self._team.dispatcher.idle:
            self._hungry_s = None
            return
        if self._hungry_s is None:
            self._hungry_s = now
        start_s = self.order.options.start_s
        if now - self._hungry_s > start_s + _GRACE_S:
            starved = self._starved
            why = f"no runner within {show_seconds(start_s)}"
            why += f": {starved.reason}" if starved else ""
            self.give_up(NoDevice(why, hint=starved.hint if starved else "", retryable=True))

    # --- ends ------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Everything has its outcome: leave the results, then say so."""
        tally = self._team.dispatcher.tally
        error = ""
        state = JobState.SUCCEEDED
        if tally.failed:
            state = JobState.FAILED
            first = self._team.first_error
            error = f"{tally.failed} of {self._added} evaluations failed; the first: {first}"
        elif self._cancelled and not tally.done:
            state, error = JobState.CANCELLED, "every evaluation was cancelled"
        self._payload.progress(self._progress())
        self._payload.end(None)
        if self._keeper is None or state != JobState.SUCCEEDED:
            self._say_end(state, error)
            return
        self._team.close()
        self.phase = Phase.KEEPING
        self._until_s = time.monotonic() + self._desk.timeout_s
        self._keeper.deposit(self.id, self, lambda: self._say_end(state, error))

    def post(self, message: Message, answer: Callable[[Message], None] | None = None) -> int:
        """Send a part of the result; each has the whole time limit."""
        self._until_s = time.monotonic() + self._desk.timeout_s
        return self._desk.post(message, answer)

    def _say_end(self, state: JobState, error: str) -> None:
        self._team.close()
        self.phase = Phase.ENDING
        self._until_s = time.monotonic() + self._desk.timeout_s
        if self._watching:
            self._leave()
            return
        ended = JobEnded(self.id, state, self._progress(), error)
        self._desk.post(ended, lambda _: self._leave())

    def _overdue(self) -> None:
        if self.phase is Phase.KEEPING:
            self._say_end(JobState.SUCCEEDED, "")
            return
        limit = show_seconds(self._desk.timeout_s)
        error = AgentUnreachable(
            f"the agent did not answer within {limit} ({self.phase.value})",
            hint="it may be stopped or overloaded: see its log",
        )
        self._fail(error)

    def _fail(self, error: QallowError) -> None:
        self._team.stop(error.code, error.message, error.hint)
        if self._given_up is None and self.phase in {Phase.ASKED, Phase.OPEN, Phase.FETCHING}:
            self._payload.end(copy_of(error))
        self._leave()

    def _leave(self) -> None:
        self._team.close()
        self._desk.deafen(self._channel)
        self.phase = Phase.OVER
        self._until_s = None
        self.named.set()
        self._touch(self)
