"""Nothing is lost and nothing is delivered twice, whatever leases, answers and crashes do."""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.parcels import Fault, ResultHead
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Finished, Outcome, Piece, Sweep

KEY = b"k" * 32
SMALL = DispatchSettings(
    slice_first_points=4, batch_tasks=3, hedge_after_s=0.05, most_kills=10_000, most_splits=30
)


def lease(number: int) -> Lease:
    return Lease(
        LeaseId(f"lease-{number}"), JobId("job"), NodeId(f"node-{number % 3}"),
        f"box{number % 3}", "cpu0", RunnerId("r"), "harmonic", "h", 6, 10.0, 0.0, ("::1",), 1,
        KEY, KEY,
    )  # fmt: skip


class DispatcherMachine(RuleBasedStateMachine):
    """Drives a dispatcher with an unreliable world that remembers every outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatcher = Dispatcher(SMALL, retries=2)
        self.now = 0.0
        self.born = 0
        self.alive: list[LeaseId] = []
        self.wire: list[tuple[LeaseId, int, int, int]] = []
        self.tasks: list[Piece] = []
        self.sweeps: list[Sweep] = []
        self.cancelled: set[int] = set()
        self.outcomes: list[Outcome] = []

    def take(self, outcomes: list[Outcome]) -> None:
        self.outcomes += outcomes
        self.send()

    def send(self) -> None:
        for order in self.dispatcher.orders(self.now):
            assert order.lease in self.alive
            self.wire += [(order.lease, p.number, p.attempt, p.points) for p in order.pieces]

    @rule()
    def grant(self) -> None:
        self.born += 1
        granted = lease(self.born)
        self.alive.append(granted.id)
        self.dispatcher.granted(granted)
        self.dispatcher.granted(granted)
        self.send()

    @rule(count=st.integers(1, 5), deadline=st.one_of(st.none(), st.floats(0.1, 3)))
    def add(self, count: int, deadline: float | None) -> None:
        when = None if deadline is None else self.now + deadline
        self.tasks += [self.dispatcher.add(deadline_s=when) for _ in range(count)]
        self.send()

    @rule(points=st.integers(0, 60))
    def add_sweep(self, points: int) -> None:
        self.sweeps.append(self.dispatcher.add_sweep(points))
        self.send()

    @rule(step=st.floats(0.001, 1.0))
    def wait(self, step: float) -> None:
        self.now += step
        self.take(self.dispatcher.tick(self.now))

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), copies=st.integers(1, 2), seconds=st.sampled_from([0.0, 1e-4, 0.01, 1.0]))
    def answer(self, data: st.DataObject, copies: int, seconds: float) -> None:
        index = data.draw(st.integers(0, len(self.wire) - 1))
        to, number, attempt, points = self.wire.pop(index)
        fault = data.draw(st.sampled_from([None, None, None, Fault("kernel-failed", "no")]))
        head = ResultHead(number, attempt, seconds * points, (), fault)
        for _ in range(copies):
            self.take(self.dispatcher.results(to, [head], self.now))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), end=st.sampled_from(LeaseEnd), blame=st.booleans())
    def lose(self, data: st.DataObject, end: LeaseEnd, *, blame: bool) -> None:
        gone = data.draw(st.sampled_from(self.alive))
        self.alive.remove(gone)
        running = [each for each in self.wire if each[0] == gone]
        task, attempt = (running[0][1], running[0][2]) if blame and running else (None, None)
        self.take(self.dispatcher.lost(gone, end, "gone", task, attempt))
        self.take(self.dispatcher.lost(gone, end, "gone", task, attempt))

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def drop_on_the_wire(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.wire))[0]
        self.wire = [each for each in self.wire if each[0] != gone]

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        piece = data.draw(st.sampled_from(self.tasks))
        if self.dispatcher.cancel(piece):
            self.cancelled.add(piece.number)

    @invariant()
    def books_are_in_order(self) -> None:
        self.dispatcher.check()

    @invariant()
    def nothing_is_delivered_twice(self) -> None:
        seen = Counter(each.piece.number for each in self.outcomes)
        assert all(count == 1 for count in seen.values())
        assert not self.cancelled & seen.keys()

    def teardown(self) -> None:
        """Lose every lease, bring a healthy one, and see that every piece gets its outcome."""
        for gone in list(self.alive):
            self.alive.remove(gone)
            self.take(self.dispatcher.lost(gone, LeaseEnd.PREEMPTED, "end"))
        self.wire = []
        self.grant()
        while self.wire:
            to, number, attempt, _ = self.wire.pop(0)
            self.take(self.dispatcher.results(to, [ResultHead(number, attempt, 1e-4)], self.now))
        assert self.dispatcher.idle
        self.nothing_is_delivered_twice()
        with_outcome = {each.piece.number for each in self.outcomes} | self.cancelled
        assert {piece.number for piece in self.tasks} <= with_outcome
        for sweep in self.sweeps:
            spans = sorted(
                (each.piece.start, each.piece.points)
                for each in self.outcomes
                if each.piece.sweep is sweep
            )
            reached = 0
            for start, points in spans:
                assert start == reached
                reached += points
            assert reached == sweep.points == sweep.closed
        done = sum(each.piece.points for each in self.outcomes if isinstance(each, Finished))
        assert done == self.dispatcher.tally.done == sum(self.dispatcher.share.values())


TestDispatcher = DispatcherMachine.TestCase
TestDispatcher.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
