"""A workplace: one device with its runners, their leases, and who waits for them."""

import math
from dataclasses import dataclass, field
from enum import Enum

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.ids import JobId, NodeId, RunnerId
from qallow_agent.base.machine import Stop
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.heat import COOL, Heat, after
from qallow_agent.jobs.local import RunnerBusy, RunnerTally
from qallow_agent.jobs.messages import Lease, LeaseRequest
from qallow_agent.jobs.model import BenchDevice, DeviceHealth, DeviceStatus
from qallow_agent.jobs.settings import JobSettings

UNTRIED = Complaint("its canary has not run yet", "wait for it: it starts by itself")
_HOT_FIX = "give it cooler air, clean its fans, or lower its power limit; running work goes on"

_NEWEST = 0.3
"""Weight of the newest rate: smooths over single odd tasks, follows heat within a minute."""
_NEWS = 0.2
"""A rate that moved by more than this is worth telling."""


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

    def held_by(self, desk: NodeId, job: JobId) -> list[Station]:
        """Return the runners leased to a job."""
        return [
            station
            for station in self.stations.values()
            if station.tenancy is not None
            and (station.tenancy.desk, station.tenancy.lease.job) == (desk, job)
        ]

    def next_waiting(self) -> Waiting:
        """Return whose turn it is: the job, then the desk, that holds least, then the first.

        Desks count after jobs, so that one desk with many jobs does not crowd out the others.
        """

        def held(each: Waiting) -> tuple[int, int]:
            stations = self.stations.values()
            theirs = [
                station.tenancy
                for station in stations
                if station.tenancy is not None and station.tenancy.desk == each.desk
            ]
            same_job = sum(tenancy.lease.job == each.request.job for tenancy in theirs)
            return same_job, len(theirs)

        return min(self.queue, key=held)

    def enqueue(self, desk: NodeId, request: LeaseRequest, slots: int, now: Seconds) -> None:
        """Let a request wait; one of the same job replaces its older self and keeps its place."""
        for waiting in self.queue:
            if (waiting.desk, waiting.request.job) == (desk, request.job):
                waiting.request, waiting.slots = request, slots
                return
        self.queue.append(Waiting(desk, request, slots, now))

    def victim(self, now: Seconds, quantum_s: Seconds, idle_s: Seconds) -> Station | None:
        """Return the leased runner that should go to the next one waiting; None for no one.

        A lease is taken when it stands idle, or when its job has had its turn and holds at least
        two more than the one that waits (or that one holds none). Runners at a long task are
        left alone: all of its work would be lost.
        """
        if not self.queue:
            return None
        waiting = self.next_waiting()
        theirs = (waiting.desk, waiting.request.job)
        mine = len(self.held_by(*theirs))
        best: tuple[int, Seconds] | None = None
        chosen: Station | None = None
        for station in self.stations.values():
            tenancy = station.tenancy
            if tenancy is None or (tenancy.desk, tenancy.lease.job) == theirs:
                continue
            at_a_task_s = station.at_a_task_s(now)
            if now - tenancy.active_s >= idle_s and not at_a_task_s:
                return station
            held = len(self.held_by(tenancy.desk, tenancy.lease.job))
            fair = held <= mine + 1 and mine > 0
            if fair or now - tenancy.granted_s < quantum_s or at_a_task_s > quantum_s / 5:
                continue
            rank = (-held, tenancy.granted_s)
            if best is None or rank < best:
                best, chosen = rank, station
        return chosen

    def learn(self, tally: RunnerTally) -> bool:
        """Take in what a runner measured; return whether it is news."""
        if not (tally.busy_s > 0 and 0 < tally.ops < math.inf):
            return False
        return self.learn_rate(tally.kernel, tally.ops / tally.busy_s)

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
            rates=dict(sorted(self.told_rates.items())),
            canary=self.canary,
        )
