"""A fleet in virtual time: what placement policies make of the same machines and the same tasks.

Machines differ in kind, slots and speed; tasks arrive at random and their sizes have a heavy tail.
Several owners place tasks. Each sees adverts that are as old as adverts are, and what it placed
itself; the oracle sees the truth. A task that waits too long on a machine is turned away and
placed again, as leases are. What counts is the *slowdown* of a task: how long it took, in units of
what the best machine takes alone.

Everything that chance decides comes from the seed, so that policies differ in nothing else.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from qallow_agent.base.ids import NodeId
from qallow_agent.base.units import Seconds
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.router import choose
from qallow_agent.placement.settings import PlacementSettings

KERNEL, HASH = "work", "f" * 64
START_S: Seconds = 0.3
"""A runner's start; measured: 0.1 to 0.5 s."""
IDLE_S: Seconds = 60.0
"""A runner without work is retired after so long (``jobs.runner_idle_s``)."""
QUEUE_S: Seconds = 10.0
"""Who waits longer is turned away (``jobs.queue_s``)."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """How a fleet and its work are drawn.

    Args:
        seed: Decides everything that chance decides.
        machines: How many there are.
        gpus: How many of them have a GPU instead: one slot, as fast as many of a CPU's.
        spread: The fastest CPU's rate over the slowest's.
        owners: How many place tasks, none knowing what the others do.
        tasks: How many arrive.
        load: Share of all machines' ops per second that is asked for.
        shape: Of the bounded Pareto distribution of sizes. 0.69 is the compute that jobs consumed
            in the eight Borg cells of 2019, whose largest hundredth consumed nearly all.
        sizes: The largest task over the smallest.
        advert_s: Longest age of an advert.
        rate_error: Advertised rates are up to this share off.

    Source: Tirmazi et al., "Borg: the Next Generation", EuroSys 2020, section 7; bounded Pareto as
    in Harchol-Balter, Crovella and Murta, "On Choosing a Task Assignment Policy for a Distributed
    Server System", JPDC 1999.
    """

    seed: int
    machines: int = 24
    gpus: int = 4
    spread: float = 100.0
    owners: int = 4
    tasks: int = 1_500
    load: float = 0.5
    shape: float = 0.69
    sizes: float = 1e4
    advert_s: Seconds = 0.5
    rate_error: float = 0.2


@dataclass(frozen=True, slots=True)
class Task:
    """One task: when it arrives, what it computes, what it carries."""

    arrives_s: Seconds
    ops: float
    size_bytes: float


@dataclass(slots=True)
class Server:
    """One machine: a device with slots that serve first come, first served.

    Args:
        rate: True ops per second of a slot.
        told_rate: What it advertises.
        bandwidth: Bytes per second to it.
        phase_s: Of its adverts.
    """

    name: str
    kind: str
    model: str
    slots: int
    rate: float
    told_rate: float
    rtt_s: Seconds
    bandwidth: float
    phase_s: Seconds
    _free_s: list[Seconds] = field(default_factory=list)
    _starts_s: list[Seconds] = field(default_factory=list)

    def ends_s(self, task: Task, now: Seconds) -> Seconds:
        """Return when a task that is sent now would be done, in truth."""
        return self._span(task, now)[1] + self.rtt_s / 2

    def alone_s(self, task: Task) -> Seconds:
        """Return how long a task takes on this machine when it is warm and has nothing else."""
        return self.rtt_s + task.size_bytes / self.bandwidth + task.ops / self.rate

    def take(self, task: Task, now: Seconds) -> tuple[Seconds, Seconds] | None:
        """Take a task; return when it will begin and be done, or None when it is turned away."""
        begins_s, ends_s = self._span(task, now)
        if begins_s - now > QUEUE_S:
            return None
        if len(self._free_s) >= self.slots:
            heapq.heappop(self._free_s)
        heapq.heappush(self._free_s, ends_s)
        heapq.heappush(self._starts_s, begins_s)
        return begins_s, ends_s + self.rtt_s / 2

    def advert(self, when_s: Seconds) -> Candidate:
        """Return what it said of itself at a time since which it was given nothing."""
        while self._starts_s and self._starts_s[0] <= when_s:
            heapq.heappop(self._starts_s)
        busy = sum(free_s > when_s for free_s in self._free_s)
        warm = sum(when_s - IDLE_S < free_s <= when_s for free_s in self._free_s)
        return Candidate(
            node=NodeId(self.name),
            node_name=self.name,
            device=f"{self.kind}0",
            kind=self.kind,
            state="ok",
            slots=self.slots,
            busy=busy,
            memory_bytes=0,
            kernels={KERNEL: HASH},
            rate=self.told_rate,
            rtt_s=self.rtt_s,
            bandwidth_bytes=self.bandwidth,
            start_s=START_S,
            warm=warm,
            waiting=len(self._starts_s),
            model=self.model,
        )

    def _span(self, task: Task, now: Seconds) -> tuple[Seconds, Seconds]:
        """Return when a task would begin and end."""
        there_s = now + self.rtt_s / 2 + task.size_bytes / self.bandwidth
        unused = len(self._free_s) < self.slots
        free_s = -math.inf if unused else self._free_s[0]
        cold = there_s - free_s > IDLE_S
        begins_s = max(there_s + (START_S if cold else 0.0), free_s)
        return begins_s, begins_s + task.ops / self.rate


@dataclass(frozen=True, slots=True)
class View:
    """What a policy may look at.

    Args:
        task: What is to be placed.
        number: How many were before it.
        now: When.
        book: Each machine as its owner knows it.
        avoid: The machine that turned it away last, by its key.
        servers: The truth, for the oracle.
        rng: Entropy.
    """

    task: Task
    number: int
    now: Seconds
    book: Sequence[Candidate]
    avoid: tuple[str, ...]
    servers: Sequence[Server]
    rng: Random

    @property
    def open(self) -> list[int]:
        """The machines that did not turn the task away just now."""
        return [index for index, each in enumerate(self.book) if each.key not in self.avoid]


Policy = Callable[[View], int]
"""Which machine gets the task."""


def ours(view: View) -> int:
    """Choose as the agent does."""
    task = view.task
    request = Request(
        KERNEL,
        HASH,
        slots=1,
        points=1,
        ops=task.ops,
        transfer_bytes=int(task.size_bytes),
        avoid=view.avoid,
    )
    decision = choose(request, view.book, PlacementSettings(), view.rng)
    return [each.node for each in view.book].index(decision.choices[0].node)


def at_random(view: View) -> int:
    """Choose any machine."""
    return view.open[view.rng.randrange(len(view.open))]


def round_robin(view: View) -> int:
    """Choose one machine after the other."""
    return view.open[view.number % len(view.open)]


def least_loaded(view: View) -> int:
    """Choose the machine with the fewest tasks for its slots, as far as its owner knows."""

    def load(index: int) -> tuple[float, float]:
        each = view.book[index]
        return (each.busy + each.waiting) / each.slots, view.rng.random()

    return min(view.open, key=load)


def oracle(view: View) -> int:
    """Choose the machine that will be done first, knowing everything but the future."""
    return min(view.open, key=lambda index: view.servers[index].ends_s(view.task, view.now))


POLICIES: dict[str, Policy] = {
    "ours": ours,
    "random": at_random,
    "round-robin": round_robin,
    "least-loaded": least_loaded,
    "oracle": oracle,
}
"""Name -> policy."""


@dataclass(frozen=True, slots=True)
class Slowdowns:
    """How much longer tasks took than on the best machine alone."""

    mean: float
    median: float
    p99: float


def play(plan: FleetPlan, policy: Policy) -> Slowdowns:
    """Return what a policy makes of a fleet and its work."""
    servers = draw_servers(plan)
    book = _Book(servers, plan)
    rng = Random(f"fleet/{plan.seed}/policy")
    events: list[tuple[Seconds, int, Task, tuple[str, ...]]] = [
        (task.arrives_s, number, task, ()) for number, task in enumerate(draw_tasks(plan, servers))
    ]
    heapq.heapify(events)
    slowdowns: list[float] = []
    while events:
        now, number, task, avoid = heapq.heappop(events)
        owner = number % plan.owners
        known = book.of(owner, now)
        index = policy(View(task, number, now, known, avoid, servers, rng))
        span = servers[index].take(task, now)
        if span is None:
            heapq.heappush(events, (now + QUEUE_S, number, task, (known[index].key,)))
            continue
        book.note(owner, index, span)
        alone_s = min(server.alone_s(task) for server in servers)
        slowdowns.append((span[1] - task.arrives_s) / alone_s)
    slowdowns.sort()
    count = len(slowdowns)
    return Slowdowns(
        sum(slowdowns) / count, slowdowns[count // 2], slowdowns[math.ceil(0.99 * count) - 1]
    )


class _Book:
    """What owners know: the adverts there are, and what each of them placed itself."""

    def __init__(self, servers: Sequence[Server], plan: FleetPlan) -> None:
        self._servers = servers
        self._every_s = plan.advert_s
        self._due_s = [server.phase_s for server in servers]
        self._adverts = [server.advert(0.0) for server in servers]
        self._own: dict[tuple[int, int], list[tuple[Seconds, Seconds]]] = {}

    def of(self, owner: int, now: Seconds) -> list[Candidate]:
        """Return each machine as an owner knows it."""
        for index, due_s in enumerate(self._due_s):
            if due_s <= now:
                # Of several since the last task only the newest counts.
                missed = math.floor((now - due_s) / self._every_s)
                self._adverts[index] = self._servers[index].advert(due_s + missed * self._every_s)
                self._due_s[index] = due_s + (missed + 1) * self._every_s
        return [self._known(owner, index, now) for index in range(len(self._servers))]

    def note(self, owner: int, index: int, span: tuple[Seconds, Seconds]) -> None:
        """Remember when a task that an owner placed begins and ends."""
        self._own.setdefault((owner, index), []).append(span)

    def _known(self, owner: int, index: int, now: Seconds) -> Candidate:
        spans = [span for span in self._own.get((owner, index), ()) if span[1] > now]
        self._own[owner, index] = spans
        held = sum(begins_s <= now for begins_s, _ in spans)
        return self._adverts[index].with_own(held, len(spans) - held)


def draw_servers(plan: FleetPlan) -> list[Server]:
    """Return the machines: CPUs over the whole spread of rates, and GPUs."""
    rng = Random(f"fleet/{plan.seed}/machines")
    servers: list[Server] = []
    for number in range(plan.machines):
        gpu = number < plan.gpus
        # Log-uniform: as many machines between 1 and 10 as between 10 and 100.
        rate = 1e8 * plan.spread ** rng.random() * (20.0 if gpu else 1.0)
        error = 1 + plan.rate_error * (2 * rng.random() - 1)
        servers.append(
            Server(
                name=f"box{number:02d}",
                kind="cuda" if gpu else "cpu",
                model=f"model {rng.randrange(3)}",
                slots=1 if gpu else rng.choice([1, 2, 4, 8, 16]),
                rate=rate,
                told_rate=rate * error,
                rtt_s=10 ** rng.uniform(-4, -2),
                bandwidth=10 ** rng.uniform(7, 9),
                phase_s=plan.advert_s * rng.random(),
            )
        )
    return servers


def draw_tasks(plan: FleetPlan, servers: Sequence[Server]) -> list[Task]:
    """Return the tasks in order of arrival: a Poisson stream that asks for the plan's load."""
    rng = Random(f"fleet/{plan.seed}/tasks")
    power = sum(server.slots * server.rate for server in servers)
    sizes = [bounded_pareto(rng, plan.shape, plan.sizes) for _ in range(plan.tasks)]
    mean = sum(sizes) / len(sizes)
    # The middle task takes a middling CPU about a tenth of a second.
    unit = 0.1 * 1e8 * math.sqrt(plan.spread) / sorted(sizes)[len(sizes) // 2]
    pause_s = mean * unit / (plan.load * power)
    tasks: list[Task] = []
    now = 0.0
    for size in sizes:
        now += rng.expovariate(1 / pause_s)
        tasks.append(Task(now, size * unit, 10 ** rng.uniform(2, 6)))
    return tasks


def bounded_pareto(rng: Random, shape: float, most: float) -> float:
    """Return a number between 1 and ``most`` whose tail falls as a power of ``shape``.

    Source: inverse of the distribution function in Harchol-Balter et al. 1999, section 2.
    """
    return float((1 - rng.random() * (1 - most**-shape)) ** (-1 / shape))
