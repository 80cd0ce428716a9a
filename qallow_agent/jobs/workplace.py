"""A workplace: one device with its runners, their leases, and who waits for them."""

import math
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.ids import JobId, NodeId, RunnerId
from qallow_agent.base.machine import Stop
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.heat import COOL, Heat, after
from qallow_agent.jobs.local import RunnerBusy, RunnerTally
from qallow_agent.jobs.messages import Lease, LeaseRequest
from qallow_agent.jobs.model import (
    ADMITTED,
    Admission,
    BenchDevice,
    DeviceHealth,
    DeviceStatus,
)
from qallow_agent.jobs.settings import JobSettings

UNTRIED = Complaint("its canary has not run yet", "wait for it: it starts by itself")
_HOT_FIX = "give it cooler air, clean its fans, or lower its power limit; running work goes on"

_NEWEST = 0.3
"""Weight of the newest rate: smooths over single odd tasks, follows heat within a minute."""
_NEWS = 0.2
"""A rate that moved by more than this is worth telling."""
_FULL_TASK_S: Seconds = 0.001
"""A shorter task is mostly what surrounds it."""
_VECTOR = 8
"""Points that a kernel of many lanes needs at least to fill a core's vector registers."""
MOST_PRIORITY = 100
"""More is not more: what one desk asks for may not shut out the others for hours."""
_MOST_WAITED_S: Seconds = 3_600.0


class Phase(Enum):
    """What a runner is at. Every phase but LEASED ends by itself at ``Station.until_s``."""

    STARTING = "starting"
    CANARY = "canary"
    IDLE = "idle"
    LEASED = "leased"
    SETTLING = "settling"
    """Its lease is over and its last task is not."""
    STOPPING = "stopping"


@dataclass(slots=True)
class Tenancy:
    """A granted lease, on the executor's side."""

    lease: Lease
    desk: NodeId
    task_limit_s: Seconds
    granted_s: Seconds
    expires_s: Seconds
    active_s: Seconds
    priority: int = 0
    memory_bytes: int = 0


@dataclass(slots=True)
class Station:
    """One runner process."""

    id: RunnerId
    device: str
    phase: Phase
    since_s: Seconds
    until_s: Seconds
    port: int = 0
    key: bytes = b""
    tenancy: Tenancy | None = None
    busy: RunnerBusy | None = None
    busy_seen_s: Seconds = -math.inf
    killed: bool = False
    soiled_by: bytes = b""
    """The submitter whose plug-in kernel has run here: nobody else may use what it left."""

    def enter(self, phase: Phase, now: Seconds, until_s: Seconds) -> None:
        """Begin a phase that ends by itself at ``until_s``."""
        self.phase = phase
        self.since_s = now
        self.until_s = until_s

    def rest(self, now: Seconds, settings: JobSettings) -> None:
        """Be free for the next lease."""
        self.enter(Phase.IDLE, now, now + settings.runner_idle_s)

    def dismiss(self, now: Seconds, settings: JobSettings, *, kill: bool) -> Stop:
        """Begin to leave; return the order that the runner gets."""
        self.killed = kill
        self.enter(Phase.STOPPING, now, now + settings.runner_stop_s)
        return Stop(self.id, kill)

    def due(self) -> Seconds:
        """Return when it must be looked at."""
        return self.until_s if self.tenancy is None else self.tenancy.expires_s

    def at_a_task_s(self, now: Seconds) -> Seconds:
        """Return how long it has been at its task, as far as we know; 0 when at none of late."""
        if self.busy is None or now - self.busy_seen_s > 2.0:  # noqa: PLR2004 - two reports
            return 0.0
        return self.busy.elapsed_s + (now - self.busy_seen_s)


@dataclass(slots=True)
class Waiting:
    """A lease request that no runner was free for."""

    desk: NodeId
    request: LeaseRequest
    slots: int
    since_s: Seconds

    @property
    def priority(self) -> int:
        """The job's priority, within what one may ask for."""
        return max(-MOST_PRIORITY, min(MOST_PRIORITY, self.request.priority))

    def waited_s(self, now: Seconds) -> Seconds:
        """Return how long its job has waited, here and before it came."""
        before_s = self.request.waited_s
        before_s = min(before_s, _MOST_WAITED_S) if before_s > 0 else 0.0
        return before_s + max(0.0, now - self.since_s)


