"""Who speaks for a node about logs: the card of its log, and its seat in a committee.

Both are signed by the node's identity key, whose hash is the node id, so anybody who knows the id
can check them. A seat's keys are made for one version of the committee and used in no other.
"""

from collections.abc import Callable
from functools import lru_cache

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import BadSignature, Malformed
from qallow_agent.base.ids import MeshId, NodeId, key_id
from qallow_agent.base.keys import KEY_BYTES, SigningKey, derive, verify
from qallow_agent.ledger.log import origin_of
from qallow_agent.ledger.signing import KeyKind, NoteKey

_CARD = "qallow/log-card/v1"
_SEAT = "qallow/seat/v1"

SEEN, WITNESSED, RECOMPUTED, MIRRORED = "seen", "witnessed", "recomputed", "mirrored"
PURPOSES = (SEEN, WITNESSED, RECOMPUTED, MIRRORED)
"""What a cosignature says: remembered; remembered and counted in a certificate; its statement
recomputed and found right; its entries stored."""

KeyFor = Callable[[str], SigningKey]
"""Label -> the key derived for it."""


@lru_cache(1024)
def _node_of(node_key: bytes) -> NodeId:
    """Return the node id that a key gives; asked for every seat at every letter."""
    return NodeId(key_id(node_key))


class Card(msgspec.Struct, frozen=True):
    """A node's word which key signs its log."""

    mesh: MeshId
    node_key: bytes
    log_key: bytes
    signature: bytes = b""

    @property
    def node(self) -> NodeId:
        """Whose log it is."""
        return _node_of(self.node_key)

    @property
    def origin(self) -> str:
        """The log's name."""
        return origin_of(self.mesh, self.node)

    @property
    def key(self) -> NoteKey:
        """The log's key."""
        return NoteKey(self.origin, KeyKind.LOG, self.log_key)


class Seat(msgspec.Struct, frozen=True):
    """One member of one version of a committee, with a key for each purpose."""

    mesh: MeshId
    version: int
    node_key: bytes
    keys: dict[str, bytes]
    signature: bytes = b""

    @property
    def node(self) -> NodeId:
        """Who sits there."""
        return _node_of(self.node_key)

    def cosigner(self, purpose: str) -> NoteKey:
        """Return its key for a purpose, under its public name."""
        name = cosigner_name(self.mesh, self.node, purpose, self.version)
        return NoteKey(name, KeyKind.COSIGNER, self.keys[purpose])


def cosigner_name(mesh: MeshId, node: NodeId, purpose: str, version: int) -> str:
    """Return the public name of a cosigner; the version in it is that of its key."""
    return f"{origin_of(mesh, node)}/{purpose}/{version}"


def keys_from(seed: bytes) -> KeyFor:
    """Return how the keys of a node's ledger come from its seed."""

    def key(label: str) -> SigningKey:
        return SigningKey(derive(seed, label))

    return key


def make_card(mesh: MeshId, identity: SigningKey, log_key: bytes) -> Card:
    """Return the signed card of a node's log."""
    card = Card(mesh, identity.public, log_key)
    return msgspec.structs.replace(card, signature=identity.sign(canonical(_CARD, card)))


def make_seat(mesh: MeshId, version: int, identity: SigningKey, key_for: KeyFor) -> Seat:
    """Return a node's signed seat in a version of the committee."""
    keys = {purpose: key_for(f"{purpose}/{version}").public for purpose in PURPOSES}
    seat = Seat(mesh, version, identity.public, keys)
    return msgspec.structs.replace(seat, signature=identity.sign(canonical(_SEAT, seat)))


def check_card(card: Card, mesh: MeshId) -> None:
    """Check that a node vouches for the key of its log.

    Raises:
        BadSignature: It does not, or the card is for another mesh.
    """
    if card.mesh != mesh:
        raise BadSignature("the card of a log is for another mesh")
    _check_length(card.node_key, card.log_key)
    unsigned = msgspec.structs.replace(card, signature=b"")
    verify(card.node_key, canonical(_CARD, unsigned), card.signature)


def check_seat(seat: Seat, mesh: MeshId, version: int) -> None:
    """Check that a node vouches for its seat.

    Raises:
        BadSignature: It does not, or the seat is for another mesh or version.
        Malformed: A key is missing or of another length.
    """
    if seat.mesh != mesh or seat.version != version:
        raise BadSignature("a seat is for another mesh or version")
    if tuple(sorted(seat.keys)) != tuple(sorted(PURPOSES)):
        raise Malformed(f"a seat holds the keys {sorted(seat.keys)}")
    _check_length(seat.node_key, *seat.keys.values())
    unsigned = msgspec.structs.replace(seat, signature=b"")
    verify(seat.node_key, canonical(_SEAT, unsigned), seat.signature)


def _check_length(*keys: bytes) -> None:
    if any(len(key) != KEY_BYTES for key in keys):
        raise Malformed(f"a key is not {KEY_BYTES} bytes long")
