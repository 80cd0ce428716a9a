"""A virtual client: one job, submitted over a virtual control socket.

It submits one sweep, hands the leases it is granted to its effort, says how far it is, and ends
the job when every point has its outcome.
"""

from collections.abc import Callable
from functools import partial
from random import Random

from qallow_agent.base.errors import InvariantBroken, revive
from qallow_agent.base.ids import JobId, LeaseId, Sender
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.message import Failure, Message
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.local import ClientGone
from qallow_agent.jobs.messages import (
    JobAccepted,
    JobCancel,
    JobEnded,
    JobProgress,
    JobState,
    JobStopped,
    LeaseBroken,
    LeaseGrant,
    LeaseLost,
    LeaseStarved,
    MoreSlots,
    OpenSession,
    SubmitJob,
)
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.opinions import AuditDone
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.testing.box import Box
from qallow_agent.testing.effort import Effort, Order
from qallow_agent.testing.network import Network
from qallow_agent.testing.premises import RELEASE
from qallow_agent.testing.timeline import Process

PROGRESS_S: Seconds = 1.0
_SOCKET_S: Seconds = 0.00005
"""A message over a Unix socket."""
_KEY_BYTES = 32
_NEEDS_MORE = (LeaseEnd.IDLE, LeaseEnd.SILENT)
"""Ends after which the desk asks for no other lease by itself."""


class VirtualClient:
    """One client process with one job.

    Args:
        box: On whose machine it runs, and whose agent owns its job.
        network: The wires to runners.
        order: What it submits.
        rng: Entropy for its key.
        news: Told, in words, what becomes of it.
        settings: The dispatcher's.
    """

    def __init__(
        self,
        box: Box,
        network: Network,
        order: Order,
        rng: Random,
        news: Callable[[str], None],
        settings: DispatchSettings,
    ) -> None:
        self.box = box
        self.order = order
        self.job: JobId | None = None
        self.state: JobState | None = None
        """The job's end; None while it runs."""
        self.error = ""
        self.process = Process(network.timeline)
        self._timeline = network.timeline
        self._news = news
        self._key = CurveKey(rng.randbytes(_KEY_BYTES)).public
        self.effort = Effort(
            order,
            settings,
            network=network,
            host=box.address,
            process=self.process,
            key=self._key,
            broken=self._broken,
            finished=self._finished,
        )
        self._prefix = ""
        self._requests = 0
        self._ops = 0.0

    def start(self) -> None:
        """Connect to the agent and submit."""
        self._prefix = self.box.connect(self._from_agent)
        self.box.running().process.at_death(partial(self.process.run, self._agent_gone))
        self._say(OpenSession(self._key, RELEASE))
        order = self.order
        self._say(SubmitJob(order.kernel, order.points, {}, order.slots, order.options))

    def cancel(self) -> None:
        """Ask for the job's end."""
        if self.job is not None:
            self._say(JobCancel(self.job))

    def vanish(self) -> None:
        """Die without a word; the agent sees its connection close."""
        self.process.die()
        self.box.disconnect(self._prefix)
        gone = partial(self.box.tell, f"{self._prefix}/0", ClientGone())
        self._timeline.after(_SOCKET_S, gone)

    @property
    def over(self) -> bool:
        """Whether it waits for nothing any more."""
        return self.state is not None or not self.process.alive

    def check(self) -> None:
        """Raise InvariantBroken when a point of a job that is over has no outcome."""
        self.effort.dispatcher.check()
        known, points = len(self.effort.outcomes), self.order.points
        if self.state is JobState.SUCCEEDED and self.effort.done != points:
            raise InvariantBroken(f"{self.job} succeeded with {self.effort.done} of {points}")
        if self.state is not None and self.job is not None and known != points:
            raise InvariantBroken(f"{self.job} is over with {known} of {points} outcomes")

    # --- the agent --------------------------------------------------------------------------------

    def _say(self, message: Message) -> None:
        self._requests += 1
        sender = f"{self._prefix}/{self._requests}"
        self.process.after(_SOCKET_S, partial(self.box.ask, sender, message))

    def _from_agent(self, _: Sender, message: Message) -> None:
        self.process.after(_SOCKET_S, partial(self._hear, message))

    def _hear(self, message: Message) -> None:
        match message:
            case JobAccepted() if self.job is None:
                self._accepted(message)
            case Failure() if self.job is None:
                self.error = str(revive(message.code, message.message))
                self.state = JobState.FAILED
                self._news(f"was refused: {message.message}")
            case LeaseGrant(lease=lease, rate=rate, shadow=shadow):
                self.effort.grant(lease, self._ops / rate if rate else None, shadow=shadow)
            case LeaseLost():
                self._lost(message)
            case JobStopped() if not self.over:
                self.effort.stop(message.code, message.reason)
                self._end(message.state, message.reason)
            case LeaseStarved(reason=reason):
                self._news(f"waits: {reason}")
            case _:
                pass

    def _accepted(self, message: JobAccepted) -> None:
        self.job = message.job
        self._ops = message.ops
        sampler = self.effort.dispatcher.arbiter.sampler
        if sampler is not None and self.order.audits:
            sampler.set(message.audit_share, message.audit_task_s)
        self._news("was accepted")
        self.process.after(PROGRESS_S, self._beat)
        self.effort.begin()

    def _beat(self) -> None:
        if not self.over and self.job is not None:
            self._say(self._progress(self.job))
            self._tell_comparisons(self.job)
            missing = self.effort.dispatcher.replicas.missing
            if missing:
                places = self.effort.dispatcher.replicas.places_wanted
                self._say(MoreSlots(self.job, self.order.slots + missing, places))
            self.process.after(PROGRESS_S, self._beat)

    def _tell_comparisons(self, job: JobId) -> None:
        comparisons = tuple(self.effort.comparisons)
        self.effort.comparisons.clear()
        if comparisons:
            self._say(AuditDone(job, comparisons))

    def _progress(self, job: JobId) -> JobProgress:
        tally = self.effort.dispatcher.tally
        share, links = dict(self.effort.dispatcher.share), self.effort.dispatcher.links()
        return JobProgress(job, tally.done, tally.failed, tally.rerun, share, links)

    def _broken(self, lease: LeaseId, end: LeaseEnd, reason: str) -> None:
        """Tell the desk, which tells us that the lease is lost and looks for another one."""
        if self.job is None or self.over:
            return
        self._say(LeaseBroken(self.job, lease, reason))
        if end is LeaseEnd.UNKNOWN:
            self._lost(LeaseLost(lease, end, reason))

    def _lost(self, lost: LeaseLost) -> None:
        self.effort.lose(lost)
        slots = self.effort.useful_slots()
        if slots and self.job is not None and lost.code in _NEEDS_MORE:
            self._say(MoreSlots(self.job, slots))

    def _agent_gone(self) -> None:
        if not self.over:
            self.effort.stop("agent-unreachable", "the agent is gone")
            self._end(JobState.FAILED, "its agent is gone")

    def _finished(self) -> None:
        if self.job is None:
            raise InvariantBroken("a job that was not accepted is done")
        failed = self.effort.failed
        state = JobState.FAILED if failed else JobState.SUCCEEDED
        error = f"{failed} points failed" if failed else ""
        self._tell_comparisons(self.job)
        self._say(JobEnded(self.job, state, self._progress(self.job), error))
        self.effort.close()
        self._end(state, error)

    def _end(self, state: JobState, error: str) -> None:
        self.state, self.error = state, error
        text = f"{state.value}: {self.effort.done} done, {self.effort.failed} failed"
        self._news(f"{text} ({error})" if error else text)
        self.check()
