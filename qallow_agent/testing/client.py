"""A virtual client: the real dispatcher over a virtual control socket and virtual streams.

It submits one sweep, uses the leases it is granted, says how far it is, and counts the outcome of
every point: a point with two outcomes breaks the simulation at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from qallow_agent.base.errors import InvariantBroken, revive
from qallow_agent.base.ids import JobId, LeaseId, Sender
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.message import Failure, Message
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.local import ClientGone
from qallow_agent.jobs.messages import (
    JobAccepted,
    JobCancel,
    JobEnded,
    JobOptions,
    JobProgress,
    JobState,
    JobStopped,
    Lease,
    LeaseBroken,
    LeaseGrant,
    LeaseLost,
    LeaseStarved,
    MoreSlots,
    OpenSession,
    SubmitJob,
)
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.parcels import ResultParcel, TaskHead, TaskParcel
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Dispatch, Failed, Outcome
from qallow_agent.testing.box import Box
from qallow_agent.testing.lines import Fates, Lines
from qallow_agent.testing.network import Network
from qallow_agent.testing.premises import RELEASE
from qallow_agent.testing.timeline import Process

PROGRESS_S: Seconds = 1.0
_SOCKET_S: Seconds = 0.00005
"""A message over a Unix socket."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a client submits.

    Args:
        kernel: By name; its default parameters.
        points: How many evaluations.
        slots: Runners it could keep busy.
        options: The job's options.
        poison: Points that kill their runner.
        hang: Points that never end.
        faulty: Points that raise.
        sample: Parameters.
    """

    kernel: str = "harmonic"
    points: int = 100
    slots: int = 4
    options: JobOptions = field(default_factory=JobOptions)
    poison: tuple[int, ...] = ()
    hang: tuple[int, ...] = ()
    faulty: tuple[int, ...] = ()
    sample: tuple[tuple[str, float], ...] = ()


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
        self.outcomes: dict[int, str] = {}
        """Point -> "" or the code of its failure."""
        self.dispatcher = Dispatcher(settings, order.options.retries)
        self._network = network
        self._news = news
        self._key = CurveKey(rng.randbytes(32)).public
        self._lines = Lines(
            network,
            box.address,
            self.process,
            self._key,
            Fates(up=self._up, broken=self._broken, results=self._results),
        )
        self._prefix = ""
        self._requests = 0
        self._planned_s: Seconds | None = None

    def start(self) -> None:
        """Connect to the agent and submit."""
        self._prefix = self.box.connect(self._from_agent)
        self.box.running().process.at_death(partial(self.process.run, self._agent_gone))
        self._say(OpenSession(self._key, RELEASE))
        order = self.order
        submit = SubmitJob(
            order.kernel, order.points, dict(order.sample), order.slots, order.options
        )
        self._say(submit)

    def cancel(self) -> None:
        """Ask for the job's end."""
        if self.job is not None:
            self._say(JobCancel(self.job))

    def vanish(self) -> None:
        """Die without a word; the agent sees its connection close."""
        self.process.die()
        self.box.disconnect(self._prefix)
        gone = partial(self.box.tell, f"{self._prefix}/0", ClientGone())
        self._network.timeline.after(_SOCKET_S, gone)

    @property
    def over(self) -> bool:
        """Whether it waits for nothing any more."""
        return self.state is not None or not self.process.alive

    @property
    def done(self) -> int:
        """Points with a result."""
        return sum(not code for code in self.outcomes.values())

    @property
    def failed(self) -> int:
        """Points that failed."""
        return len(self.outcomes) - self.done

    def check(self) -> None:
        """Raise InvariantBroken when a point of a job that is over has no outcome."""
        self.dispatcher.check()
        counts = len(self.outcomes)
        if self.state is JobState.SUCCEEDED and self.done != self.order.points:
            raise InvariantBroken(f"{self.job} succeeded with {counts} of {self.order.points}")
        if self.state is not None and self.job is not None and counts != self.order.points:
            raise InvariantBroken(f"{self.job} is over; {counts} of {self.order.points} outcomes")

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
            case LeaseGrant(lease=lease) if not self.over:
                self._lines.grant(lease)
            case LeaseLost():
                self._lost(message)
            case JobStopped():
                self._stopped(message)
            case LeaseStarved(reason=reason):
                self._news(f"waits: {reason}")
            case _:
                pass

    def _accepted(self, message: JobAccepted) -> None:
        self.job = message.job
        self.dispatcher.add_sweep(self.order.points)
        self._news("was accepted")
        self.process.after(PROGRESS_S, self._beat)
        self._go_on([])

    def _beat(self) -> None:
        if not self.over:
            self._say(self._progress())
            self.process.after(PROGRESS_S, self._beat)

    def _progress(self) -> JobProgress:
        if self.job is None:
            raise InvariantBroken("a client without a job makes no progress")
        tally = self.dispatcher.tally
        share = dict(self.dispatcher.share)
        return JobProgress(self.job, tally.done, tally.failed, tally.rerun, share)

    def _stopped(self, message: JobStopped) -> None:
        if not self.over:
            outcomes = self.dispatcher.stop(message.code, message.reason)
            self._note(outcomes)
            self._end(message.state, message.reason)

    def _agent_gone(self) -> None:
        if not self.over:
            self._note(self.dispatcher.stop("agent-unreachable", "the agent is gone"))
            self._end(JobState.FAILED, "its agent is gone")

    def _end(self, state: JobState, error: str) -> None:
        self.state, self.error = state, error
        self._lines.close()
        text = f"{state.value}: {self.done} done, {self.failed} failed"
        self._news(f"{text} ({error})" if error else text)
        self.check()

    # --- leases -----------------------------------------------------------------------------------

    def _broken(self, lease: LeaseId, end: LeaseEnd, reason: str) -> None:
        """Tell the desk, which tells us that the lease is lost and looks for another one."""
        if self.job is None or self.over:
            return
        self._say(LeaseBroken(self.job, lease, reason))
        if end is LeaseEnd.UNKNOWN:
            self._lost(LeaseLost(lease, end, reason))

    def _up(self, lease: Lease) -> None:
        self.dispatcher.granted(lease)
        self._go_on([])

    def _lost(self, lost: LeaseLost) -> None:
        self._lines.drop(lost.lease)
        if self.over:
            return
        self._go_on(
            self.dispatcher.lost(lost.lease, lost.code, lost.reason, lost.task, lost.attempt)
        )
        slots = self.dispatcher.useful_slots(self.order.slots)
        wanted = slots and lost.code in {LeaseEnd.IDLE, LeaseEnd.SILENT}
        if wanted and self.job is not None and not self.over:
            self._say(MoreSlots(self.job, slots))

    def _results(self, parcel: ResultParcel) -> None:
        if not self.over:
            now_s = self._network.timeline.now
            self._go_on(self.dispatcher.results(parcel.lease, parcel.results, now_s))

    # --- work -------------------------------------------------------------------------------------

    def _go_on(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes, send what can be sent, and see whether the job is done."""
        self._note(outcomes)
        now_s = self._network.timeline.now
        self._note(self.dispatcher.tick(now_s))
        for each in self.dispatcher.orders(now_s):
            self._send(each)
        self.dispatcher.check()
        if self.job is not None and self.dispatcher.idle and not self.over:
            self._finish()
        else:
            self._plan()

    def _plan(self) -> None:
        due_s = self.dispatcher.next_deadline()
        now_s = self._network.timeline.now
        if due_s is None or (self._planned_s is not None and self._planned_s <= due_s):
            return
        self._planned_s = due_s

        def fire() -> None:
            if self._planned_s == due_s:
                self._planned_s = None
                if not self.over:
                    self._go_on([])

        self.process.after(max(0.001, due_s - now_s), fire)

    def _send(self, order: Dispatch) -> None:
        heads = tuple(
            TaskHead(piece.number, piece.attempt, piece.points, self._scalars(piece.start))
            for piece in order.pieces
        )
        self._lines.send(order.lease, TaskParcel(order.lease, heads))

    def _scalars(self, start: int) -> dict[str, object]:
        order = self.order
        fates = {"poison": order.poison, "hang": order.hang, "faulty": order.faulty}
        return {"start": start, **{name: points for name, points in fates.items() if points}}

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            piece = outcome.piece
            code = outcome.code if isinstance(outcome, Failed) else ""
            for point in range(piece.start, piece.start + piece.points):
                if point in self.outcomes:
                    raise InvariantBroken(f"point {point} of {self.job} has two outcomes")
                self.outcomes[point] = code

    def _finish(self) -> None:
        state = JobState.FAILED if self.failed else JobState.SUCCEEDED
        if self.job is None:
            raise InvariantBroken("a job that was not accepted is done")
        error = f"{self.failed} points failed" if self.failed else ""
        self._say(JobEnded(self.job, state, self._progress(), error))
        self._end(state, error)
