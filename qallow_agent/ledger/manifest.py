"""The manifest of a committee: who witnesses, under which keys, and who agreed to it.

- only the mesh's operator proposes, and signs what it proposes with the mesh key;
- version v+1 holds when a quorum of version v and a quorum of v+1 voted for it;
- a member votes once for a version, and from then on signs nothing under an older one;
- a vote of an old member tells every head it has seen, which the new committee must continue.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import BadSignature, Malformed, TooLarge
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import SigningKey, verify
from qallow_agent.ledger.quorum import MAX_MEMBERS, Quorum
from qallow_agent.ledger.seats import WITNESSED, Card, KeyFor, Seat, check_seat
from qallow_agent.ledger.signing import NoteKey

_MANIFEST = "qallow/manifest/v1"
_VOTE = "qallow/manifest-vote/v1"
_HEADS = "qallow/manifest-heads/v1"

MAX_HEADS = 100
"""Logs that one committee can witness: a vote with a card and a head of each stays below 64 KiB."""


class Manifest(msgspec.Struct, frozen=True):
    """One version of the committee, as the operator proposed it.

    Args:
        mesh: Of which mesh.
        version: 1 for the first.
        previous: Digest of the version before; empty for the first.
        seats: The members, by node id.
        signature: By the mesh key.
    """

    mesh: MeshId
    version: int
    previous: bytes
    seats: tuple[Seat, ...]
    signature: bytes = b""

    @property
    def quorum(self) -> Quorum:
        """How many must agree."""
        return Quorum(len(self.seats))

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Who sits in it, sorted."""
        return tuple(seat.node for seat in self.seats)

    def seat(self, node: NodeId) -> Seat | None:
        """Return a member's seat; None for whoever has none."""
        return next((seat for seat in self.seats if seat.node == node), None)

    def cosigners(self, purpose: str) -> dict[NodeId, NoteKey]:
        """Return every member's key for a purpose."""
        return {seat.node: seat.cosigner(purpose) for seat in self.seats}

    def digest(self) -> bytes:
        """Return the hash by which votes and the next version name it."""
        return hashlib.sha256(canonical(_MANIFEST, self)).digest()


class SeenHead(msgspec.Struct, frozen=True):
    """A signed head of a log, with the card of the log."""

    card: Card
    note: bytes


class Vote(msgspec.Struct, frozen=True):
    """One node's agreement to a version.

    Args:
        version: Which.
        manifest: Its digest.
        node: Who votes.
        heads: Every head it has seen, when it sits in the version before; may be left away by
            whoever only shows that the vote was cast.
        told: Digest of the heads.
        old: Signature by its key of the version before; empty when it had no seat there.
        new: Signature by its key of the version; empty when it has no seat there.
    """

    version: int
    manifest: bytes
    node: NodeId
    heads: tuple[SeenHead, ...]
    told: bytes
    old: bytes = b""
    new: bytes = b""


def propose(
    mesh_key: SigningKey, mesh: MeshId, previous: Manifest | None, seats: Iterable[Seat]
) -> Manifest:
    """Return the next version with these seats, signed by the mesh key."""
    version, digest = (previous.version + 1, previous.digest()) if previous else (1, b"")
    unsigned = Manifest(mesh, version, digest, tuple(sorted(seats, key=_node)))
    return msgspec.structs.replace(
        unsigned, signature=mesh_key.sign(canonical(_MANIFEST, unsigned))
    )


def check_manifest(manifest: Manifest, mesh: MeshId, mesh_key: bytes) -> None:
    """Check that the operator proposed a manifest, and that every seat is its owner's word.

    Raises:
        TooLarge: It has too many seats.
        Malformed: Seats are missing, twice or out of order.
        BadSignature: It is forged, or for another mesh.
    """
    if len(manifest.seats) > MAX_MEMBERS:
        raise TooLarge(f"a committee of {len(manifest.seats)}, at most {MAX_MEMBERS}")
    nodes = manifest.nodes
    if not nodes or nodes != tuple(sorted(set(nodes))) or manifest.version < 1:
        raise Malformed("the seats of a manifest are none, twice or out of order")
    if manifest.mesh != mesh:
        raise BadSignature("a manifest is for another mesh")
    unsigned = msgspec.structs.replace(manifest, signature=b"")
    verify(mesh_key, canonical(_MANIFEST, unsigned), manifest.signature)
    for seat in manifest.seats:
        check_seat(seat, mesh, manifest.version)


def make_vote(
    manifest: Manifest,
    previous: Manifest | None,
    node: NodeId,
    key_for: KeyFor,
    heads: tuple[SeenHead, ...],
) -> Vote:
    """Return a node's vote; it must be kept, and its fence be up, before it is sent."""
    was_in = previous is not None and previous.seat(node) is not None
    told = heads_digest(heads if was_in else ())
    vote = Vote(manifest.version, manifest.digest(), node, heads if was_in else (), told)
    signed = _signed(vote)
    old = key_for(f"{WITNESSED}/{manifest.version - 1}").sign(signed) if was_in else b""
    sits = manifest.seat(node) is not None
    new = key_for(f"{WITNESSED}/{manifest.version}").sign(signed) if sits else b""
    return msgspec.structs.replace(vote, old=old, new=new)


def heads_digest(heads: tuple[SeenHead, ...]) -> bytes:
    """Return the hash by which a vote commits to the heads it tells."""
    return hashlib.sha256(canonical(_HEADS, heads)).digest()


def check_vote(vote: Vote, manifest: Manifest, previous: Manifest | None) -> None:
    """Check that a vote is for a manifest and signed by every seat that its node has.

    Raises:
        BadSignature: It is for another manifest, or not signed as it says.
        TooLarge: It tells too many heads.
    """
    if len(vote.heads) > MAX_HEADS:
        raise TooLarge(f"a vote that tells {len(vote.heads)} heads, at most {MAX_HEADS}")
    if vote.version != manifest.version or vote.manifest != manifest.digest():
        raise BadSignature(f"a vote of {vote.node} is for another manifest")
    if vote.heads and heads_digest(vote.heads) != vote.told:
        raise BadSignature(f"a vote of {vote.node} tells other heads than it signed")
    signed = _signed(vote)
    seats = ((previous, vote.old), (manifest, vote.new))
    for committee, signature in seats:
        seat = committee.seat(vote.node) if committee else None
        if (seat is None) != (not signature):
            raise BadSignature(f"a vote of {vote.node} is signed for a seat that it has not")
        if seat is not None:
            verify(seat.keys[WITNESSED], signed, signature)


def adopted(manifest: Manifest, previous: Manifest | None, voters: Iterable[NodeId]) -> bool:
    """Return whether enough of both committees voted; votes are checked by the caller."""
    voted = set(voters)
    committees = (manifest,) if previous is None else (previous, manifest)
    return all(
        sum(node in voted for node in each.nodes) >= each.quorum.needed for each in committees
    )


def without_heads(vote: Vote) -> Vote:
    """Return a vote that only shows that it was cast."""
    return msgspec.structs.replace(vote, heads=())


def _signed(vote: Vote) -> bytes:
    return canonical(_VOTE, (vote.version, vote.manifest, vote.node, vote.told))


def _node(seat: Seat) -> NodeId:
    return seat.node
