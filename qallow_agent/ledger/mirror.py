"""Mirrors: nodes that keep the logs of others, entry by entry, and say so once it is on their disk.

Which nodes keep a log follows from its owner's id and who is up (rendezvous hashing), so nobody
decides it. A mirror asks for what it lacks; what comes is proved to lie under a head that the log
signed before anything of it is written. Its cosignature "mirrored" follows when it is durable.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from qallow_agent.base.errors import BadProof, BadSignature, InvariantBroken, StorageError
from qallow_agent.base.ids import MeshId, NodeId, Sender
from qallow_agent.base.machine import Append, Effect, Instant, Send
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.certificate import Head, open_head
from qallow_agent.ledger.checkpoint import Checkpoint
from qallow_agent.ledger.growth import Growth, Past
from qallow_agent.ledger.leaf import parse_leaf
from qallow_agent.ledger.log import Log
from qallow_agent.ledger.manifest import Manifest
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.messages import HeadSigned, LogFailed, LogKept
from qallow_agent.ledger.mirror_kinds import CopyKept, EntriesSent, EntriesWanted
from qallow_agent.ledger.note import Signature, parse_signature
from qallow_agent.ledger.proofs import verify_consistency
from qallow_agent.ledger.seats import MIRRORED, Card, KeyFor, check_card, cosigner_name
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.ledger.signing import cosign
from qallow_agent.ledger.tiles import MAX_ENTRY_BYTES, pack_entries, whole_entries

PIECE_BYTES = 40 << 10
"""What one answer carries; a head with both signatures and a proof fit beside it into 64 KiB."""

_HEADS = 256
"""Newest heads of our own that a mirror may still vouch for."""

_LONGEST = MAX_ENTRY_BYTES + 2


@dataclass(slots=True)
class _Copy:
    """One log that is mirrored here.

    Args:
        growth: What is durable of it.
        torn: The beginning of the entry that comes next.
        card: Of the log, once it was heard.
        waits: Whether the disk is at work on it.
    """

    growth: Growth
    torn: bytes = b""
    card: Card | None = None
    waits: bool = False


@dataclass(frozen=True, slots=True)
class MirrorParts:
    """What the hallway knows and a mirror asks for.

    Args:
        members: Members that are up, this node included, sorted.
        past: Owner -> what is durable here of its log; may raise StorageError.
        card: Of this node's own log.
        key_for: Makes this node's keys.
        manifest: The committee that holds; None before there is one.
    """

    members: Callable[[], tuple[NodeId, ...]]
    past: Callable[[NodeId], Past]
    card: Card
    key_for: KeyFor
    manifest: Callable[[], Manifest | None]


class Mirror:
    """Keeps logs of other nodes, and hands out this node's own.

    Args:
        me: Who this is.
        mesh: Of which mesh.
        settings: How many mirrors a log has, and how often they ask.
        log: This node's own.
        parts: What it asks the hallway for.
    """

    def __init__(
        self, *, me: NodeId, mesh: MeshId, settings: LedgerSettings, log: Log, parts: MirrorParts
    ) -> None:
        self._me = me
        self._mesh = mesh
        self._settings = settings
        self._log = log
        self._parts = parts
        self._copies: dict[NodeId, _Copy] = {}
        self._heads: dict[int, bytes] = {}
        self._vouched: dict[NodeId, tuple[int, Signature]] = {}
        self._due_s: Seconds | None = None

    @property
    def vouched(self) -> dict[NodeId, int]:
        """Mirror -> entries of this node's log that it has said to keep."""
        return {node: size for node, (size, _) in sorted(self._vouched.items())}

    @property
    def kept(self) -> dict[NodeId, int]:
        """Owner -> entries of its log that are durable here."""
        return {node: copy.growth.size for node, copy in sorted(self._copies.items())}

    # --- the Machine interface --------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in what members ask and send, and what the disk made of a copy."""
        match message:
            case EntriesWanted():
                return self._hand_out(NodeId(sender), message)
            case EntriesSent():
                return self._take_in(NodeId(sender), message)
            case CopyKept():
                self._note_copy(NodeId(sender), message)
            case HeadSigned():
                self._heads[message.size] = message.root
                for size in list(self._heads)[:-_HEADS]:
                    del self._heads[size]
            case LogKept():
                return self._note_kept(message, now)
            case LogFailed():
                self._copies.pop(NodeId(message.log), None)  # read anew when it is asked for next
        return []

    def tick(self, now: Instant) -> list[Effect]:
        """Ask the owners of the logs that are kept here for what is new."""
        if self._due_s is None or now.mono_s < self._due_s:
            return []
        self._due_s = None
        effects: list[Effect] = []
        for owner in self.assigned():
            effects += self._ask(owner)
        if effects:
            self._due_s = now.mono_s + self._settings.mirror_s
        return effects

    def next_deadline(self) -> Seconds | None:
        """Return when to ask next; None while there is nobody to ask."""
        return self._due_s

    def check(self) -> None:
        """Raise InvariantBroken when this node mirrors itself."""
        if self._me in self._copies:
            raise InvariantBroken("a node is its own mirror")

    def member_changed(self, now: Instant) -> None:
        """Note that members came or went."""
        if self._settings.mirrors and self._due_s is None:
            self._due_s = now.mono_s + self._settings.epoch_s

    def assigned(self) -> tuple[NodeId, ...]:
        """Return whose logs are kept here."""
        members = self._parts.members()
        return tuple(
            owner
            for owner in members
            if owner != self._me and self._me in mirrors_of(owner, members, self._settings.mirrors)
        )

    # --- as an owner ------------------------------------------------------------------------------

    def _hand_out(self, asker: NodeId, wanted: EntriesWanted) -> list[Effect]:
        head = self._log.head
        size = open_head(head.encode(), self._parts.card).checkpoint.size if head else 0
        if head is None or not 0 <= wanted.first < size or not 0 <= wanted.offset < _LONGEST:
            return []
        entries = self._log.entries(wanted.first, size, wanted.offset + PIECE_BYTES)
        data = pack_entries(entries)
        piece = data[wanted.offset : wanted.offset + PIECE_BYTES]
        end = wanted.first + len(whole_entries(data[: wanted.offset + len(piece)]))
        proof = self._log.consistency(end, size) if 0 < end < size else ()
        card, note = self._parts.card, head.encode()
        return [
            Send(asker, EntriesSent(card, wanted.first, wanted.offset, piece, end, proof, note))
        ]

    def _note_copy(self, mirror: NodeId, kept: CopyKept) -> None:
        """Believe a mirror that signs for a head which this log really has."""
        manifest = self._parts.manifest()
        seat = manifest.seat(mirror) if manifest else None
        if manifest is None or seat is None or kept.version != manifest.version:
            return
        signature, key = parse_signature(kept.line.removesuffix("\n")), seat.cosigner(MIRRORED)
        if self._heads.get(kept.size) != kept.root:
            return
        if (signature.name, signature.key_id) != (key.name, key.key_id):
            raise BadSignature(f"{mirror} cosigns as {signature.name:.120}")
        key.verify(Checkpoint(self._log.origin, kept.size, kept.root).text(), signature.data)
        self._vouched[mirror] = (kept.size, signature)

    # --- as a mirror ------------------------------------------------------------------------------

    def _ask(self, owner: NodeId) -> list[Effect]:
        copy = self._copies.get(owner)
        if copy is None:
            try:
                past = self._parts.past(owner)
            except StorageError as error:
                facts: dict[str, str | int | float | bool | None] = {
                    "node": owner,
                    "why": error.message,
                }
                return [Notice("mirror.damaged", "a mirrored log is damaged", "error", facts)]
            copy = self._copies[owner] = _Copy(Growth(past.size, past.levels))
        if copy.waits:
            return []
        return [Send(owner, EntriesWanted(copy.growth.size, len(copy.torn)))]

    def _take_in(self, sender: NodeId, sent: EntriesSent) -> list[Effect]:
        copy = self._copies.get(sender)
        asked = copy is not None and not copy.waits
        if copy is None or not asked or sent.first != copy.growth.size:
            return []
        if sent.offset != len(copy.torn):
            return []
        torn, copy.torn = copy.torn, b""
        check_card(sent.card, self._mesh)
        if sent.card.node != sender:
            raise BadProof("a node may hand out its own log only")
        head = open_head(sent.head, sent.card)
        data = torn + sent.data
        entries = whole_entries(data)
        if not entries:
            if len(data) >= _LONGEST:
                raise BadProof("a mirrored entry does not end")
            copy.torn, copy.card = data, sent.card
            return [Send(sender, EntriesWanted(copy.growth.size, len(data)))] if sent.data else []
        growth = _grown(copy.growth, entries, sent, head)
        copy.torn = data[len(pack_entries(entries)) :]
        copy.card, copy.waits = sent.card, True
        note = sent.head if growth.size == head.checkpoint.size else b""
        first, copy.growth = copy.growth.size, growth
        return [Append(first, tuple(entries), note, log=sender)]

    def _note_kept(self, kept: LogKept, now: Instant) -> list[Effect]:
        copy = self._copies.get(NodeId(kept.log))
        if copy is None or copy.card is None:
            return []
        owner, copy.waits = NodeId(kept.log), False
        if not kept.head:
            return self._ask(owner)
        return [*self._vouch(owner, copy.card, kept.head, now), *self._ask(owner)]

    def _vouch(self, owner: NodeId, card: Card, note: bytes, now: Instant) -> list[Effect]:
        """Return this node's word that it stores all of a log up to a head."""
        manifest = self._parts.manifest()
        if manifest is None or manifest.seat(self._me) is None:
            return []
        head = open_head(note, card).checkpoint
        name = cosigner_name(self._mesh, self._me, MIRRORED, manifest.version)
        key = self._parts.key_for(f"{MIRRORED}/{manifest.version}")
        line = cosign(head, name, key, now.wall_ns // 1_000_000_000).line()
        return [Send(owner, CopyKept(manifest.version, head.size, head.root, line))]


def mirrors_of(owner: NodeId, members: tuple[NodeId, ...], count: int) -> tuple[NodeId, ...]:
    """Return the members that keep a node's log, by rendezvous hashing."""

    def rank(node: NodeId) -> bytes:
        return hashlib.sha256(f"qallow/mirror/v1/{owner}/{node}".encode()).digest()

    return tuple(sorted((node for node in members if node != owner), key=rank)[:count])


def _grown(before: Growth, entries: list[bytes], sent: EntriesSent, head: Head) -> Growth:
    """Return a log that has grown by entries which are proved to lie under a head.

    Raises:
        WireError: They are not.
    """
    growth = Growth(before.size, before.levels)
    for entry in entries:
        parse_leaf(entry)
        growth.append(leaf_hash(entry))
    size, point = growth.size, head.checkpoint
    if sent.end != size or size > point.size:
        raise BadProof(f"{sent.end} entries were said to be sent, {size} came")
    verify_consistency(size, point.size, sent.proof, growth.root(), point.root)
    return growth
