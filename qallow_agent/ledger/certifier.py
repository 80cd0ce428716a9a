"""The certifier: shows every new head of this node's log to the committee, until a quorum signed.

One head is in hand at a time. A newer one waits until that is certified or given up, so that a
slow committee certifies every few heads instead of none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from qallow_agent.base.errors import BadSignature, WireError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Announce, Effect, Instant, Persist, Send
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.certificate import open_head
from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.kinds import Certified, HeadCosigned, HeadOffered, HeadRefused
from qallow_agent.ledger.log import Log
from qallow_agent.ledger.manifest import Manifest
from qallow_agent.ledger.messages import HeadSigned
from qallow_agent.ledger.note import Note, Signature, parse_note, parse_signature
from qallow_agent.ledger.quorum import Code
from qallow_agent.ledger.seats import PURPOSES, SEEN, WITNESSED, Card

CERTIFIED = "coherence/certified"
AGAIN_S: Seconds = 5.0
"""How often a head in hand is shown again to who has not answered."""
REST_S: Seconds = 60.0
"""How rarely at last, when nobody answers; whoever comes back is shown it at once."""
HAND_S: Seconds = 5.0
"""How long a newer head waits for the one in hand."""
MAX_TRIES = 8
"""Proofs one member gets for one head: one for every head that it was told of, and no more."""


@dataclass(slots=True)
class _Hand:
    """The head in hand."""

    size: int
    root: bytes
    text: str
    own: tuple[Signature, ...]
    taken_s: Seconds
    again_s: Seconds = 0.0
    wait_s: Seconds = AGAIN_S
    lines: dict[tuple[NodeId, str], Signature] = field(default_factory=dict)
    tries: dict[NodeId, int] = field(default_factory=dict)
    shown: set[NodeId] = field(default_factory=set)

    def unsure(self, node: NodeId) -> bool:
        """Return whether a member only remembers the head, and was not yet shown who else does."""
        cosigned = (node, WITNESSED) in self.lines
        return (node, SEEN) in self.lines and not cosigned and node not in self.shown

    def note(self) -> Note:
        """Return the head with every cosignature that it has, in a fixed order."""
        lines = (self.lines[key] for key in sorted(self.lines))
        return Note(self.text, (*self.own, *lines))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far this node's log is certified.

    Args:
        head: Entries that are written.
        certified: Entries under the newest certificate.
        by: How many of the committee signed that.
        members: How large that committee is.
        took_s: Seconds from the newest certified head's signature to its certificate.
    """

    head: int
    certified: int
    by: int
    members: int
    took_s: Seconds = 0.0

    @property
    def provisional(self) -> int:
        """Entries that no certificate covers yet."""
        return max(0, self.head - self.certified)


