"""What a job, a device and a lease's end are; the life of a job as a table."""

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from qallow_agent.base.canonical import digest
from qallow_agent.base.complaint import NOTHING, Complaint
from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import JobId, NodeId
from qallow_agent.base.joules import Joules
from qallow_agent.jobs.heat import UNKNOWN, Warmth
from qallow_agent.jobs.messages import Demand, Fingerprint, JobOptions, JobState, SubmitJob
from qallow_agent.jobs.story import Story


class JobEvent(StrEnum):
    """What may happen to a job."""

    ASKED = "asked"
    """Leases were requested of benches."""
    LEASED = "leased"
    """A lease was granted."""
    STARVED = "starved"
    """The last lease is gone."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_ENDS = {
    JobEvent.SUCCEEDED: JobState.SUCCEEDED,
    JobEvent.FAILED: JobState.FAILED,
    JobEvent.CANCELLED: JobState.CANCELLED,
    JobEvent.EXPIRED: JobState.EXPIRED,
}
_LIVING = (JobState.SUBMITTED, JobState.PLACED, JobState.RUNNING)

TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    (JobState.SUBMITTED, JobEvent.ASKED): JobState.PLACED,
    (JobState.SUBMITTED, JobEvent.LEASED): JobState.RUNNING,
    (JobState.SUBMITTED, JobEvent.STARVED): JobState.SUBMITTED,
    (JobState.PLACED, JobEvent.ASKED): JobState.PLACED,
    (JobState.PLACED, JobEvent.LEASED): JobState.RUNNING,
    (JobState.PLACED, JobEvent.STARVED): JobState.SUBMITTED,
    (JobState.RUNNING, JobEvent.ASKED): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.LEASED): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.STARVED): JobState.SUBMITTED,
    **{(state, event): end for state in _LIVING for event, end in _ENDS.items()},
}
"""(state, event) -> state. Final states have no way out."""

FINAL = frozenset(_ENDS.values())
"""States without a way out."""

EVENT_OF_END: dict[JobState, JobEvent] = {end: event for event, end in _ENDS.items()}
"""The event that leads to a final state."""


def advance(state: JobState, event: JobEvent) -> JobState:
    """Return the state after an event.

    Raises:
        InvariantBroken: The table has no such transition.
    """
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise InvariantBroken(f"a {state} job cannot be {event}")
    return after


class LeaseEnd(StrEnum):
    """Why a lease ended before its desk released it: the codes of LeaseRevoked and LeaseLost."""

    CRASHED = "device-lost"
    """Its runner died."""
    OVERRAN = "deadline"
    """The named task ran past its limit; its runner was killed."""
    EXPIRED = "lease-expired"
    """The desk did not renew it in time."""
    UNKNOWN = "lease-unknown"
    """The bench does not know it: it restarted, or the lease ended long ago."""
    PREEMPTED = "preempted"
    """Another job's turn."""
    IDLE = "idle"
    """It did nothing while others waited."""
    DRAINING = "draining"
    """The executor is shutting down."""
    UNFIT = "device-unfit"
    """The device failed its canary or vanished."""
    NODE_DOWN = "peer-lost"
    """The executor's node is dead or has left."""
    BROKEN = "link-broken"
    """The submitter cannot reach the runner."""
    SILENT = "submitter-silent"
    """The submitter said nothing for too long."""
    NOT_ADMITTED = "not-admitted"
    """The executor's gate closed: the work goes elsewhere, or waits."""


HARMLESS_ENDS = frozenset(
    {LeaseEnd.EXPIRED, LeaseEnd.UNKNOWN, LeaseEnd.PREEMPTED, LeaseEnd.IDLE,
     LeaseEnd.DRAINING, LeaseEnd.SILENT, LeaseEnd.NOT_ADMITTED}
)  # fmt: skip
"""Ends that say nothing about the tasks in flight: running them again costs them no retry."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the hallway learnt when it validated a job: added to the client's order by the desk."""

    kernel_hash: str
    demand: Demand
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """What placement must know about a job that waits for leases."""

    order: SubmitJob
    terms: Terms


@dataclass(frozen=True, slots=True)
class BenchDevice:
    """A device the bench may start runners on.

    Args:
        kind: ``cpu``, ``cuda``, ... as in its advert.
        slots: Runners at a time.
        memory_bytes: All of its memory; 0 when unknown.
        usable: False keeps it from getting a runner; ``why`` says the reason.
        lost: It is out of reach, rather than unfit.
        why: What is wrong with it, or worth knowing.
        fix: What a person can do about that.
        faults: Faults that its hardware has told of so far; one more puts it into quarantine.
        fault: The newest of them.
        warmth: How warm it is.
    """

    name: str
    kind: str
    slots: int
    memory_bytes: int
    usable: bool = True
    lost: bool = False
    why: str = ""
    fix: str = ""
    faults: int = 0
    fault: Complaint = NOTHING
    warmth: Warmth = UNKNOWN