@dataclass(slots=True)
class Workplace:
    """One device as the bench runs it."""

    spec: BenchDevice
    state: DeviceHealth = DeviceHealth.WARMING
    complaint: Complaint = UNTRIED
    canary: str = ""
    heat: Heat = COOL
    proofs: int = 0
    """Rounds of canaries in a row that it still has to pass; it is in quarantine until then."""
    canary_failures: int = 0
    todo: list[str] = field(default_factory=list)
    """Kernels whose canary is still to run in the round at hand."""
    passed_s: Seconds | None = None
    failures: int = 0
    faults: int = 0
    """Faults of its hardware that were answered with a quarantine."""
    retry_s: Seconds | None = None
    rates: dict[str, float] = field(default_factory=dict)
    told_rates: dict[str, float] = field(default_factory=dict)
    proven: dict[str, None] = field(default_factory=dict)
    """Kernels whose rate work has measured, not only a canary."""
    admission: Admission = ADMITTED
    """Whether it may take work, as the node's gate says."""
    queue: list[Waiting] = field(default_factory=list)
    stations: dict[RunnerId, Station] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        """Whether its canaries passed and nothing has gone wrong since."""
        return self.state is DeviceHealth.OK

    def feel(self, now: Seconds, settings: JobSettings) -> None:
        """Take in how warm it is."""
        self.heat = after(self.heat, self.spec.warmth, now, settings)

    def room(self, settings: JobSettings) -> int:
        """Return how many of its slots may be under a lease if one more is to be granted."""
        if self.admission.code:
            return 0
        if not self.heat.hot:
            return self.spec.slots
        return max(1, int(self.spec.slots * settings.hot_share))

    def count(self, *phases: Phase) -> int:
        """Return how many runners are in one of these phases."""
        return sum(station.phase in phases for station in self.stations.values())

    def first(self, phase: Phase) -> Station | None:
        """Return the oldest runner in a phase."""
        for station in self.stations.values():
            if station.phase is phase:
                return station
        return None

    def _held(self, waiting: Waiting) -> tuple[int, int]:
        """Return how many runners the job of a request holds, and its desk."""
        theirs = [
            station.tenancy
            for station in self.stations.values()
            if station.tenancy is not None and station.tenancy.desk == waiting.desk
        ]
        same_job = sum(tenancy.lease.job == waiting.request.job for tenancy in theirs)
        return same_job, len(theirs)

    def idle_for(self, submitter_key: bytes) -> Station | None:
        """Return a free runner that a submitter may use, one that knows it before a fresh one."""
        fit = [
            station
            for station in self.stations.values()
            if station.phase is Phase.IDLE and station.soiled_by in {b"", submitter_key}
        ]
        return max(fit, key=lambda station: bool(station.soiled_by), default=None)

    def held_by(self, desk: NodeId, job: JobId) -> list[Station]:
        """Return the runners leased to a job."""
        return [
            station
            for station in self.stations.values()
            if station.tenancy is not None
            and (station.tenancy.desk, station.tenancy.lease.job) == (desk, job)
        ]

    def line_up(self, now: Seconds, aging_s: Seconds) -> list[Waiting]:
        """Return who waits, in the order of their turns.

        Highest rank first; then the job, then the desk, that holds least, then the first. Desks
        count after jobs, so that one desk with many jobs does not crowd out the others.
        """

        def order(each: Waiting) -> tuple[int, int, int]:
            same_job, same_desk = self._held(each)
            return -self.rank(each, now, aging_s), same_job, same_desk

        return sorted(self.queue, key=order)

    def next_waiting(self, now: Seconds, aging_s: Seconds) -> Waiting | None:
        """Return who gets the next runner; None when whoever it is must wait for memory.

        Who needs more memory than is left is passed over for a while, then kept room for.
        """
        for waiting in self.line_up(now, aging_s):
            if waiting.request.memory_bytes <= self.left_bytes:
                return waiting
            if now - waiting.since_s >= aging_s:
                return None
        return None

    def rank(self, waiting: Waiting, now: Seconds, aging_s: Seconds) -> int:
        """Return the priority of one that waits, raised for as long as it has had no runner."""
        held = self._held(waiting)[0]
        return waiting.priority + (0 if held else int(waiting.waited_s(now) / aging_s))

    @property
    def reserved_bytes(self) -> int:
        """Memory that leases were promised."""
        return sum(
            station.tenancy.memory_bytes
            for station in self.stations.values()
            if station.tenancy is not None
        )

    @property
    def left_bytes(self) -> float:
        """Memory that nobody was promised; without end when the device does not tell its size."""
        return self.spec.memory_bytes - self.reserved_bytes if self.spec.memory_bytes else math.inf

    def enqueue(self, desk: NodeId, request: LeaseRequest, slots: int, now: Seconds) -> None:
        """Let a request wait; one of the same job replaces its older self and keeps its place."""
        for waiting in self.queue:
            if (waiting.desk, waiting.request.job) == (desk, request.job):
                # How long it waited elsewhere was told when it came; since then we count.
                waited_s = waiting.request.waited_s
                waiting.request = msgspec.structs.replace(request, waited_s=waited_s)
                waiting.slots = slots
                return
        self.queue.append(Waiting(desk, request, slots, now))

    def victim(self, waiting: Waiting, now: Seconds, settings: JobSettings) -> Station | None:
        """Return the leased runner that should go to one that waits; None for no one.

        A lease is taken when it stands idle, or when its job has had its turn and is of lower
        rank, or of the same and holds at least two more than the one that waits (or that one
        holds none). Runners at a long task are left alone: all of its work would be lost.
        """
        theirs = (waiting.desk, waiting.request.job)
        mine = len(self.held_by(*theirs))
        rank = self.rank(waiting, now, settings.aging_s)
        best: tuple[int, int, Seconds] | None = None
        chosen: Station | None = None
        for station in self.stations.values():
            tenancy = station.tenancy
            if tenancy is None or (tenancy.desk, tenancy.lease.job) == theirs:
                continue
            at_a_task_s = station.at_a_task_s(now)
            if now - tenancy.active_s >= settings.idle_lease_s and not at_a_task_s:
                return station
            held = len(self.held_by(tenancy.desk, tenancy.lease.job))
            fair = held <= mine + 1 and mine > 0
            if tenancy.priority > rank or (tenancy.priority == rank and fair):
                continue
            young = now - tenancy.granted_s < settings.quantum_s
            if young or at_a_task_s > settings.quantum_s / 5:
                continue
            order = (tenancy.priority, -held, tenancy.granted_s)
            if best is None or order < best:
                best, chosen = order, station
        return chosen

    def learn(self, tally: RunnerTally, lanes: int) -> bool:
        """Take in what a runner measured; return whether it is news.

        Tasks that are short, or of fewer points than the kernel works on at a time, say less of
        the device than of what each task costs besides: from them only the better is believed.

        Args:
            tally: What the runner did.
            lanes: Points the kernel works on at a time.
        """
        if not (tally.busy_s > 0 and 0 < tally.ops < math.inf and tally.tasks > 0):
            return False
        rate = tally.ops / tally.busy_s
        few = tally.points < min(lanes, _VECTOR) * tally.tasks
        small = few or tally.busy_s < _FULL_TASK_S * tally.tasks
        if small and rate <= self.rates.get(tally.kernel, 0.0):
            return False
        if tally.kernel not in self.proven and not small:
            # Work says more than a canary did: what that measured does not count any more.
            self.proven[tally.kernel] = None
            self.rates.pop(tally.kernel, None)
        return self.learn_rate(tally.kernel, rate)

    def learn_rate(self, kernel: str, rate: float) -> bool:
        """Fold one measured rate (ops per second) in; return whether it is news."""
        if not 0 < rate < math.inf:
            return False
        known = self.rates.get(kernel)
        self.rates[kernel] = rate if known is None else known + _NEWEST * (rate - known)
        told = self.told_rates.get(kernel)
        if told is not None and abs(self.rates[kernel] - told) <= _NEWS * told:
            return False
        self.told_rates[kernel] = self.rates[kernel]
        return True

    def status(self) -> DeviceStatus:
        """Return the device as others should see it."""
        hot = self.well and self.heat.hot
        complaint = self.complaint
        if hot:
            complaint = Complaint(self.heat.why, _HOT_FIX)
        elif self.well:
            complaint = Complaint(self.spec.why, self.spec.fix)
        return DeviceStatus(
            name=self.spec.name,
            state=(DeviceHealth.HOT if hot else self.state).value,
            why=complaint.why,
            fix=complaint.fix,
            slots=self.spec.slots,
            busy=sum(station.tenancy is not None for station in self.stations.values()),
            runners=len(self.stations),
            waiting=sum(waiting.slots for waiting in self.queue),
            warm=self.count(Phase.IDLE, Phase.CANARY) if self.well else 0,
            reserved_bytes=self.reserved_bytes,
            rates=dict(sorted(self.told_rates.items())),
            tried=tuple(name for name in sorted(self.told_rates) if name not in self.proven),
            canary=self.canary,
        )
