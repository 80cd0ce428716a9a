"""What the router is asked, what it may choose from, and what it answers."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """One device of one live member, as the advert book and our measurements know it.

    Args:
        kernels: Kernel -> content hash, of the kernels the node has for this device's kind.
        rate: Measured ops per second of the wanted kernel on one slot; None when never run there.
        rtt_s: Round-trip time to the node; 0 for this node itself.
        joules_per_op: Measured or estimated; None when unknown.
        simulated: Only chosen when named.
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
    rtt_s: Seconds = 0.0
    joules_per_op: float | None = None
    simulated: bool = False
    why: str = ""

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
    """So many slots of a device, and why in one line."""

    node: NodeId
    device: str
    slots: int
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the router thought of one candidate.

    Args:
        score: Estimated cost, lower is better: seconds, or joules when energy is preferred and
            known; None when it was filtered out.
        why: The reason, or how the score came about.
        lasting: Filtered out for good, not only for now.
    """

    label: str
    score: float | None
    why: str
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The router's answer, with every candidate's verdict, best first.

    Args:
        reason: Why there are no choices; empty when there are some.
        hint: What would change that.
        never: No known device could ever run this.
    """

    choices: tuple[Allotment, ...]
    explanation: tuple[Verdict, ...]
    reason: str = ""
    hint: str = ""
    never: bool = False
