"""Grants: what the policies in force let a node have done, where; certificates are judged apart."""

from collections.abc import Iterable

from qallow_agent.base.errors import NotAllowed
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.ethics.clauses import ANY, Grant, permits
from qallow_agent.node.rooms import Rooms

SHOW = "see 'qallow-agent policy show'"


def names_of(rooms: Rooms, node: NodeId) -> tuple[str, ...]:
    """Return what grants can call a member: its id and its roles."""
    return (node, *rooms.doorkeeper.roles_of(node))


def zone_of(rooms: Rooms, node: NodeId) -> str:
    """Return the zone that a member's certificate names; empty for strangers."""
    credential = rooms.doorkeeper.credential_of(node)
    return "" if credential is None else credential.certificate.zone


def barred(rooms: Rooms, me: NodeId, kernel: str, node: NodeId) -> str:
    """Return why the mesh's policy keeps this node's jobs from another; empty when it does not.

    What owners ask beyond it, each asks at home: nobody else knows.
    """
    policy = rooms.charter.holds.mesh
    zone = zone_of(rooms, node)
    if not policy.grants or permits(policy.grants, names_of(rooms, me), kernel, zone):
        return ""
    return f"its zone {zone} is not for our {kernel}: policy version {policy.version}, [[submit]]"


def check_submission(rooms: Rooms, me: NodeId, kernel: str, now: Instant) -> None:
    """Check that there is a zone in which this node may have a kernel run.

    Raises:
        NotAllowed: There is none among the members'; names the clauses of the policy.
    """
    policy = rooms.charter.effective(now)
    grants = policy.grants
    if not grants:
        return
    names = names_of(rooms, me)
    zones = {zone_of(rooms, record.node): None for record in rooms.membership.members()}
    if any(grant.covers(names, kernel, zone) for grant in grants for zone in zones):
        return
    raise NotAllowed(
        f"this node may not submit {kernel}: the mesh's policy (version {policy.version}) "
        + _clauses(grants, names),
        hint=f"ask the mesh's operator for a line under [[submit]]; {SHOW}",
    )


def _clauses(grants: Iterable[Grant], names: tuple[str, ...]) -> str:
    own = [
        f"[[submit]] {place}: {', '.join(grant.kernels)} in {', '.join(grant.zones)}"
        for place, grant in enumerate(grants, 1)
        if ANY in grant.who or any(name in grant.who for name in names)
    ]
    if own:
        return f"lets it submit only this: {'; '.join(own)}"
    return f"names neither it nor its roles under [[submit]]: {', '.join(names[1:]) or 'none'}"
