"""Messages about jobs that stay on a node: bench to runner, and facts between desk and hallway."""

import msgspec

from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.joules import Joules
from qallow_agent.base.message import Message
from qallow_agent.jobs.opinions import Comparison
from qallow_agent.jobs.story import Judged

# --- bench <-> runner (local) ---------------------------------------------------------------------


class RunnerReady(Message, tag="runner.ready"):
    """A runner listens: its port, its CURVE key, its process id."""

    port: int
    curve_key: bytes
    pid: int


class RunnerBusy(Message, tag="runner.busy"):
    """What a runner has been running since ``elapsed_s`` ago; sent only while leases exist."""

    lease: LeaseId
    task: int
    attempt: int
    elapsed_s: float


class RunnerRests(Message, tag="runner.rests"):
    """A runner whose lease has ended was looked at, and is at no task any more."""


class RunnerExited(Message, tag="runner.exited"):
    """A runner process ended; what it was running then, if anything."""

    reason: str
    lease: LeaseId | None = None
    task: int | None = None
    attempt: int | None = None


class RunnerTally(Message, tag="runner.tally"):
    """What a runner did under a lease since its last tally: tasks, points, ops, busy seconds.

    The first of these tasks began ``began_s`` ago, the last ended ``ended_s`` ago.
    """

    kernel: str
    tasks: int
    points: int
    ops: float
    busy_s: float
    lease: LeaseId = LeaseId("")
    began_s: float = 0.0
    ended_s: float = 0.0


class Allow(Message, tag="runner.allow"):
    """Serve this lease's submitter for ``ttl_s`` from now; again to extend."""

    lease: LeaseId
    submitter_key: bytes
    kernel: str
    credits: int
    ttl_s: float
    task_limit_s: float


class Forbid(Message, tag="runner.forbid"):
    """Stop serving a lease: queued tasks are dropped, the submitter's key is refused."""

    lease: LeaseId


class RunCanary(Message, tag="runner.canary"):
    """Run a kernel's known-answer test."""

    kernel: str


class CanaryDone(Message, tag="runner.canary-done"):
    """How a canary went: ``rate`` is ops per second when it passed, ``hint`` the fix when not."""

    kernel: str
    passed: bool
    why: str = ""
    seconds: float = 0.0
    rate: float = 0.0
    hint: str = ""


# --- facts between desk, bench and the hallway ----------------------------------------------------


class ClientGone(Message, tag="fact.client-gone"):
    """A control connection closed; its running jobs have lost their submitter."""


class PlacementWanted(Message, tag="fact.placement-wanted"):
    """The desk wants up to ``slots`` more leases for a job; ``avoid`` are devices that refused.

    ``places``: different devices it needs in all; ``held``: those it has, or has asked.
    ``shut``: those to avoid of which the gate refused this very job, with the error's code.
    """

    job: JobId
    slots: int
    avoid: tuple[str, ...] = ()
    places: int = 1
    held: tuple[str, ...] = ()
    shut: dict[str, str] = msgspec.field(default_factory=dict)


class Choice(msgspec.Struct, frozen=True):
    """One placement: so many slots of a device, and why in one line.

    ``cold`` when no runner was warm there: how long the grant takes says how long one starts.
    """

    node: NodeId
    device: str
    slots: int
    why: str
    cold: bool = False


class PlacementMade(Message, tag="fact.placement-made"):
    """The router's answer; no choices means nothing fits now, and ``reason`` says why.

    ``judged`` are its verdicts, the chosen and the best first; ``more`` were left out of it.
    ``denied``, an error's code, when gates refuse whatever else fits; ``document`` says all of why.
    """

    job: JobId
    choices: tuple[Choice, ...]
    reason: str = ""
    hint: str = ""
    never: bool = False
    judged: tuple[Judged, ...] = ()
    more: int = 0
    denied: str = ""
    document: bytes = b""


class ShadowWanted(Message, tag="fact.shadow-wanted"):
    """A job could try a device on trial with copies of its work, if there is one."""

    job: JobId


class ShadowFound(Message, tag="fact.shadow-found"):
    """There is one."""

    job: JobId
    choice: Choice


class AuditsSeen(Message, tag="fact.audits-seen"):
    """A client of this node has compared answers to tasks of its job."""

    job: JobId
    kernel: str
    comparisons: tuple[Comparison, ...]


class LinkMeasured(Message, tag="fact.link-measured"):
    """A client has seen how fast bytes flow between this node and another."""

    node: NodeId
    bytes_per_s: float


class StartMeasured(Message, tag="fact.start-measured"):
    """A device on which no runner was warm took so long to grant a lease."""

    node: NodeId
    device: str
    seconds: float


class LeaseBegun(Message, tag="fact.lease-begun"):
    """The bench has granted a lease: whoever works under it works for this job."""

    lease: LeaseId
    runner: RunnerId
    job: JobId
    desk: NodeId
    device: str
    kernel: str


class LeaseOver(Message, tag="fact.lease-over"):
    """A lease has ended; its runner may still tell what it did last."""

    lease: LeaseId


class JobOver(Message, tag="fact.job-over"):
    """A job of this node has ended, or was found to have ended before a restart."""

    job: JobId


class EnergyCharged(Message, tag="fact.energy-charged"):
    """A job of this node was charged what it used on a device since the last charge."""

    kernel: str
    place: str
    joules: Joules
    ops: float
    busy_s: float


class BenchChanged(Message, tag="fact.bench-changed"):
    """Slots, states or rates of this node's devices changed: the advert should say so."""


RUNNER_KINDS: tuple[type[Message], ...] = (
    RunnerReady, RunnerBusy, RunnerTally, Allow, Forbid, RunCanary, CanaryDone,
)  # fmt: skip
"""Kinds spoken between the agent and its runners over their pipe."""
