"""The witness: sees that every log only grows, and lends its name to the heads it has seen.

To check and to remember is one step: the state changes and a Persist comes before the answer. What
may be signed is decided by the rules in ``quorum.py``, which an exhaustive model proves.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

from qallow_agent.base.errors import BadProof, WireError
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.machine import Effect, Instant, Send
from qallow_agent.base.notice import Notice
from qallow_agent.ledger.certificate import Head, open_head, remembered_by
from qallow_agent.ledger.kinds import HeadCosigned, HeadOffered, HeadRefused
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.manifest import Manifest, SeenHead
from qallow_agent.ledger.memory import Memory
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.proofs import MAX_HASHES, verify_consistency, verify_inclusion
from qallow_agent.ledger.quorum import Code, Mark, contradict, judge, may_sign, may_witness, merge
from qallow_agent.ledger.seats import (
    RECOMPUTED,
    SEEN,
    WITNESSED,
    Card,
    KeyFor,
    check_card,
    cosigner_name,
)
from qallow_agent.ledger.signing import cosign
from qallow_agent.ledger.statement import Statement, parse_statement

Recompute = Callable[[NodeId, Statement], str]
"""(node, its statement) -> in what it differs from our own observations; empty when it agrees."""

Suspect = Callable[[Card, bytes, bytes, Instant], list[Effect]]
"""(card, one head, other head, now) -> what to do about two heads that do not go together."""


class _Refused(Exception):
    """An offer that is not cosigned, and why."""

    def __init__(self, code: Code, why: str, known: int = 0) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
        self.known = known


class Witness:
    """One member's eyes on the logs of all others, and on its own.

    Args:
        me: Whose.
        mesh: Of which mesh.
        key_for: Makes its keys.
        memory: What it has seen.
        recompute: Compares a statement with what this node observes.
    """

    def __init__(
        self, *, me: NodeId, mesh: MeshId, key_for: KeyFor, memory: Memory, recompute: Recompute
    ) -> None:
        self.manifest: Manifest | None = None
        """The newest version that holds."""
        self.voted = 0
        """The newest version voted for: nothing is signed under an older one."""
        self.memory = memory
        self.recompute = recompute
        self.forked: Callable[[NodeId], bool] = _nobody
        self.suspect: Suspect = _suspect_nobody
        self._me = me
        self._mesh = mesh
        self._key_for = key_for
        self._confirmed: set[NodeId] = set()
        self._cards: dict[NodeId, Card] = {}

    def offered(self, sender: NodeId, offer: HeadOffered, now: Instant) -> list[Effect]:
        """Answer a head that its owner offers."""
        version = self.manifest.version if self.manifest else 0
        try:
            head = self._open(sender, offer)
        except _Refused as refusal:
            return [_answer(sender, version, offer.card.origin, 0, refusal)]
        size = head.checkpoint.size
        try:
            self._may_speak(offer.version)
            return self._weigh(sender, offer, head, now)
        except _Refused as refusal:
            return [_answer(sender, version, offer.card.origin, size, refusal)]

    def continue_from(self, told: tuple[SeenHead, ...], now: Instant) -> list[Effect]:
        """Remember heads that old members told: each must be proved to lie under the next one."""
        effects: list[Effect] = []
        by_log: dict[NodeId, list[SeenHead]] = {}
        for each in told:
            by_log.setdefault(each.card.node, []).append(each)
        for node in sorted(by_log):
            heads = by_log[node]
            known = self.memory.marks(node)
            opened = [open_head(each.note, each.card) for each in heads]
            left = merge(*known, *(each.mark for each in opened))
            if left == known or not self.memory.room_for(node):
                continue
            card = heads[0].card
            effects.append(self.memory.keep(card, left, opened))
            for one, other in pairwise(left):
                if contradict(one, other):
                    effects += self._accuse(card, one, other, now)
        return effects

    # --- how an offer is weighed ------------------------------------------------------------------

    def _open(self, sender: NodeId, offer: HeadOffered) -> Head:
        if len(offer.proof) > MAX_HASHES or len(offer.inclusion) > MAX_HASHES:
            raise _Refused(Code.MALFORMED, f"a proof has more than {MAX_HASHES} hashes")
        try:
            if self._cards.get(sender) != offer.card:
                check_card(offer.card, self._mesh)
                self._cards[sender] = offer.card
            head = open_head(offer.head, offer.card)
        except WireError as error:
            raise _Refused(Code.FORBIDDEN, error.message) from error
        if offer.card.node != sender:
            raise _Refused(Code.FORBIDDEN, "a node may offer its own log only")
        if self.forked(sender):
            raise _Refused(Code.FORBIDDEN, "this log showed two histories")
        return head

    def _may_speak(self, version: int) -> None:
        if not may_sign(version, self._seated().version, self.voted):
            raise _Refused(Code.FORBIDDEN, f"nothing is signed under version {version} here")

    def _weigh(self, sender: NodeId, offer: HeadOffered, head: Head, now: Instant) -> list[Effect]:
        if not self.memory.room_for(sender):
            raise _Refused(Code.FORBIDDEN, "more logs than one committee can witness")
        before = self.memory.marks(sender)
        sure = self._is_sure(sender, head)

        def proves(mark: Mark) -> bool:
            new = head.checkpoint
            try:
                verify_consistency(mark.size, new.size, offer.proof, mark.root, new.root)
            except BadProof:
                return False
            return True

        code, after = judge(before, offer.old, head.mark, proves=proves)
        kept: list[Effect] = []
        if after != before or code is Code.WITNESSED:
            # Again even when nothing is new: the write before this one may have failed, and what
            # is not on disk must not be signed.
            kept = [self.memory.keep(offer.card, after, [head])]
        if code is Code.WITNESSED:
            return [*kept, self._cosigned(offer, head, now, sure=sure)]
        known = after[0].size if after else 0
        refusal = _Refused(code, _WHY.get(code, ""), known)
        version = self.manifest.version if self.manifest else 0
        answer = _answer(sender, version, offer.card.origin, head.checkpoint.size, refusal)
        return [*kept, answer, *self._doubt(offer, head, before, code, now)]

    def _doubt(
        self, offer: HeadOffered, head: Head, marks: tuple[Mark, ...], code: Code, now: Instant
    ) -> list[Effect]:
        """Bring forward what a head contradicts, if it does."""
        for mark in marks:
            failed = code is Code.INCONSISTENT and mark == marks[0]
            if failed or contradict(mark, head.mark):
                known = self.memory.head_of(offer.card.node, mark)
                return self.suspect(offer.card, known or b"", offer.head, now)
        return []

    def _accuse(self, card: Card, one: Mark, other: Mark, now: Instant) -> list[Effect]:
        first = self.memory.head_of(card.node, one)
        second = self.memory.head_of(card.node, other)
        return self.suspect(card, first or b"", second or b"", now)

    def _is_sure(self, sender: NodeId, head: Head) -> bool:
        """Return whether we may cosign a head, once we remember it."""
        manifest = self._seated()
        confirmed = sender in self._confirmed
        try:
            others = 0 if confirmed else remembered_by(head.note, manifest, self._me)
        except WireError as error:
            raise _Refused(Code.FORBIDDEN, error.message) from error
        return may_witness(confirmed=confirmed, others=others, quorum=manifest.quorum)

    def _cosigned(self, offer: HeadOffered, head: Head, now: Instant, *, sure: bool) -> Effect:
        node = offer.card.node
        purposes = [SEEN]
        if sure:
            self._confirmed.add(node)
            purposes = [WITNESSED]
            if self._agrees(node, offer, head):
                purposes.append(RECOMPUTED)
        manifest, mark = self._seated(), head.mark
        lines = tuple(self._line(purpose, manifest, head, now) for purpose in purposes)
        origin = offer.card.origin
        return Send(node, HeadCosigned(manifest.version, origin, mark.size, mark.root, lines))

    def _seated(self) -> Manifest:
        manifest = self.manifest
        if manifest is None or manifest.seat(self._me) is None:
            raise _Refused(Code.UNKNOWN, "this node is in no committee")
        return manifest

    def _line(self, purpose: str, manifest: Manifest, head: Head, now: Instant) -> str:
        name = cosigner_name(self._mesh, self._me, purpose, manifest.version)
        key = self._key_for(f"{purpose}/{manifest.version}")
        return cosign(head.checkpoint, name, key, now.wall_ns // 1_000_000_000).line()

    def _agrees(self, sender: NodeId, offer: HeadOffered, head: Head) -> bool:
        """Return whether the newest statement of a log is what this node observes itself."""
        if not offer.statement:
            return False
        new = head.checkpoint
        try:
            leaf = leaf_hash(offer.statement)
            verify_inclusion(leaf, offer.index, new.size, offer.inclusion, new.root)
            entry = parse_leaf(offer.statement)
            if entry.kind is not LeafKind.EPOCH or entry.node != sender:
                return False
            return not self.recompute(sender, parse_statement(entry.body))
        except WireError:
            return False


_WHY: Mapping[Code, str] = {
    Code.MALFORMED: "the proof leads from beyond the head",
    Code.CONFLICT: "another head was seen last",
    Code.INCONSISTENT: "the proof does not lead from the head that was seen last",
}


def _answer(to: NodeId, version: int, origin: str, size: int, refusal: _Refused) -> Effect:
    code, why, known = int(refusal.code), refusal.why, refusal.known
    return Send(to, HeadRefused(version, origin, size, code, known, why))


def _nobody(_: NodeId) -> bool:
    return False


def _suspect_nobody(card: Card, _one: bytes, _other: bytes, _now: Instant) -> list[Effect]:
    return [Notice("ledger.fork", "a log does not continue", "error", {"node": card.node})]