DEFERRED = "deferred"
"""The code of an admission under which requests wait instead of being refused."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a device may take work now, as somebody decided who knows why.

    Args:
        code: Empty when it may; ``deferred`` when requests wait; else an error's code.
        reason: Why not, in one line.
        hint: What would change that.
        document: All of why: bytes that are opaque here.
        share: Of its slots that leases may hold: those beyond it end, at 0 all of them.
        at_once: Tasks of leases that end do not finish.
    """

    code: str = ""
    reason: str = ""
    hint: str = ""
    document: bytes = b""
    share: float = 1.0
    at_once: bool = False

    @property
    def refuses(self) -> bool:
        """Whether a request is turned away at once."""
        return self.code not in {"", DEFERRED}

    def kept(self, slots: int) -> int:
        """Return how many leases may go on."""
        return max(1, int(slots * self.share)) if self.share > 0 else 0


ADMITTED = Admission()


@dataclass(frozen=True, slots=True)
class KernelOffer:
    """A kernel this node can run, and the device kinds it has a backend for.

    Args:
        lanes: Points it works on at a time.
        foreign: Its code is a plug-in's: what it leaves in a runner must meet no other submitter.
    """

    name: str
    hash: str
    kinds: tuple[str, ...]
    lanes: int = 1
    foreign: bool = False


class DeviceHealth(StrEnum):
    """What the bench knows of a device from doing work; values as in adverts.

    A hot device is one that is OK otherwise: its own leases go on.
    """

    WARMING = "warming"
    OK = "ok"
    HOT = "hot"
    QUARANTINED = "quarantined"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device as the bench sees it: for the node's advert and for ``status``.

    Args:
        state: A :class:`DeviceHealth`.
        why: What is wrong with it, or worth knowing.
        fix: What a person can do about that.
        busy: Slots under a lease.
        warm: Runners that are up and free.
        waiting: Slots that requests wait for.
        reserved_bytes: Memory that leases were promised.
        rates: Kernel -> measured ops per second on one slot.
        tried: Those of the rates that only a canary measured.
        canary: Why the last canary passed or failed, in one line.
    """

    name: str
    state: str
    why: str
    slots: int
    busy: int
    runners: int
    waiting: int
    warm: int = 0
    reserved_bytes: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    tried: tuple[str, ...] = ()
    canary: str = ""
    fix: str = ""


class EnergyTab(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job used on one device, as its bench told last.

    Args:
        place: ``node-name/device``.
        account: The bench's name for it; empty as long as it has said nothing.
        settled: It grows no more.
    """

    node: NodeId
    device: str
    place: str
    account: str = ""
    joules: Joules = Joules()
    ops: float = 0.0
    busy_s: float = 0.0
    settled: bool = False


class JobRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered and persisted of a job.

    Args:
        fingerprint: Digest of what was asked; tells whether a resubmission asks the same.
        parts: Parts of the retained result so far; ``complete`` when the last has come.
        energy: One tab for each device, and more for one whose agent restarted.
        story: Why it ran where it ran; of a job that is not over its chronicle knows more.
        refusal: What a gate said of it that never let it start.
        printed: What went in and came out, as hashes, as its submitter told.
        admitted: By ``node-name/device``, under which score it took the work; opaque here.
        receipt: The entry of its receipt in this node's log; -1 while there is none.
    """

    id: JobId
    kernel: str
    kernel_hash: str
    points: int
    options: JobOptions
    fingerprint: str
    state: JobState
    submitted_s: float
    ended_s: float = 0.0
    done: int = 0
    failed: int = 0
    rerun: int = 0
    share: dict[str, int] = msgspec.field(default_factory=dict)
    code: str = ""
    error: str = ""
    hint: str = ""
    parts: int = 0
    result_bytes: int = 0
    complete: bool = False
    energy: tuple[EnergyTab, ...] = ()
    story: Story = Story()
    refusal: bytes = b""
    printed: Fingerprint = Fingerprint()
    admitted: dict[str, bytes] = msgspec.field(default_factory=dict)
    receipt: int = -1


def fingerprint(order: SubmitJob, kernel_hash: str) -> str:
    """Return what makes two submissions the same job: kernel, points and parameters."""
    shapes = {name: list(shape) for name, shape in order.shapes.items()}
    extremes = {name: list(ends) for name, ends in order.extremes.items()}
    return digest(
        "qallow/job/v1",
        [order.kernel, kernel_hash, order.points, order.sample, extremes, shapes],
    )
