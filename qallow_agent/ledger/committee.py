"""The committee: which version holds, how the next one comes to hold, and our vote on it.

Votes never split: the operator keeps what it proposes before it sends it, and proposes nothing
else until that holds; a member keeps its vote, and with it the fence, before it sends it.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from qallow_agent.base.errors import BadSignature, StorageCorrupt
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import NodeKeys
from qallow_agent.base.machine import Announce, Effect, Instant, Persist, Send
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.certificate import open_head
from qallow_agent.ledger.kinds import (
    CommitteeChanged,
    ManifestProposed,
    ManifestTold,
    ManifestVoted,
    ManifestWanted,
    SeatGiven,
    SeatWanted,
)
from qallow_agent.ledger.manifest import (
    Manifest,
    Vote,
    adopted,
    check_manifest,
    check_vote,
    heads_digest,
    make_vote,
    without_heads,
)
from qallow_agent.ledger.seats import KeyFor, check_card, make_seat
from qallow_agent.ledger.witness import Witness

MANIFEST, PROPOSAL = "coherence/manifest", "coherence/proposal"
AGAIN_S: Seconds = 5.0
"""How often a vote that is not decided is said again to whoever is up."""


class Held(msgspec.Struct, frozen=True):
    """A version that holds: the one before it, and the votes that show it."""

    manifest: Manifest
    previous: Manifest | None
    votes: tuple[Vote, ...]


class Proposal(msgspec.Struct, frozen=True):
    """A version that was proposed, and our vote on it when we have a seat."""

    manifest: Manifest
    previous: Manifest | None
    vote: Vote | None


Kept = TypeVar("Kept", Held, Proposal)


class Committee:
    """What one node knows of the committee, and its part in it.

    Args:
        mesh: Of which mesh.
        mesh_key: Its public key: who holds its private half proposes.
        keys: This node's.
        me: Who this is.
        key_for: Makes the keys of its seats.
        witness: Told which version holds, and what it must continue.
        members: Who is up, this node included.
        kept: What was kept under ``coherence/``.

    Raises:
        StorageCorrupt: A file does not decode; names it.
    """

    def __init__(
        self,
        *,
        mesh: MeshId,
        mesh_key: bytes,
        keys: NodeKeys,
        me: NodeId,
        key_for: KeyFor,
        witness: Witness,
        members: Callable[[], tuple[NodeId, ...]],
        kept: Mapping[str, bytes],
    ) -> None:
        self.held: Held | None = _decode(MANIFEST, kept, Held)
        self.open: Proposal | None = _decode(PROPOSAL, kept, Proposal)
        self._mesh = mesh
        self._mesh_key = mesh_key
        self._keys = keys
        self._me = me
        self._key_for = key_for
        self._witness = witness
        self._members = members
        self._votes: dict[NodeId, Vote] = {}
        self._again_s: Seconds | None = 0.0 if self.open else None
        witness.manifest = self.manifest
        witness.voted = self.open.manifest.version if self.open and self.open.vote else 0
        if self.open and self.open.vote:
            self._votes[me] = self.open.vote

    @property
    def manifest(self) -> Manifest | None:
        """The newest version that holds here."""
        return self.held.manifest if self.held else None

    @property
    def version(self) -> int:
        """Its number; 0 before there is one."""
        return self.held.manifest.version if self.held else 0

    # --- what others say --------------------------------------------------------------------------

    def seat_wanted(self, sender: NodeId, wanted: SeatWanted) -> list[Effect]:
        """Give this node's seat in a version that is to come."""
        if wanted.version <= self.version:
            return self.tell(sender)
        seat = make_seat(self._mesh, wanted.version, self._keys.identity, self._key_for)
        return [Send(sender, SeatGiven(seat))]

    def proposed(self, sender: NodeId, said: ManifestProposed, now: Instant) -> list[Effect]:
        """Vote for what the operator proposes, once, and tell everybody whom it concerns.

        Raises:
            WireError: The manifest or the one before it is forged.
        """
        manifest = said.manifest
        if manifest.version <= self.version:
            return self.tell(sender) if manifest.version < self.version else []
        check_manifest(manifest, self._mesh, self._mesh_key)
        if self.open and self.open.manifest.version >= manifest.version:
            if self.open.manifest.digest() != manifest.digest():
                raise BadSignature(f"another proposal than version {self.open.manifest.version}")
            return self._say_vote(self.open, (sender,))
        previous = self._previous(said)
        return self._vote(manifest, previous, now)

    def voted(self, said: ManifestVoted, now: Instant) -> list[Effect]:
        """Count a vote on the version that is open here.

        Raises:
            WireError: It is forged, or tells a forged head.
        """
        vote, proposal = said.vote, self.open
        if proposal is None or vote.version != proposal.manifest.version:
            return []
        check_vote(vote, proposal.manifest, proposal.previous)
        if proposal.previous and proposal.previous.seat(vote.node) and not _tells(vote):
            return []
        for head in vote.heads:
            check_card(head.card, self._mesh)
            open_head(head.note, head.card)
        self._votes[vote.node] = vote
        return self._count(now)

    def told(self, said: ManifestTold, now: Instant) -> list[Effect]:
        """Take in a version that holds elsewhere already.

        Whoever has a seat in it and none of the heads that were told asks for the votes instead.

        Raises:
            WireError: It is forged, or too few have voted for it.
        """
        manifest = said.manifest
        if manifest.version <= self.version:
            return []
        check_manifest(manifest, self._mesh, self._mesh_key)
        previous = self._previous(ManifestProposed(manifest, said.previous))
        for vote in said.votes:
            check_vote(vote, manifest, previous)
        if not adopted(manifest, previous, (vote.node for vote in said.votes)):
            raise BadSignature(f"version {manifest.version} is told with too few votes")
        if manifest.seat(self._me) is None or previous is None:
            return self._adopt(Held(manifest, previous, said.votes), now)
        return self._vote(manifest, previous, now) if self._is_newer(manifest) else []

    def wanted(self, sender: NodeId, wanted: ManifestWanted) -> list[Effect]:
        """Tell what is newer than what a peer knows."""
        return self.tell(sender) if wanted.version < self.version else []

    def tell(self, node: NodeId) -> list[Effect]:
        """Tell a node which version holds, and what we voted on the one that does not yet."""
        if node == self._me:
            return []
        effects: list[Effect] = []
        if self.held:
            shown = tuple(without_heads(vote) for vote in self.held.votes)
            effects.append(Send(node, ManifestTold(self.held.manifest, self.held.previous, shown)))
            ours = [vote for vote in self.held.votes if vote.node == self._me]
            if self.held.manifest.seat(node) and ours:
                effects.append(Send(node, ManifestVoted(ours[0])))
        return effects

    # --- proposing --------------------------------------------------------------------------------

    def propose(self, manifest: Manifest, now: Instant) -> list[Effect]:
        """Keep and send out a version that this node, the operator, has put together."""
        return self._vote(manifest, self.manifest, now)

    # --- voting and counting ----------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Effect]:
        """Say a vote again that is not decided yet."""
        if self.open is None:
            self._again_s = None
        if self._again_s is None or now.mono_s < self._again_s or self.open is None:
            return []
        self._again_s = now.mono_s + AGAIN_S
        up = frozenset(self._members())
        reachable = tuple(node for node in self._concerned() if node in up)
        return self._say_vote(self.open, reachable, again=True)

    def next_deadline(self) -> Seconds | None:
        """Return when a vote is due again; None while everything is decided."""
        return self._again_s

    def _vote(self, manifest: Manifest, previous: Manifest | None, now: Instant) -> list[Effect]:
        """Put up the fence and vote; whoever has no seat in either version only listens."""
        was_in = previous is not None and previous.seat(self._me) is not None
        vote = None
        if was_in or manifest.seat(self._me):
            heads = self._witness.memory.heads()
            vote = make_vote(manifest, previous, self._me, self._key_for, heads)
            self._witness.voted = manifest.version
        proposal = self.open = Proposal(manifest, previous, vote)
        self._votes = {self._me: vote} if vote else {}
        self._again_s = now.mono_s + AGAIN_S
        return [*self._say_vote(proposal, self._concerned()), *self._count(now)]

    def _say_vote(
        self, proposal: Proposal, to: tuple[NodeId, ...], *, again: bool = False
    ) -> list[Effect]:
        # Each time: an earlier write may have failed, and no vote is said without its fence.
        effects: list[Effect] = [Persist(PROPOSAL, msgspec.msgpack.encode(proposal))]
        for node in to:
            if node == self._me:
                continue
            if self._keys.mesh is not None:
                said = ManifestProposed(proposal.manifest, proposal.previous)
                effects.append(Send(node, said))
            if proposal.vote:
                effects.append(Send(node, ManifestVoted(proposal.vote)))
            if again:
                effects.append(Send(node, ManifestWanted(self.version)))
        return effects

    def _concerned(self) -> tuple[NodeId, ...]:
        if self.open is None:
            return ()
        old = self.open.previous.nodes if self.open.previous else ()
        return tuple(sorted({*old, *self.open.manifest.nodes}))

    def _count(self, now: Instant) -> list[Effect]:
        proposal = self.open
        if proposal is None or not adopted(proposal.manifest, proposal.previous, self._votes):
            return []
        votes = tuple(self._votes[node] for node in sorted(self._votes))
        held = Held(proposal.manifest, proposal.previous, votes)
        return self._adopt(held, now)

    def _adopt(self, held: Held, now: Instant) -> list[Effect]:
        told = tuple(head for vote in held.votes for head in vote.heads)
        # The heads first: a version must never hold here without what it has to continue.
        continued = self._witness.continue_from(told, now)
        own = tuple(vote if vote.node == self._me else without_heads(vote) for vote in held.votes)
        self.held = msgspec.structs.replace(held, votes=own)
        self.open, self._votes, self._again_s = None, {}, None
        self._witness.manifest = held.manifest
        version = held.manifest.version
        facts: dict[str, str | int | float | bool | None] = {
            "version": version,
            "members": len(held.manifest.seats),
            "standing": held.manifest.quorum.standing,
        }
        return [
            *continued,
            Persist(MANIFEST, msgspec.msgpack.encode(self.held)),
            Persist(PROPOSAL, None),
            Notice("committee.changed", "another committee certifies from now on", "info", facts),
            Announce(CommitteeChanged(version)),
        ]

    def _is_newer(self, manifest: Manifest) -> bool:
        return self.open is None or self.open.manifest.version < manifest.version

    def _previous(self, said: ManifestProposed) -> Manifest | None:
        """Return the version before a manifest, ours or the one that came with it.

        Raises:
            WireError: It is missing, forged, or another one.
        """
        manifest = said.manifest
        if manifest.version == 1:
            return None
        ours = self.manifest
        if ours is not None and ours.version + 1 == manifest.version:
            previous = ours
        elif said.previous is not None:
            previous = said.previous
            check_manifest(previous, self._mesh, self._mesh_key)
        else:
            raise BadSignature(f"version {manifest.version} comes without the one before it")
        if previous.digest() != manifest.previous or previous.version + 1 != manifest.version:
            raise BadSignature(f"version {manifest.version} follows another one than ours")
        return previous


def _tells(vote: Vote) -> bool:
    """Return whether a vote comes with the heads that it commits to."""
    return heads_digest(vote.heads) == vote.told


def _decode(name: str, kept: Mapping[str, bytes], kind: type[Kept]) -> Kept | None:
    if name not in kept:
        return None
    try:
        return msgspec.msgpack.decode(kept[name], type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageCorrupt(
            f"{name} does not decode: {error}", hint="restore it; it fences what this node signs"
        ) from error
