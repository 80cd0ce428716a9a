"""Desk, benches, runners and a client in one seeded world that delays, doubles, drops and kills.

Whatever happens: the job ends, every point has one outcome, no lease outlives it, and every
machine's invariants hold after every step.
"""

import heapq
import random
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from qallow_agent.base.ids import LeaseId, NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Instant, Reply, Send, Start, Stop
from qallow_agent.base.message import Message
from qallow_agent.jobs.bench import Bench
from qallow_agent.jobs.desk import Desk
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.local import (
    Allow,
    BenchChanged,
    CanaryDone,
    Choice,
    ClientGone,
    Forbid,
    PlacementMade,
    PlacementWanted,
    RunCanary,
    RunnerBusy,
    RunnerExited,
    RunnerReady,
)
from qallow_agent.jobs.messages import (
    Demand,
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
    OpenSession,
    SubmitJob,
)
from qallow_agent.jobs.model import BenchDevice, KernelOffer, LeaseEnd, Terms
from qallow_agent.jobs.parcels import ResultHead
from qallow_agent.jobs.settings import DispatchSettings, JobSettings

KEY = b"k" * 32
HASH = "a" * 64
IDENTITIES = {SigningKey(letter * 32).id: SigningKey(letter * 32) for letter in (b"h", b"b", b"d")}
NODES = tuple(NodeId(node) for node in IDENTITIES)
HOME = NODES[0]
CLIENT = "@control/1/1"
SETTINGS = JobSettings(
    runner_start_s=30.0, lease_answer_s=35.0, runner_idle_s=5.0, canary_period_s=7.0,
    canary_limit_s=20.0, lost_retry_s=4.0, quantum_s=1.0, queue_s=10.0,
)  # fmt: skip
POINT_S = 0.01


class Runner:
    """A process: a queue of tasks under the leases it was told to allow."""

    def __init__(self, world: "World", node: NodeId, name: str) -> None:
        self.world, self.node, self.name = world, node, name
        self.leases: set[LeaseId] = set()
        self.queue: list[tuple[LeaseId, Any, int, int, int]] = []
        self.at: tuple[LeaseId, int, int, float] | None = None
        self.dead = False

    def tell(self, message: Message) -> None:
        world = self.world
        if isinstance(message, Allow):
            self.leases.add(message.lease)
        elif isinstance(message, Forbid):
            self.leases.discard(message.lease)
            self.queue = [each for each in self.queue if each[0] != message.lease]
        elif isinstance(message, RunCanary):
            done = CanaryDone(message.kernel, world.rng.random() > 0.05, "odd", 0.01, 1e9)
            world.later(0.05, lambda: self.say(done))

    def ready(self) -> None:
        self.say(RunnerReady(1, KEY, 1))

    def say(self, message: Message) -> None:
        if not self.dead:
            self.world.to_bench(self.node, f"@runner/{self.name}", message)

    def exit(self, reason: str) -> None:
        if not self.dead:
            lease, task, attempt = self.at[:3] if self.at else (None, None, None)
            self.say(RunnerExited(reason, lease, task, attempt))
            self.dead = True

    def give(self, lease: LeaseId, tasks: list[tuple[int, int, int, int]]) -> None:
        if lease in self.leases and not self.dead:
            self.queue += [(lease, *task) for task in tasks]
            self.work()

    def work(self) -> None:
        if self.dead or self.at is not None or not self.queue:
            return
        lease, number, attempt, start, points = self.queue.pop(0)
        self.at = (lease, number, attempt, self.world.now)
        if any(start <= poison < start + points for poison in self.world.poison):
            self.world.later(0.005, lambda: self.exit("SIGSEGV"))
            return
        self.world.later(POINT_S * points, lambda: self.done(lease, number, attempt, points))

    def done(self, lease: LeaseId, number: int, attempt: int, points: int) -> None:
        if self.dead:
            return
        self.at = None
        if lease in self.leases:
            head = ResultHead(number, attempt, POINT_S * points)
            # ZeroMQ drops and doubles nothing while a link holds.
            self.world.later(0.002, lambda: self.world.answered(lease, head))
        self.work()


