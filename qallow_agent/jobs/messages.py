"""Every message about jobs that leaves a process: client to desk, desk to bench.

The *desk* is the owner's side (the node a client talks to), the *bench* the executor's side,
the *submitter* the client process whose dispatcher talks to runners under a lease.
"""

from enum import StrEnum
from typing import Any

import msgspec

from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.joules import Joules
from qallow_agent.base.message import Message
from qallow_agent.jobs.epochs import JobStep, KeepEpoch
from qallow_agent.jobs.opinions import OPINIONS, AuditDone


class JobState(StrEnum):
    """Where a job is in its life."""

    SUBMITTED = "submitted"
    PLACED = "placed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class JobOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job wants to be run.

    Args:
        deadline_s: Seconds from submission until the whole job must be done; 0 for none.
        start_s: Seconds a job may wait for its first lease before it fails with the reason.
        task_limit_s: Seconds one task may run before its runner is killed; 0 for the bench's own.
        retries: Times a task is run again after its executor was lost (not after it raised).
        device: ``any``, a kind (``cpu``, ``gpu``) or ``node-name/device-name``.
        prefer: ``latency``, ``throughput`` or ``energy``.
        priority: Higher first; 0 is normal.
        idempotency_key: Submitting again under the same key returns the same job.
        retain: Keep results at the desk for later retrieval.
        max_joules: Gross joules the whole job may use; 0 for any number.
        data_class: What kind of data it works on: zones admit some classes only.
        verify: Different devices that each task runs on: 1, or 2 or 3 whose answers must agree.
        checkpoint_every: Ticks between the states of a long run that are kept, so that it can go
            on from there; 0 for 1,000 where the run is worth it.
        fingerprint: Hash what goes in and comes out, for the receipt.
    """

    deadline_s: float = 0.0
    start_s: float = 60.0
    task_limit_s: float = 0.0
    retries: int = 3
    device: str = "any"
    prefer: str = "throughput"
    priority: int = 0
    idempotency_key: str = ""
    retain: bool = False
    max_joules: float = 0.0
    data_class: str = "public"
    verify: int = 1
    checkpoint_every: int = 0
    fingerprint: bool = True


class Demand(msgspec.Struct, frozen=True):
    """What one task costs, as its kernel declares it."""

    ops: float
    memory_bytes: int
    input_bytes: int = 0
    output_bytes: int = 0


# --- client <-> desk (over the control socket) ----------------------------------------------------


class OpenSession(Message, tag="session.open"):
    """A client process introduces the CURVE key it will show to runners."""

    curve_key: bytes
    release: str


class SessionOpened(Message, tag="session.opened"):
    """Who the client talks to."""

    node: NodeId
    name: str
    mesh_name: str
    release: str


class SubmitJob(Message, tag="job.submit"):
    """A client asks for leases to run ``points`` evaluations of a kernel (0: open-ended).

    ``sample`` is a typical point, swept parameters included: it is validated and its demand
    estimated. ``slots``: how many runners could be kept busy. ``extremes``: ends of swept ones.
    """

    kernel: str
    points: int
    sample: dict[str, Any]
    slots: int
    options: JobOptions = JobOptions()
    extremes: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict)


class JobAccepted(Message, tag="job.accepted"):
    """The job has an owner. ``known`` when the idempotency key named an existing job.

    ``slots``: runners that are asked for, by the rates known here; ``ops``: of one point.
    ``audit_share``: of tasks shorter than ``audit_task_s``, what is to be run a second time.
    """

    job: JobId
    state: JobState
    kernel_hash: str
    known: bool = False
    warnings: tuple[str, ...] = ()
    slots: int = 0
    ops: float = 0.0
    audit_share: float = 0.0
    audit_task_s: float = 0.0


class JobProgress(Message, tag="job.progress"):
    """How far the submitter is, and that it lives.

    ``share``: points by ``node-name/device``; ``links``: bytes per second seen on the way there.
    """

    job: JobId
    done: int
    failed: int
    rerun: int
    share: dict[str, int] = msgspec.field(default_factory=dict)
    links: dict[str, float] = msgspec.field(default_factory=dict)


class OutputColumn(msgspec.Struct, frozen=True, array_like=True):
    """One output of a kernel: its name, dtype and the shape that it has at one point."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()


