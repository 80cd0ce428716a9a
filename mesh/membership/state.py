"""What one belief about a member says, which of two wins, and which claims are not even heard.

Beliefs form a join-semilattice: :func:`merge` is commutative, associative, idempotent and never
goes back, so that members agree in the end whatever the order, loss or repetition of gossip.
"""

import msgspec

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import KEY_BYTES
from qallow_agent.mesh.wire.kinds import Incarnation, MemberRecord, MemberState

RANK: dict[MemberState, int] = {
    MemberState.ALIVE: 0,
    MemberState.SUSPECT: 1,
    MemberState.DEAD: 2,
    MemberState.LEFT: 3,
}
"""At one incarnation the higher rank wins.

Source: SWIM (Das, Gupta, Motivala, 2002), section 4.2; ``left`` is ours, above ``dead`` so that a
farewell is never read as a failure.
"""

UP = frozenset({MemberState.ALIVE, MemberState.SUSPECT})
"""States of a member that still counts: a suspect has not lost its rights."""

EPOCH_LIMIT = 1 << 44
COUNTER_LIMIT = 1 << 20
"""(epoch, counter) fits one u64; 44 bits hold milliseconds since 1970 until the year 2527."""

MAX_ACCUSERS = 4
"""One accuser and the three that Lifeguard wants in agreement; more would only cost bytes."""
MAX_REFUSED = 2
"""Two refused links decide; more would only cost bytes."""

RECORD_LIMIT_BYTES = 1000
"""A larger record would not fit a datagram beside the shortest message."""

_MAX_HOSTS = 16
_MAX_NAME = 64
_MAX_ID = 64
_MAX_LISTED = 16

_PORT_LIMIT = 1 << 16

_ENCODER = msgspec.msgpack.Encoder()

Precedence = tuple[int, int, int, str, Contact, bytes]


def precedence(record: MemberRecord) -> Precedence:
    """Return what decides between two records of one member; the greater wins.

    The address and key come last: they differ at one incarnation only when two processes claim to
    be one node, and then everybody must at least pick the same.
    """
    incarnation = record.incarnation
    return (
        incarnation.epoch,
        incarnation.counter,
        RANK[record.state],
        record.name,
        record.contact,
        record.curve_key,
    )


def normal(record: MemberRecord) -> MemberRecord:
    """Return a record with its accusers sorted, unique and few; only a suspect has any."""
    if record.state is not MemberState.SUSPECT:
        if not record.accusers and not record.refused:
            return record
        return msgspec.structs.replace(record, accusers=(), refused=())
    accusers, refused = _least(record.accusers, MAX_ACCUSERS), _least(record.refused, MAX_REFUSED)
    if (accusers, refused) == (record.accusers, record.refused):
        return record
    return msgspec.structs.replace(record, accusers=accusers, refused=refused)


def merge(one: MemberRecord, other: MemberRecord) -> MemberRecord:
    """Return the least belief that is at least as new as both; both must be normal.

    Args:
        one: A normal record.
        other: A normal record of the same member.

    Raises:
        InvariantBroken: The records are of different members.
    """
    if one.node != other.node:
        raise InvariantBroken(f"records of {one.node} and {other.node} cannot be merged")
    ranks = precedence(one), precedence(other)
    winner, loser = (one, other) if ranks[0] >= ranks[1] else (other, one)
    advert = winner.advert
    if winner.incarnation.epoch == loser.incarnation.epoch:
        advert = max(advert, loser.advert)
    accusers, refused = winner.accusers, winner.refused
    if ranks[0] == ranks[1]:
        accusers = _least(accusers + loser.accusers, MAX_ACCUSERS)
        refused = _least(refused + loser.refused, MAX_REFUSED)
    if (accusers, refused, advert) == (winner.accusers, winner.refused, winner.advert):
        return winner
    return msgspec.structs.replace(winner, accusers=accusers, refused=refused, advert=advert)


def _least(nodes: tuple[NodeId, ...], count: int) -> tuple[NodeId, ...]:
    """Return the first few of some ids in order: a cap that keeps the union associative."""
    return tuple(sorted(set(nodes))[:count])


def successor(incarnation: Incarnation) -> Incarnation:
    """Return the next incarnation; a full counter carries into the epoch, so it never wraps."""
    if incarnation.counter + 1 < COUNTER_LIMIT:
        return Incarnation(incarnation.epoch, incarnation.counter + 1)
    return Incarnation(incarnation.epoch + 1, 0)


def encoded_bytes(record: MemberRecord) -> int:
    """Return the size of a record on the wire."""
    return len(_ENCODER.encode(record))


def plausible(record: MemberRecord) -> bool:
    """Return whether a claim from the wire is within every bound; others are not heard at all.

    The last incarnation of all is refused too: its owner could not outbid it to refute.
    """
    incarnation, contact = record.incarnation, record.contact
    return (
        0 <= incarnation.epoch < EPOCH_LIMIT - 1
        and 0 <= incarnation.counter < COUNTER_LIMIT
        and 0 < len(record.node) <= _MAX_ID
        and not record.node.startswith("@")
        and len(record.name) <= _MAX_NAME
        and len(record.curve_key) == KEY_BYTES
        and 0 < len(contact.hosts) <= _MAX_HOSTS
        and all(
            0 <= port < _PORT_LIMIT for port in (contact.stream, contact.door, contact.datagram)
        )
        and len(record.accusers) <= _MAX_LISTED
        and len(record.refused) <= _MAX_LISTED
        and all(len(node) <= _MAX_ID for node in record.accusers + record.refused)
        and 0 <= record.advert < 1 << 63
        and encoded_bytes(record) <= RECORD_LIMIT_BYTES
    )
