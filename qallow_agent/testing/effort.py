"""The effort of a virtual client: its sweep, the real dispatcher, and the outcome of every point.

A point with two outcomes breaks the simulation at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from qallow_agent.base.agreement import grouped
from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import LeaseId
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.messages import JobOptions, Lease, LeaseLost
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.opinions import Comparison
from qallow_agent.jobs.parcels import ResultParcel, TaskHead, TaskParcel
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import (
    Agreed,
    Answered,
    Compared,
    Dispatch,
    Failed,
    Finished,
    Outcome,
)
from qallow_agent.testing.lines import Fates, Lines
from qallow_agent.testing.network import Network
from qallow_agent.testing.timeline import Process

_LEAST_WAIT_S = 0.001


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
        audits: Whether a share of its tasks is run a second time, as its agent wishes.
    """

    kernel: str = "harmonic"
    points: int = 100
    slots: int = 4
    options: JobOptions = field(default_factory=JobOptions)
    poison: tuple[int, ...] = ()
    hang: tuple[int, ...] = ()
    faulty: tuple[int, ...] = ()
    audits: bool = False


class Effort:
    """Works through the points of one order with the leases it is given.

    Args:
        order: What is to be done.
        settings: The dispatcher's.
        network: The wires to runners.
        host: Where the client runs.
        process: The client's.
        key: The CURVE key it shows to runners.
        broken: Told of a runner that cannot be used: lease, how that ends, why.
        finished: Told when every point has its outcome.
    """

    def __init__(
        self,
        order: Order,
        settings: DispatchSettings,
        *,
        network: Network,
        host: str,
        process: Process,
        key: bytes,
        broken: Callable[[LeaseId, LeaseEnd, str], None],
        finished: Callable[[], None],
    ) -> None:
        self.dispatcher = Dispatcher(
            settings,
            order.options.retries,
            verify=order.options.verify,
            patience_s=order.options.start_s,
            rng=Random(key),
        )
        self.comparisons: list[Comparison] = []
        """What was compared and not told yet."""
        self.lies = 0
        """Points whose outcome is a lie."""
        self.outcomes: dict[int, str] = {}
        """Point -> "" or the code of its failure."""
        self._order = order
        self._timeline = network.timeline
        self._process = process
        self._finished = finished
        self._lines = Lines(
            network,
            host,
            process,
            key,
            Fates(up=self._up, broken=broken, results=self._results),
        )
        self._hints: dict[LeaseId, Seconds | None] = {}
        self._shadows: dict[LeaseId, bool] = {}
        self._planned_s: float | None = None
        self._begun = False
        self._over = False

    @property
    def done(self) -> int:
        """Points with a result."""
        return sum(not code for code in self.outcomes.values())

    @property
    def failed(self) -> int:
        """Points that failed."""
        return len(self.outcomes) - self.done

    def begin(self) -> None:
        """Take up the sweep."""
        self._begun = True
        self.dispatcher.add_sweep(self._order.points)
        self._go_on([])

    def grant(self, lease: Lease, hint_s: Seconds | None, *, shadow: bool = False) -> None:
        """Use a lease as soon as its runner is connected; a point should take ``hint_s`` there."""
        if not self._over:
            self._hints[lease.id] = hint_s
            self._shadows[lease.id] = shadow
            self._lines.grant(lease)

    def lose(self, lost: LeaseLost) -> None:
        """Do without a lease, and do again what was in flight there."""
        self._lines.drop(lost.lease)
        if not self._over:
            self._go_on(
                self.dispatcher.lost(lost.lease, lost.code, lost.reason, lost.task, lost.attempt)
            )

    def stop(self, code: str, reason: str) -> None:
        """Give up what has no outcome."""
        self.close()
        self._note(self.dispatcher.stop(code, reason))

    def close(self) -> None:
        """Hang up; nothing is taken in any more."""
        self._over = True
        self._lines.close()

    def useful_slots(self) -> int:
        """Return how many runners the work left could keep busy."""
        return 0 if self._over else self.dispatcher.useful_slots(self._order.slots)

    def _up(self, lease: Lease) -> None:
        shadow = self._shadows.get(lease.id, False)
        self.dispatcher.granted(lease, self._hints.pop(lease.id, None), shadow=shadow)
        self._go_on([])

    def _results(self, parcel: ResultParcel) -> None:
        if not self._over:
            now_s = self._timeline.now
            outcomes = self.dispatcher.results(parcel.lease, parcel.results, now_s)
            self._go_on([final for each in outcomes for final in self._compared(each, parcel)])

    def _compared(self, outcome: Outcome, parcel: ResultParcel) -> list[Outcome]:
        """Give answers their content; return what comes of a comparison, or the outcome itself."""
        if isinstance(outcome, Finished):
            content = parcel.results[outcome.index].arrays
            self.lies += outcome.piece.points * bool(content)
            if outcome.audit is not None and outcome.audit.panel is not None:
                outcome.audit.panel.answers[0].content = content
        if not isinstance(outcome, Answered) or outcome.piece.panel is None:
            return [outcome]
        outcome.answer.content = parcel.results[outcome.index].arrays
        lied = [bool(answer.content) for answer in outcome.piece.panel.answers]
        classes = grouped(len(lied), lambda one, other: lied[one] == lied[other])
        return self.dispatcher.arbiter.judged(outcome.piece, classes)

    def _go_on(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes, send what can be sent, and see whether all is done."""
        self._note(outcomes)
        now_s = self._timeline.now
        self._note(self.dispatcher.tick(now_s))
        while orders := self.dispatcher.orders(now_s):
            for each in orders:
                self._send(each)
        self.dispatcher.check()
        if self._begun and self.dispatcher.idle and not self._over:
            self._finished()
        else:
            self._plan()

    def _plan(self) -> None:
        due_s = self.dispatcher.next_deadline()
        if due_s is None or (self._planned_s is not None and self._planned_s <= due_s):
            return
        self._planned_s = due_s

        def fire() -> None:
            if self._planned_s == due_s:
                self._planned_s = None
                if not self._over:
                    self._go_on([])

        self._process.after(max(_LEAST_WAIT_S, due_s - self._timeline.now), fire)

    def _send(self, order: Dispatch) -> None:
        heads = tuple(
            TaskHead(piece.number, piece.attempt, piece.points, self._scalars(piece.start))
            for piece in order.pieces
        )
        self._lines.send(order.lease, TaskParcel(order.lease, heads))

    def _scalars(self, start: int) -> dict[str, object]:
        order = self._order
        fates = {"poison": order.poison, "hang": order.hang, "faulty": order.faulty}
        return {"start": start, **{name: points for name, points in fates.items() if points}}

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            piece, panel = outcome.piece, outcome.piece.panel
            if panel is not None and len(panel.classes) > 1:
                places = tuple(answer.place for answer in panel.answers)
                self.comparisons.append(Comparison(places, panel.classes, shadow=panel.shadow))
            if isinstance(outcome, Compared):
                continue
            if isinstance(outcome, Agreed):
                self.lies += piece.points * bool(outcome.answer.content)
            code = outcome.code if isinstance(outcome, Failed) else ""
            for point in range(piece.start, piece.start + piece.points):
                if point in self.outcomes:
                    raise InvariantBroken(f"point {point} of a job has two outcomes")
                self.outcomes[point] = code
