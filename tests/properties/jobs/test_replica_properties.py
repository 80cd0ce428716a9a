"""Whatever runners answer, lose or keep to themselves: one outcome each, and never a minority's."""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qallow_agent.base.agreement import grouped
from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.parcels import Fault, ResultHead
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Agreed, Answered, Compared, Failed, Outcome, Piece

KEY = b"k" * 32
SMALL = DispatchSettings(slice_first_points=4, batch_tasks=3, hedge_after_s=0.05, most_splits=30)
NODES = 4


def lease(number: int) -> Lease:
    node = number % NODES
    return Lease(
        LeaseId(f"lease-{number}"), JobId("job"), NodeId(f"node-{node}"), f"box{node}",
        f"cpu{number % 2}", RunnerId("r"), "harmonic", "h", 6, 10.0, 0.0, ("::1",), 1, KEY, KEY,
    )  # fmt: skip


class ReplicaMachine(RuleBasedStateMachine):
    """Drives a dispatcher of verified work with runners of which some lie."""

    @initialize(verify=st.sampled_from([2, 3]))
    def begin(self, verify: int) -> None:
        self.dispatcher = Dispatcher(SMALL, retries=2, verify=verify, patience_s=5.0)
        self.now = 0.0
        self.born = 0
        self.alive: dict[LeaseId, str] = {}
        self.wire: list[tuple[LeaseId, int, int]] = []
        self.places: dict[int, list[str]] = {}
        self.tasks: list[Piece] = []
        self.points = 0
        self.outcomes: list[Outcome] = []

    def send(self) -> None:
        while orders := self.dispatcher.orders(self.now):
            for order in orders:
                for piece in order.pieces:
                    self.wire.append((order.lease, piece.number, piece.attempt))
                    self.places.setdefault(piece.number, []).append(self.alive[order.lease])

    def take(self, outcomes: list[Outcome], content: str = "") -> None:
        for outcome in outcomes:
            panel = outcome.piece.panel
            if not isinstance(outcome, Answered):
                self.outcomes.append(outcome)
            elif panel is not None:
                outcome.answer.content = content
                told = [answer.content for answer in panel.answers]
                classes = grouped(len(told), lambda one, other, each=told: each[one] == each[other])
                self.take(self.dispatcher.arbiter.judged(outcome.piece, classes))
        self.send()

    @rule()
    def grant(self) -> None:
        self.born += 1
        granted = lease(self.born)
        self.alive[granted.id] = f"{granted.node}/{granted.device}"
        self.dispatcher.granted(granted)
        self.send()

    @rule(count=st.integers(1, 6))
    def add(self, count: int) -> None:
        self.tasks += [self.dispatcher.add() for _ in range(count)]
        self.send()

    @rule(points=st.integers(1, 30))
    def add_sweep(self, points: int) -> None:
        self.points += points
        self.dispatcher.add_sweep(points)
        self.send()

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), content=st.sampled_from(["right", "right", "lie", "other"]))
    def answer(self, data: st.DataObject, content: str) -> None:
        lease_id, number, attempt = self.wire.pop(data.draw(st.integers(0, len(self.wire) - 1)))
        self.now += 0.001
        head = ResultHead(number, attempt, 0.001, (), None)
        self.take(self.dispatcher.results(lease_id, [head], self.now), content)

    @precondition(lambda self: self.wire)
    @rule()
    def raise_once(self) -> None:
        lease_id, number, attempt = self.wire.pop(0)
        fault = Fault("kernel-failed", "it raised")
        head = ResultHead(number, attempt, 0.001, (), fault)
        self.take(self.dispatcher.results(lease_id, [head], self.now))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), end=st.sampled_from([LeaseEnd.CRASHED, LeaseEnd.IDLE, LeaseEnd.UNFIT]))
    def lose(self, data: st.DataObject, end: LeaseEnd) -> None:
        lost = data.draw(st.sampled_from(sorted(self.alive)))
        del self.alive[lost]
        self.wire = [each for each in self.wire if each[0] != lost]
        self.take(self.dispatcher.lost(lost, end, "gone"))

    @rule(seconds=st.sampled_from([0.01, 1.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.dispatcher.tick(self.now))

    @invariant()
    def everything_is_somewhere(self) -> None:
        if hasattr(self, "dispatcher"):
            self.dispatcher.check()

    @invariant()
    def what_is_delivered_two_have_answered(self) -> None:
        for outcome in getattr(self, "outcomes", ()):
            panel = outcome.piece.panel
            if isinstance(outcome, Agreed):
                assert panel is not None
                told = Counter(answer.content for answer in panel.answers)
                most, times = told.most_common(1)[0]
                assert outcome.answer.content == most
                assert times >= 2
                assert len({answer.place for answer in panel.answers}) == len(panel.answers)

    def teardown(self) -> None:
        if not hasattr(self, "dispatcher"):
            return
        for _ in range(3):
            self.grant()
        for _ in range(2_000):
            if self.dispatcher.idle:
                break
            if self.wire:
                lease_id, number, attempt = self.wire.pop(0)
                head = ResultHead(number, attempt, 0.001, (), None)
                self.take(self.dispatcher.results(lease_id, [head], self.now), "right")
            else:
                self.wait(6.0)
        assert self.dispatcher.idle, "a piece waits for ever"
        ended = [each for each in self.outcomes if not isinstance(each, Compared)]
        assert all(isinstance(each, Agreed | Failed) for each in ended)
        points = sum(each.piece.points for each in ended)
        assert points == len(self.tasks) + self.points, "each point has one outcome"
        tally = self.dispatcher.tally
        assert (tally.done + tally.failed) == points


TestReplicas = ReplicaMachine.TestCase
TestReplicas.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