class Fingerprint(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went into a job and came out of it, as hashes; empty where it has none.

    ``columns`` say how the outputs are laid out, where all points have the same.
    """

    inputs: bytes = b""
    outputs: bytes = b""
    columns: tuple[OutputColumn, ...] = ()


class JobEnded(Message, tag="job.ended"):
    """The submitter has every result (or gave up): the desk releases the leases."""

    job: JobId
    state: JobState
    progress: JobProgress
    error: str = ""
    fingerprint: Fingerprint = Fingerprint()


class JobCancel(Message, tag="job.cancel"):
    """Cancel a job; from its client or another one on this node."""

    job: JobId


class JobStopped(Message, tag="job.stopped"):
    """The desk tells the submitter that the job is over and why."""

    job: JobId
    state: JobState
    code: str
    reason: str
    hint: str = ""
    document: bytes = b""


class MoreSlots(Message, tag="job.more"):
    """The submitter could use runners again (work came back or never started).

    ``places``: different devices they must be on.
    """

    job: JobId
    slots: int
    places: int = 1


class LeaseBroken(Message, tag="lease.broken"):
    """The submitter cannot reach this lease's runner: take it back and find another one."""

    job: JobId
    lease: LeaseId
    reason: str


class LeaseStarved(Message, tag="job.starved"):
    """No lease can be had right now and why; the desk keeps trying until ``start_s``."""

    job: JobId
    reason: str
    hint: str = ""


class Deposit(Message, tag="job.deposit"):
    """A part of a job's retained result: opaque bytes in order, at most 4 MiB each."""

    job: JobId
    part: int
    data: bytes
    last: bool = False


class Fetch(Message, tag="job.fetch"):
    """Ask for a retained result; answered by Deposit parts, or a Failure that says why not.

    With an epoch ask for that state of its run instead; answered by KeepEpoch parts.
    """

    job: JobId
    epoch: int | None = None


class ListJobs(Message, tag="job.list"):
    """Ask for the jobs this desk knows; answered by a Report."""

    job: JobId | None = None


# --- desk <-> bench (mesh) ------------------------------------------------------------------------


class Lease(msgspec.Struct, frozen=True):
    """An executor's signed promise: this submitter may run this kernel on this runner.

    ``expires_s`` is wall time; the runner enforces it on its own monotonic clock from ``ttl_s``.
    ``parcels`` is the version of parcels that the runner reads and writes.
    """

    id: LeaseId
    job: JobId
    node: NodeId
    node_name: str
    device: str
    runner: RunnerId
    kernel: str
    kernel_hash: str
    credits: int
    ttl_s: float
    expires_s: float
    hosts: tuple[str, ...]
    port: int
    runner_key: bytes
    submitter_key: bytes
    signature: bytes = b""
    parcels: int = 1


class LeaseRequest(Message, tag="lease.request"):
    """A desk asks a bench for up to ``slots`` runners of one device.

    ``priority`` is the job's, ``waited_s`` how long it has had no runner at all: whoever waits
    rises, so that nobody waits for ever. ``data_class`` is what kind of data it works on.
    ``shadow``: only for copies of what others answered too. ``lacked``: slots that it still lacks
    in all, these included; ``places``: different devices that each task runs on; ``ops``:
    operations that are left to do, 0 when it does not tell.
    """

    job: JobId
    kernel: str
    kernel_hash: str
    device: str
    slots: int
    submitter_key: bytes
    memory_bytes: int
    task_limit_s: float = 0.0
    priority: int = 0
    waited_s: float = 0.0
    data_class: str = "public"
    shadow: bool = False
    lacked: int = 0
    places: int = 1
    ops: float = 0.0


class LeaseGrant(Message, tag="lease.grant"):
    """One runner, granted; ``rate`` is what its executor measured there, ops per second, if any.

    ``shadow``, said by the desk: its device is on trial, and nothing it answers is to be delivered.
    ``admitted``: the score under which the executor took the work, for the receipt; opaque here.
    """

    lease: Lease
    rate: float = 0.0
    shadow: bool = False
    admitted: bytes = b""


class LeaseRefusal(Message, tag="lease.refusal"):
    """No runner of this device (or fewer than asked), and why.

    ``document`` is all of why, where the executor's gate refused: opaque here.
    """

    job: JobId
    device: str
    code: str
    reason: str
    hint: str = ""
    document: bytes = b""


class LeaseRenew(Message, tag="lease.renew"):
    """The desk still needs these leases; silence lets them expire."""

    leases: tuple[LeaseId, ...]


class LeaseRelease(Message, tag="lease.release"):
    """The desk is done with these leases."""

    leases: tuple[LeaseId, ...]


class LeaseRevoked(Message, tag="lease.revoked"):
    """The bench takes a lease back. ``task`` names the one that killed the runner, if one did."""

    lease: LeaseId
    code: str
    reason: str
    task: int | None = None
    attempt: int | None = None


class LeaseLost(Message, tag="lease.lost"):
    """The desk tells the submitter that a lease is gone: re-run what was in flight elsewhere."""

    lease: LeaseId
    code: str
    reason: str
    task: int | None = None
    attempt: int | None = None


class JobEnergy(Message, tag="job.energy"):
    """A bench tells a desk what a job has used on one of its devices, all in all.

    ``account`` names what it was added up in: a later message about the same one replaces it, and
    once ``settled`` it grows no more. ``ops`` and ``busy_s`` are of the work it was used for.
    """

    job: JobId
    device: str
    account: str
    joules: Joules
    ops: float
    busy_s: float
    settled: bool


JOB_KINDS: tuple[type[Message], ...] = (
    LeaseRequest, LeaseGrant, LeaseRefusal, LeaseRenew, LeaseRelease, LeaseRevoked, JobEnergy,
    *OPINIONS,
)  # fmt: skip
"""Kinds that members may send each other about jobs."""

CONTROL_JOB_KINDS: tuple[type[Message], ...] = (
    OpenSession, SessionOpened, SubmitJob, JobAccepted, JobProgress, JobEnded, JobCancel,
    JobStopped, MoreSlots, LeaseStarved, LeaseBroken, LeaseGrant, LeaseLost, Deposit, Fetch,
    ListJobs, AuditDone, JobStep, KeepEpoch,
)  # fmt: skip
"""Kinds spoken between a client and its desk over the control socket."""
