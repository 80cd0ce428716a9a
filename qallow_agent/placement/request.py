"""What the router is asked, what it may choose from, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from qallow_agent.base.ids import NodeId
from qallow_agent.base.units import Seconds

Preference = Literal["latency", "throughput", "energy"]
State = Literal["warming", "ok", "hot", "quarantined", "lost"]


@dataclass(frozen=True, slots=True)
class Request:
    """A wish for runners.

    Args:
        kernel: The kernel's name.
        kernel_hash: Its content hash; another hash would compute something else.
        slots: Runners wanted, at least 1.
        points: Evaluations of the whole job; 0 for open-ended.
        ops: Operations of one point.
        memory_bytes: Memory one task needs.
        transfer_bytes: Input and output of one point.
        device: ``any``, a device kind, ``gpu``, or ``node-name/device-name``.
        prefer: ``latency``, ``throughput`` or ``energy``.
        avoid: ``node-id/device`` that refused just now.
        shut: Those of them of which the gate ``refuses`` or ``forbids`` this very job.
        max_joules: Gross joules the whole job may use; 0 for any number.
        places: Different devices the job needs in all: each task runs on so many.
        held: ``node-id/device`` that it has, or has asked.
    """

    kernel: str
    kernel_hash: str
    slots: int
    points: int = 0
    ops: float = 1.0
    memory_bytes: int = 0
    transfer_bytes: int = 0
    device: str = "any"
    prefer: str = "throughput"
    avoid: tuple[str, ...] = ()
    max_joules: float = 0.0
    places: int = 1
    held: tuple[str, ...] = ()
    shut: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One device of one live member, as the advert book and our measurements know it.

    Args:
        kernels: Kernel -> content hash, of the kernels the node has for this device's kind.
        rate: Measured ops per second of the wanted kernel on one slot; None when never run there.
        tried: Only the kernel's canary has measured that rate, no work yet.
        rtt_s: Round-trip time to the node; 0 for this node itself.
        rtt_assumed: It was not measured yet.
        bandwidth_bytes: Measured bytes per second to the node; None when nothing large went there.
        start_s: Measured seconds until a runner serves where none is warm; None when unknown.
        warm: Runners that are up and free.
        waiting: Slots that others wait for.
        reserved_bytes: Memory promised to leases.
        available_bytes: Memory that nobody uses, as its sensors say; None when they do not.
        model: What people call the device.
        joules_per_op: Gross, measured or estimated; None when unknown.
        metered: Something counts its joules.
        simulated: Only chosen when named.
        gate: Empty while it takes new work, else ``defers``, ``refuses`` or ``forbids``.
        gate_why: Why it does, in one line.
        gate_fix: What would open it.
        e: Its measured admission score, in thousandths; None when it has none.
        barred: Why the mesh's policy keeps our jobs from here; empty when it does not.
        trial: It takes copies of work that others do too, and nothing else.
    """

    node: NodeId
    node_name: str
    device: str
    kind: str
    state: str
    slots: int
    busy: int
    memory_bytes: int
    kernels: dict[str, str]
    rate: float | None = None
    tried: bool = False
    rtt_s: Seconds = 0.0
    rtt_assumed: bool = False
    bandwidth_bytes: float | None = None
    start_s: Seconds | None = None
    warm: int = 0
    waiting: int = 0
    reserved_bytes: int = 0
    available_bytes: float | None = None
    model: str = ""
    joules_per_op: float | None = None
    metered: bool = False
    simulated: bool = False
    why: str = ""
    gate: str = ""
    gate_why: str = ""
    gate_fix: str = ""
    e: int | None = None
    barred: str = ""
    trial: bool = False

    def with_own(self, held: int, asked: int) -> "Candidate":
        """Return the candidate as an owner knows it that has ``held`` slots and ``asked`` for more.

        Its advert may be older than what the owner itself did since.
        """
        busy = max(self.busy, held)
        if busy == self.busy and asked <= self.waiting:
            return self
        warm = max(0, min(self.warm, self.slots - busy - asked))
        return replace(self, busy=busy, waiting=max(self.waiting, asked), warm=warm)

    @property
    def key(self) -> str:
        """The name under which a desk avoids it."""
        return f"{self.node}/{self.device}"

    @property
    def label(self) -> str:
        """The name people know it by."""
        return f"{self.node_name}/{self.device}"

    @property
    def free(self) -> int:
        """Slots without a lease."""
        return max(0, self.slots - self.busy)


@dataclass(frozen=True, slots=True)
class Allotment:
    """So many slots of a device, and why in one line; ``cold`` when no runner is warm there."""

    node: NodeId
    device: str
    slots: int
    why: str
    cold: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the router thought of one candidate.

    Args:
        score: Estimated cost, lower is better: seconds, or joules when energy is preferred and
            known; None when it was filtered out.
        why: The reason, or how the score came about.
        lasting: Filtered out for good, not only for now.
        slots: Slots that were chosen of it.
        change: What would have it chosen; empty when it was.
    """

    label: str
    score: float | None
    why: str
    lasting: bool = False
    slots: int = 0
    change: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The router's answer, with every candidate's verdict, best first.

    Args:
        reason: Why there are no choices; empty when there are some.
        hint: What would change that.
        never: No known device could ever run this.
        denied: ``refuses`` or ``forbids`` when the gates of all that could run it do.
        closed: Key of the device whose gate is nearest to letting it in; empty when none is closed.
    """

    choices: tuple[Allotment, ...]
    explanation: tuple[Verdict, ...]
    reason: str = ""
    hint: str = ""
    never: bool = False
    denied: str = ""
    closed: str = ""
