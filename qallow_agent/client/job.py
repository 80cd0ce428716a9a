"""A job as its submitter sees it: the conversation with the desk, from submission to the end.

Every state is left by itself at a known time, whatever the desk does or fails to do.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from qallow_agent.base.errors import (
    AgentUnreachable,
    DeadlineExceeded,
    JobCancelled,
    QallowError,
    revive,
)
from qallow_agent.base.ids import JobId
from qallow_agent.base.machine import soonest
from qallow_agent.base.message import Failure, Message
from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.client.account import Account, Hunger
from qallow_agent.client.futures import copy_of
from qallow_agent.client.keeper import Keeper, Recall, revived
from qallow_agent.client.payload import Payload
from qallow_agent.client.phase import Phase
from qallow_agent.client.results import Block
from qallow_agent.client.switch import Switch
from qallow_agent.client.team import Team
from qallow_agent.client.wires import Exchange
from qallow_agent.ethics.spelling import spelled
from qallow_agent.jobs.messages import (
    Fetch,
    JobAccepted,
    JobEnded,
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

_log = logging.getLogger(__name__)

IDLE_S: Final = 1.0
"""A pool of single evaluations without work for this long gives its runners back."""

_LOOK_S: Final = 0.1
_PATIENCE_S: Final = 0.05
"""How long a desk with free runners may take to grant one."""

_GRACE_S: Final = 5.0
"""How much later than the desk we give a job up ourselves."""

_SLOTS_AGAIN = (LeaseEnd.IDLE, LeaseEnd.SILENT)
"""After these the desk looks for no replacement until it is asked."""

_STATES: dict[type[QallowError], JobState] = {
    JobCancelled: JobState.CANCELLED,
    DeadlineExceeded: JobState.EXPIRED,
}
"""How a job ends that we gave up; others have failed."""


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
        desk: Switch,
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
        self._keeper = Keeper() if order.options.retain else None
        self._team = Team(
            exchange,
            payload,
            settings=DispatchSettings(),
            retries=order.options.retries,
            keeper=self._keeper,
            report=lambda lease, why: desk.tell(LeaseBroken(self.id, lease, why)),
            touch=lambda: touch(self),
        )
        self.account = Account(self._team, guess_s, order.slots, payload.take)
        self._hunger = Hunger(order.options.start_s, _GRACE_S)
        self._channel = 0
        self._kernel_hash = ""
        self._ops = 0.0
        """Operations of one evaluation, as the agent declared them."""
        self._given_up: QallowError | None = None
        self._until_s: Seconds | None = None
        self._ends_s: Seconds | None = None
        self._idle_s: Seconds | None = None
        self._look_s: Seconds = 0.0
        self._watching = False
        """Another client submits it: we wait for its end."""
        self._parts = bytearray()

    # --- work ------------------------------------------------------------------------------------

    @property
    def accepting(self) -> bool:
        """Whether more work may be added."""
        if self.retiring or self._given_up is not None:
            return False
        return self.phase is Phase.OPEN or self.phase is Phase.ASKED

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
            self._idle_s = None
            return
        if self._idle_s is None:
            self._idle_s = now
        busy = any(wire.flights for wire in self._team.wires.values())  # with what was cancelled
        lasting = self.order.points == 0 and not self.retiring and not busy
        if not lasting or now - self._idle_s >= IDLE_S:
            self._end()

    def tick(self, now: Seconds) -> None:
        """Do what time demands."""
        if self._until_s is not None and self._until_s <= now:
            if self.phase is Phase.KEEPING:
                self._say_end(JobState.SUCCEEDED, "")
            else:
                self._fail(_silence(self.phase, self._desk.timeout_s))
            return
        if self.phase not in {Phase.ASKED, Phase.OPEN}:
            return
        self._team.tick(now)
        if self._ends_s is not None and self._ends_s <= now:
            limit = show_seconds(self.order.options.deadline_s)
            why = f"the job was not done within its deadline of {limit}"
            self.give_up(DeadlineExceeded(why, hint="raise the deadline or add devices"))
        elif self.phase is Phase.OPEN and now >= self._look_s:
            self._look_s = now + _LOOK_S
            self._look(now)

    def due(self) -> Seconds | None:
        """Return when ``tick`` and ``turn`` have something to do; None when the job is over."""
        if self.phase not in {Phase.ASKED, Phase.OPEN}:
            return self._until_s
        idle_s = None if self._idle_s is None else self._idle_s + IDLE_S
        look_s = self._look_s if self.phase is Phase.OPEN else None
        return soonest(self._until_s, self._ends_s, self._team.due(), idle_s, look_s)

    def hungry(self, now: Seconds) -> bool:
        """Return whether it has work and no runner, though the desk had a moment to find one."""
        return self.phase is Phase.OPEN and self._hunger.lasted_s(now) >= _PATIENCE_S

    def make_room(self) -> None:
        """End if it rests: another job waits for runners."""
        if self.phase is Phase.OPEN and self._team.dispatcher.idle:
            self._end()

    def give_up(self, error: QallowError) -> None:
        """Fail what has no outcome and tell the desk that the job is over."""
        if self.phase is Phase.OPEN and self._team.dispatcher.idle:
            self._end()
        elif self.phase in {Phase.ASKED, Phase.OPEN} and self._given_up is None:
            self._given_up = error
            self._team.stop(error)
            self._payload.end(copy_of(error))
            if self.phase is Phase.OPEN:  # before it is accepted there is no name to end it by
                self._say_end(_state_of(error), error.message)
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
            hint_s = self._ops / message.rate if message.rate > 0 else None
            self._team.grant(message.lease, now, hint_s)
        elif isinstance(message, LeaseLost) and self.phase is Phase.OPEN:
            self._team.lose(message, now)
            if message.code in _SLOTS_AGAIN:
                self.account.slots = len(self._team.wires)
        elif isinstance(message, LeaseStarved):
            self._hunger.reason = message
            if self._team.mismatch is not None and not self._team.wires:
                self.give_up(copy_of(self._team.mismatch))
        elif isinstance(message, JobAccepted) and self.phase is Phase.ASKED:
            self._accepted(message)
        elif isinstance(message, JobStopped):
            self._stopped(message)
        elif isinstance(message, Failure):
            self._fail(revived(message))
        self._touch(self)

    def _accepted(self, message: JobAccepted) -> None:
        self.id = message.job
        self.named.set()
        self.phase = Phase.OPEN
        self._until_s = None
        self._watching = message.known
        self._kernel_hash = message.kernel_hash
        self._ops = message.ops
        self.account.slots = message.slots or self.order.slots
        for warning in message.warnings:
            _log.warning("warning: %s", warning)
        if self._given_up is not None:
            self._say_end(_state_of(self._given_up), self._given_up.message)

    def _stopped(self, message: JobStopped) -> None:
        if self.phase is Phase.OPEN and message.state == JobState.SUCCEEDED:
            self.phase = Phase.FETCHING
            self._team.close()
            self._be_patient()
            self._desk.deafen(self._channel)
            self._channel = self._desk.post(Fetch(message.job))
            points = self.account.added if self._payload.sweeps else 0
            recall = Recall(points, self._be_patient, self._recalled)
            self._desk.listen(self._channel, recall.take)
        elif self.phase in {Phase.ASKED, Phase.OPEN}:
            error = revive(message.code or "job-failed", message.reason, hint=message.hint)
            error.document = spelled(message.document)
            self._fail(error)
        else:
            self._leave()

    def _recalled(self, found: Block | QallowError) -> None:
        if self.phase is not Phase.FETCHING:
            return
        if isinstance(found, QallowError):
            self._fail(found)
            return
        self._team.recall(found)
        self._payload.end(None)
        self._leave()

    # --- what we say -----------------------------------------------------------------------------

    def _look(self, now: Seconds) -> None:
        """Look at what changes slowly: runners wanted, progress, how long we have waited."""
        idle = self._team.dispatcher.idle
        hungry = not self._team.wires and not self._watching and not idle
        self._hunger.note(now, hungry=hungry)
        starved = self._hunger.too_long(now)
        if starved is not None:
            self.give_up(starved)
            return
        news = self.account.news(self.id, now)
        if news is not None:
            self._payload.progress(news)
        if self._watching:
            return
        slots = self.account.more_slots(now)
        if slots:
            self._desk.tell(MoreSlots(self.id, slots))
        if news is not None:
            self._desk.tell(news)

    def _be_patient(self) -> None:
        """Give the desk the whole time limit for what it shall do next."""
        self._until_s = time.monotonic() + self._desk.timeout_s

    # --- ends ------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Everything has its outcome: leave the results, then say so."""
        state, error = self.account.verdict()
        self._payload.progress(self.account.progress(self.id))
        self._payload.end(None)
        if self._keeper is None or state != JobState.SUCCEEDED or self._watching:
            self._say_end(state, error)
            return
        self._team.close()
        self.phase = Phase.KEEPING
        self._be_patient()
        self._keeper.deposit(
            self.id, self._desk, self._be_patient, lambda: self._say_end(state, error)
        )

    def _say_end(self, state: JobState, error: str) -> None:
        if self.phase is Phase.OVER:
            return
        self._team.close()
        self.phase = Phase.ENDING
        self._be_patient()
        if self._watching:
            self._leave()
            return
        printed = self._payload.fingerprint(
            self.order.kernel, self._kernel_hash, self.account.added
        )
        ended = JobEnded(self.id, state, self.account.progress(self.id), error, printed)
        self._desk.post(ended, lambda _: self._leave())
        self._touch(self)

    def _fail(self, error: QallowError) -> None:
        self._team.stop(error)
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


def _state_of(error: QallowError) -> JobState:
    """Return how a job ends that we gave up."""
    return _STATES.get(type(error), JobState.FAILED)


def _silence(phase: Phase, limit_s: Seconds) -> AgentUnreachable:
    return AgentUnreachable(
        f"the agent did not answer within {show_seconds(limit_s)} (job {phase.value})",
        hint="it may be stopped or overloaded: see its log",
    )