class Certifier:
    """Gathers cosignatures for one log.

    Args:
        me: Whose log it is.
        card: Of the log.
        log: The log.
        kept: What was kept under ``coherence/``.
    """

    def __init__(self, *, me: NodeId, card: Card, log: Log, kept: Mapping[str, bytes]) -> None:
        self.manifest: Manifest | None = None
        self.certified: Note | None = None
        self.by: tuple[NodeId, ...] = ()
        self.refusals: dict[NodeId, str] = {}
        """Who refuses our newest head, and why; empty again once it is certified."""
        self._me = me
        self._card = card
        self._log = log
        self._hand: _Hand | None = None
        self._next: HeadSigned | None = None
        self._known: dict[NodeId, int] = {}
        self._stated: int | None = None
        self._certified_size = 0
        self._took_s: Seconds = 0.0
        self._awake = False
        self._load(kept.get(CERTIFIED))

    def stated(self) -> None:
        """Note that the entry that is written next is an epoch statement."""
        self._stated = self._log.next_index

    @property
    def refused_by(self) -> int:
        """How many members refuse our newest head; 0 while they are too few to be right."""
        count = len(self.refusals)
        return count if self.manifest and count > self.manifest.quorum.faulty else 0

    @property
    def certified_size(self) -> int:
        """Entries under the newest certificate; ``certified`` is its note."""
        return self._certified_size

    @property
    def progress(self) -> Progress:
        """How far the log is certified."""
        members = len(self.manifest.seats) if self.manifest else 0
        return Progress(self._log.size, self._certified_size, len(self.by), members, self._took_s)

    # --- heads ------------------------------------------------------------------------------------

    def signed(self, head: HeadSigned, now: Instant) -> list[Effect]:
        """Show a new head to the committee, or let it wait for the one in hand."""
        if head.size <= self._certified_size:
            return []
        hand = self._hand
        if hand is not None and now.mono_s - hand.taken_s < HAND_S:
            self._next = head if head.size > hand.size else None
            return []
        return self._take(head, now)

    def committee_changed(self, manifest: Manifest, now: Instant) -> list[Effect]:
        """Begin again with the head in hand: cosignatures count under one version only."""
        self.manifest, self.refusals = manifest, {}
        hand = self._hand
        if hand is None:
            return self._wake(now) if self._awake else []
        hand.lines, hand.again_s, hand.wait_s = {}, now.mono_s + AGAIN_S, AGAIN_S
        return self._offer(manifest.nodes)

    def member_up(self, node: NodeId) -> list[Effect]:
        """Show the head in hand to a member that came back."""
        hand = self._hand
        seated = self.manifest is not None and self.manifest.seat(node) is not None
        if hand is None or not seated or (node, WITNESSED) in hand.lines:
            return []
        return self._offer((node,))

    # --- answers ----------------------------------------------------------------------------------

    def cosigned(self, sender: NodeId, said: HeadCosigned, now: Instant) -> list[Effect]:
        """Take in a member's cosignatures.

        Raises:
            WireError: One of them is none.
        """
        hand, manifest = self._hand, self.manifest
        seat = manifest.seat(sender) if manifest else None
        if hand is None or manifest is None or seat is None:
            return []
        if (said.version, said.origin) != (manifest.version, self._card.origin):
            return []
        if (said.size, said.root) != (hand.size, hand.root):
            return []
        keys = {(key.name, key.key_id): (key, each) for each in PURPOSES
                for key in (seat.cosigner(each),)}  # fmt: skip
        for line in said.lines[: len(PURPOSES)]:
            signature = parse_signature(line.removesuffix("\n"))
            key, purpose = keys.get((signature.name, signature.key_id), (None, ""))
            if key is None:
                raise BadSignature(f"{sender} cosigns as {signature.name:.120}")
            key.verify(hand.text, signature.data)
            hand.lines[sender, purpose] = signature
        self._known[sender] = hand.size
        self.refusals.pop(sender, None)
        return self._settle(hand, manifest, now)

    def refused(self, sender: NodeId, said: HeadRefused) -> list[Effect]:
        """Prove from where a member saw the log last, unless it claims to have seen more than is.

        A size above that of our own log is never believed: either it lies, or this log lost its
        end and must not go on under the same name.
        """
        hand, manifest = self._hand, self.manifest
        if hand is None or manifest is None or manifest.seat(sender) is None:
            return []
        if said.origin != self._card.origin or said.size != hand.size:
            return []
        tries = hand.tries.get(sender, 0)
        if said.code == Code.CONFLICT and 0 < said.known <= hand.size and tries < MAX_TRIES:
            hand.tries[sender] = tries + 1
            self._known[sender] = said.known
            return self._offer((sender,))
        self.refusals[sender] = said.why[:200]
        facts: dict[str, str | int | float | bool | None] = {
            "node": sender,
            "code": said.code,
            "seen_entries": said.known,
            "head_entries": hand.size,
            "why": said.why[:200],
        }
        return [Notice("ledger.head-refused", "a witness refused our head", "warning", facts)]

    # --- time -------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Effect]:
        """Show the head in hand again to who has not cosigned it, less and less often."""
        if not self._awake:
            self._awake = True
            return self._wake(now)
        hand, manifest = self._hand, self.manifest
        if hand is None or now.mono_s < hand.again_s:
            return []
        if self._next is not None:
            return self._take(self._next, now)
        hand.wait_s = min(2 * hand.wait_s, REST_S)
        hand.again_s = now.mono_s + hand.wait_s
        hand.tries = {}
        if manifest is None:
            return []
        return self._offer(tuple(n for n in manifest.nodes if (n, WITNESSED) not in hand.lines))

    def next_deadline(self) -> Seconds | None:
        """Return when to show the head in hand again; None while everything is certified."""
        if not self._awake:
            return 0.0
        return self._hand.again_s if self._hand else None

    # --- how it is done ---------------------------------------------------------------------------

    def _wake(self, now: Instant) -> list[Effect]:
        """Take the newest head in hand that an earlier run signed."""
        head = self._log.head
        if head is None:
            return []
        point = parse_checkpoint(head.text)
        origin = self._card.origin
        return self.signed(HeadSigned(origin, point.size, point.root, head.encode()), now)

    def _take(self, head: HeadSigned, now: Instant) -> list[Effect]:
        self._next = None
        note = parse_note(head.note)
        key = self._card.key
        own = tuple(each for each in note.signatures if each.key_id == key.key_id)
        self._hand = _Hand(head.size, head.root, note.text, own[:1], now.mono_s)
        self._hand.again_s = now.mono_s + AGAIN_S
        if self.manifest is None:
            return []
        return self._offer(self.manifest.nodes)

    def _offer(self, nodes: tuple[NodeId, ...]) -> list[Effect]:
        hand, manifest = self._hand, self.manifest
        if hand is None or manifest is None:
            return []
        statement, index, inclusion = self._statement(hand)
        offers: list[Effect] = []
        for node in nodes:
            old = min(self._known.get(node, 0), hand.size)
            proof = self._log.consistency(old, hand.size) if old else ()
            note = hand.note().encode()
            offer = HeadOffered(
                manifest.version, self._card, old, proof, note, statement, index, inclusion
            )
            offers.append(Send(node, offer))
        return offers

    def _statement(self, hand: _Hand) -> tuple[bytes, int, tuple[bytes, ...]]:
        index, head = self._stated, self._log.head
        if index is None or index >= hand.size or head is None or head.text != hand.text:
            return b"", 0, ()
        return self._log.entry(index), index, self._log.inclusion(index)

    def _settle(self, hand: _Hand, manifest: Manifest, now: Instant) -> list[Effect]:
        """Count; every line was verified when it came."""
        by = tuple(node for node in manifest.nodes if (node, WITNESSED) in hand.lines)
        if len(by) >= manifest.quorum.needed:
            self.by, self._certified_size, self._hand = by, hand.size, None
            self.certified, self._took_s = hand.note(), now.mono_s - hand.taken_s
            self.refusals, data = {}, self.certified.encode()
            certified = Certified(self._card.origin, hand.size, data, by)
            more = self._take(self._next, now) if self._next else []
            return [Persist(CERTIFIED, data), Announce(certified), *more]
        # Who only remembers it cosigns once it sees that enough others remember it too.
        remember = len({node for node, purpose in hand.lines if purpose in {SEEN, WITNESSED}})
        if remember - 1 < manifest.quorum.confirmations:
            return []
        unsure = tuple(node for node in manifest.nodes if hand.unsure(node))
        hand.shown.update(unsure)
        return self._offer(unsure)

    def _load(self, data: bytes | None) -> None:
        if data is None:
            return
        try:
            self.certified = open_head(data, self._card).note
        except WireError:
            return  # of an earlier log of this node; the next certificate replaces it
        self._certified_size = parse_checkpoint(self.certified.text).size
        named = (each.name.split("/") for each in self.certified.signatures)
        self.by = tuple(NodeId(parts[-3]) for parts in named if WITNESSED in parts)
