"""What a person or program asks its local agent over the control socket, besides jobs."""

from typing import Literal

from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Done, Failure, Message, Report
from qallow_agent.ethics.messages import CONTROL_POLICY_KINDS
from qallow_agent.jobs.messages import CONTROL_JOB_KINDS, SubmitJob


class GetStatus(Message, tag="ask.status"):
    """The whole picture; answered by Report ``qallow.status/v1``."""


class GetPeers(Message, tag="ask.peers"):
    """Every known member; answered by Report ``qallow.peers/v1``."""


class GetDevices(Message, tag="ask.devices"):
    """Every device of every member; answered by Report ``qallow.devices/v1``."""


class GetDiagnosis(Message, tag="ask.diagnosis"):
    """What the agent itself can check; answered by Report ``qallow.diagnosis/v1``."""


class GetEnergy(Message, tag="ask.energy"):
    """What jobs of this node used since ``since_s`` (wall time), summed up ``by`` something.

    Answered by Report ``qallow.energy/v1``.
    """

    by: Literal["job", "kernel", "node", "day"] = "kernel"
    since_s: float = 0.0


class GetReceipt(Message, tag="ask.receipt"):
    """The receipt of a job, with the proof that it is logged; answered by ``qallow.receipt/v1``.

    The answer waits up to ``patience_s`` for a head that covers it, and with ``certified`` for one
    that a quorum has cosigned; what is there then is the answer.
    """

    job: JobId
    certified: bool = False
    patience_s: float = 5.0


class Explain(Message, tag="ask.explain"):
    """Why something runs where it runs; answered by Report ``qallow.explain/v1``.

    Either ``subject``, a job or a node by id or name, or ``order``: where that would run now.
    """

    subject: str = ""
    order: SubmitJob | None = None


class CreateInvite(Message, tag="do.invite"):
    """Make an invite; answered by Report ``qallow.invite/v1`` with the one-line token."""

    roles: tuple[str, ...] = ("worker", "submitter")
    zone: str = "default"
    uses: int = 1
    lifetime_s: float = 3600.0
    hosts: tuple[str, ...] = ()


class LeaveMesh(Message, tag="do.leave"):
    """Say goodbye to the mesh and stop; the certificate is forgotten."""


class StopAgent(Message, tag="do.stop"):
    """Drain and stop; ``now`` skips the drain."""

    now: bool = False


class Revoke(Message, tag="do.revoke"):
    """End another node's membership for ever; needs the issuing role."""

    node: str
    reason: str = ""


class StoreState(Message, tag="fact.store"):
    """The driver tells its node that the disk failed, or (empty) that it works again."""

    trouble: str


CONTROL_KINDS: tuple[type[Message], ...] = (
    GetStatus, GetPeers, GetDevices, GetDiagnosis, GetEnergy, GetReceipt, Explain, CreateInvite,
    LeaveMesh, StopAgent,
    Revoke, Report, Done, Failure, *CONTROL_JOB_KINDS,
    *CONTROL_POLICY_KINDS,
)  # fmt: skip
"""Every kind spoken on the control socket."""