class World:
    """Everything, on one virtual clock."""

    def __init__(self, seed: int, points: int, poison: tuple[int, ...]) -> None:
        self.rng = random.Random(seed)
        self.poison = poison
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.reliable = False
        self.desk = Desk(me=HOME, settings=SETTINGS, rng=self.rng, kept={})
        for node, identity in IDENTITIES.items():
            self.desk.learn_key(NodeId(node), identity.public)
        self.benches: dict[NodeId, Bench] = {}
        self.runners: dict[str, Runner] = {}
        self.outcomes: list[Any] = []
        self.leases: dict[LeaseId, Lease] = {}
        self.broken: set[LeaseId] = set()
        self.job = ""
        self.over: JobState | None = None
        self.client_alive = True
        self.dispatcher = Dispatcher(DispatchSettings(slice_s=0.05), retries=20)
        self.sweep = self.dispatcher.add_sweep(points)
        for node in NODES:
            self.boot(node)
        self.to_desk(CLIENT, OpenSession(KEY, "0.1"))
        order = SubmitJob("k", points, {}, 4, JobOptions(start_s=60.0, deadline_s=300.0))
        self.carry(
            HOME, self.desk.submit(CLIENT, order, Terms(HASH, Demand(1.0, 0)), self.instant())
        )
        self.later(1.0, self.report)

    def instant(self) -> Instant:
        return Instant(self.now, int((1e9 + self.now) * 1e9))

    def later(self, delay: float, act: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + delay, self.count, act))

    def wire(self, act: Callable[[], None]) -> None:
        """Carry something over the network: late, perhaps twice, perhaps never."""
        chance = 1.0 if self.reliable else self.rng.random()
        if chance < 0.03:
            return
        self.later(self.rng.random() * 0.02, act)
        if chance < 0.06:
            self.later(self.rng.random() * 0.5, act)

    # --- nodes ---

    def boot(self, node: NodeId) -> None:
        bench = Bench(
            me=node, node_name=node, identity=IDENTITIES[node], hosts=("::1",),
            kernels=[KernelOffer("k", HASH, ("cpu",))], settings=SETTINGS, rng=self.rng,
        )  # fmt: skip
        self.benches[node] = bench
        device = BenchDevice("cpu0", "cpu", 2, 0)
        self.carry(node, bench.set_devices((device,), self.instant()))

    def kill(self, node: NodeId) -> None:
        for runner in self.runners.values():
            runner.dead = runner.dead or runner.node == node
        del self.benches[node]

        def down() -> None:
            self.carry(HOME, self.desk.member_down(node, self.instant()))

        self.later(self.rng.random() * 4, down)
        self.later(self.rng.random() * 8, lambda: self.boot(node))

    def to_desk(self, sender: str, message: Message) -> None:
        self.carry(HOME, self.desk.receive(sender, message, self.instant()))
        self.desk.check()

    def to_bench(self, node: NodeId, sender: str, message: Message) -> None:
        bench = self.benches.get(node)
        if bench is not None:
            self.carry(node, bench.receive(sender, message, self.instant()))
            bench.check()

    def carry(self, node: NodeId, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self.wire(self.delivery(node, to, message))
                case Announce(PlacementWanted() as wanted):
                    self.to_desk(HOME, self.place(wanted))
                case Announce(BenchChanged()):
                    self.desk.devices_changed(self.instant())
                case Reply(to, message) if to == CLIENT:
                    self.later(0.001, lambda message=message: self.to_client(message))
                case Reply(to, message) if to.startswith("@runner/"):
                    self.runners[to.removeprefix("@runner/")].tell(message)
                case Start(name, _, _):
                    runner = self.runners[name] = Runner(self, node, name)
                    self.later(self.rng.random(), runner.ready)
                case Stop(name, _):
                    runner = self.runners[name]
                    self.later(0.01, lambda runner=runner: runner.exit("stopped"))

    def delivery(self, node: NodeId, to: NodeId, message: Message) -> Callable[[], None]:
        kind = type(message).__name__
        if kind in {"LeaseGrant", "LeaseRefusal", "LeaseRevoked"}:
            return lambda: self.to_desk(node, message)
        return lambda: self.to_bench(to, node, message)

    def place(self, wanted: PlacementWanted) -> PlacementMade:
        open_ = [
            node
            for node, bench in sorted(self.benches.items())
            if bench.device_states()[0].state != "lost" and f"{node}/cpu0" not in wanted.avoid
        ]
        if not open_:
            return PlacementMade(wanted.job, (), "all devices are busy")
        chosen = self.rng.sample(open_, min(2, len(open_)))
        choices = tuple(Choice(node, "cpu0", wanted.slots, "") for node in chosen)
        return PlacementMade(wanted.job, choices)

    # --- client ---

    def to_client(self, message: Message) -> None:
        if not self.client_alive:
            return
        if isinstance(message, JobAccepted):
            self.job = message.job
        elif isinstance(message, LeaseGrant):
            self.leases[message.lease.id] = message.lease
            self.dispatcher.granted(message.lease)
        elif isinstance(message, LeaseLost):
            self.outcomes += self.dispatcher.lost(
                message.lease, message.code, message.reason, message.task, message.attempt
            )
        elif isinstance(message, JobStopped):
            self.over = message.state
            self.outcomes += self.dispatcher.stop(message.code, message.reason)
        self.send()

    def answered(self, lease: LeaseId, head: ResultHead) -> None:
        if self.client_alive and lease not in self.broken:
            self.outcomes += self.dispatcher.results(lease, [head], self.now)
            self.send()

    def send(self) -> None:
        self.outcomes += self.dispatcher.tick(self.now)
        for order in self.dispatcher.orders(self.now):
            runner = self.runners[self.leases[order.lease].runner]
            tasks = [(p.number, p.attempt, p.start, p.points) for p in order.pieces]
            self.later(
                self.rng.random() * 0.005,
                lambda runner=runner, lease=order.lease, tasks=tasks: runner.give(lease, tasks),
            )
        self.dispatcher.check()
        if self.dispatcher.idle and self.over is None and self.job:
            self.over = JobState.SUCCEEDED
            ended = JobEnded(self.job, JobState.SUCCEEDED, JobProgress(self.job, 1, 0, 0))
            self.later(0.001, lambda: self.to_desk(CLIENT, ended))

    def report(self) -> None:
        """Each second: runners are looked at, the client shows life and hedges."""
        for runner in list(self.runners.values()):
            if runner.at is not None and not runner.dead:
                lease, number, attempt, since = runner.at
                runner.say(RunnerBusy(lease, number, attempt, self.now - since))
        if self.client_alive and self.over is None and self.job:
            for lease in self.leases:
                if self.rng.random() < 0.02:
                    self.break_link(lease)
            self.to_desk(CLIENT, JobProgress(self.job, 0, 0, 0))
            self.send()
        self.later(1.0, self.report)

    def break_link(self, lease: LeaseId) -> None:
        """Cut the client off a runner: it notices, and says so to its desk."""
        self.broken.add(lease)
        self.outcomes += self.dispatcher.lost(lease, LeaseEnd.BROKEN, "connection reset")
        self.to_desk(CLIENT, LeaseBroken(self.job, lease, "connection reset"))

    # --- time ---

    def run(self, until: float) -> None:
        machines: list[tuple[NodeId, Desk | Bench]]
        while True:
            machines = [(HOME, self.desk), *self.benches.items()]
            dues = [(due, index) for index, (_, machine) in enumerate(machines)
                    if (due := machine.next_deadline()) is not None]  # fmt: skip
            next_due = min(dues, default=(float("inf"), 0))
            if self.events and self.events[0][0] <= next_due[0]:
                when, _, act = heapq.heappop(self.events)
                if when > until:
                    self.later(when - self.now, act)
                    return
                self.now = max(self.now, when)
                act()
            elif next_due[0] <= until:
                self.now = max(self.now, next_due[0])
                node, machine = machines[next_due[1]]
                self.carry(node, machine.tick(self.instant()))
                machine.check()
            else:
                return

    def leases_left(self) -> int:
        return sum(len(bench.leases()) for bench in self.benches.values())


def covered_once(world: World) -> bool:
    spans = sorted((each.piece.start, each.piece.points) for each in world.outcomes)
    reached = 0
    for start, points in spans:
        if start != reached:
            return False
        reached += points
    return reached == world.sweep.points


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    points=st.integers(1, 4000),
    poison=st.lists(st.integers(0, 4000), max_size=2),
    kills=st.lists(st.tuples(st.floats(0.5, 12), st.sampled_from(NODES)), max_size=3),
)
def test_a_job_survives_a_world_that_kills_and_drops(
    seed: int, points: int, poison: list[int], kills: list[tuple[float, str]]
) -> None:
    world = World(seed, points, tuple(poison))
    for when, node in sorted(kills):
        world.run(when)
        if node in world.benches:
            world.kill(NodeId(node))
    world.run(290.0)
    assert world.over is JobState.SUCCEEDED
    assert world.desk.running() == 0
    assert covered_once(world)
    bad = {each.piece.start for each in world.outcomes if not hasattr(each, "seconds")}
    assert bad == {each for each in poison if each < points}
    world.run(world.now + 20)
    assert world.leases_left() == 0
    world.run(world.now + 30)
    assert all(runner.dead for runner in world.runners.values())


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32), when=st.floats(0.01, 6.0), how=st.sampled_from(["cancel", "gone"])
)
def test_nothing_is_left_behind_when_a_job_is_cancelled_or_its_client_vanishes(
    seed: int, when: float, how: str
) -> None:
    world = World(seed, 100_000, ())
    world.run(when)
    if how == "cancel":
        world.to_desk("@control/2/1", JobCancel(world.job))
    else:
        world.client_alive = False
        world.to_desk("@control/1/0", ClientGone())
    world.run(when + 25)
    assert world.desk.running() == 0
    assert world.leases_left() == 0
    if how == "cancel":
        assert world.over is JobState.CANCELLED
        assert covered_once(world)
    world.run(when + 60)
    assert all(runner.dead for runner in world.runners.values())
