"""Who may say what: every request of a peer is checked against its roles before a room sees it."""

from collections.abc import Mapping

from qallow_agent.base.errors import NotAllowed
from qallow_agent.base.ids import Sender
from qallow_agent.base.message import Message, kind_of
from qallow_agent.jobs.messages import (
    JobEnergy,
    LeaseGrant,
    LeaseRefusal,
    LeaseRelease,
    LeaseRenew,
    LeaseRequest,
    LeaseRevoked,
)
from qallow_agent.jobs.opinions import Consent, Dissent
from qallow_agent.ledger.kinds import (
    Assent,
    DecisionBatch,
    DecisionValidated,
    HeadCosigned,
    HeadRefused,
    ManifestVoted,
    Objection,
    SeatGiven,
)
from qallow_agent.mesh.wire.kinds import Role

SUBMITTERS = (Role.SUBMITTER, Role.OPERATOR, Role.OWNER)
"""Roles that may have work done by others."""

NEEDED: Mapping[type[Message], tuple[Role, ...]] = {
    LeaseRequest: SUBMITTERS,
    LeaseRenew: SUBMITTERS,
    LeaseRelease: SUBMITTERS,
    Dissent: SUBMITTERS,
    Consent: SUBMITTERS,
    LeaseGrant: (Role.WORKER,),
    LeaseRefusal: (Role.WORKER,),
    LeaseRevoked: (Role.WORKER,),
    JobEnergy: (Role.WORKER,),
    HeadCosigned: (Role.WORKER,),
    HeadRefused: (Role.WORKER,),
    ManifestVoted: (Role.WORKER,),
    SeatGiven: (Role.WORKER,),
    DecisionBatch: (Role.WORKER,),
    DecisionValidated: (Role.WORKER,),
    Assent: (Role.WORKER,),
    Objection: (Role.WORKER,),
}
"""Kind -> roles of which the sender needs one. What is not listed any member may say."""


def check(message: Message, roles: tuple[Role, ...], sender: Sender) -> None:
    """Check that a sender may say this.

    Raises:
        NotAllowed: It holds none of the roles that the kind needs.
    """
    needed = NEEDED.get(type(message))
    if needed is not None and not any(role in needed for role in roles):
        raise NotAllowed(
            f"{sender} may not say {kind_of(message)!r}: it holds {', '.join(roles) or 'no role'}",
            hint=f"invite it with one of the roles {', '.join(needed)}",
        )
