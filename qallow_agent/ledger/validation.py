"""Validators: three peers judge a batch of decisions again, and say whether they agree.

The job's id picks them, so no node picks its own judges. What a validator cannot know, such as a
thermometer that lies plausibly, it cannot object to.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import BadSignature, WireError
from qallow_agent.base.ids import MeshId, NodeId, Sender
from qallow_agent.base.keys import SigningKey, verify
from qallow_agent.base.machine import Announce, Effect, Instant, Send
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.rendezvous import rendezvous
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.kinds import (
    Assent,
    Blob,
    DecisionBatch,
    Judged,
    Objected,
    Objection,
)
from qallow_agent.ledger.log import origin_of
from qallow_agent.ledger.merkle import leaf_hash

VALIDATORS = 3
ANSWER_S: Seconds = 4.0
"""Over before a receipt is written, which waits six seconds for what is still to be told."""
MAX_BATCH_BYTES = 60_000
"""Leaf and evidence together: a message of members holds 64 KiB."""
MAX_OPEN = 1_024
"""While a validator that is gone is still waited for, busy nodes open many."""
_ASSENT = "qallow/assent/v1"
_OBJECTION = "qallow/objection/v1"
_WHY_LIMIT = 200
_SIGNAL_LIMIT = 16


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a validator objects to: the signal, and why."""

    signal: str
    why: str


Recheck = Callable[[NodeId, DecisionBatch, Instant], Complaint | None]
"""(author, batch, now) -> what is wrong with it; None when nothing is."""

KeyOf = Callable[[NodeId], bytes | None]
"""Node -> its identity key; None for strangers."""


@dataclass(slots=True)
class _Open:
    """A batch that validators were asked about."""

    leaf: bytes
    asked: tuple[NodeId, ...]
    until_s: Seconds
    assents: dict[NodeId, Assent] = field(default_factory=dict)
    objections: dict[NodeId, Objection] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether everybody answered."""
        return len(self.assents) + len(self.objections) == len(self.asked)


class Validation:
    """Asks validators about this node's decisions, and validates those of others.

    Args:
        me: Who this is.
        mesh: Of which mesh.
        identity: Signs what this node says of others' decisions.
        workers: Enrolled workers that are up.
        key_of: Identity keys of members.
        recheck: Judges a batch again.
    """

    def __init__(
        self,
        *,
        me: NodeId,
        mesh: MeshId,
        identity: SigningKey,
        workers: Callable[[], tuple[NodeId, ...]],
        key_of: KeyOf,
        recheck: Recheck,
    ) -> None:
        self.recheck = recheck
        self._me = me
        self._mesh = mesh
        self._identity = identity
        self._workers = workers
        self._key_of = key_of
        self._open: dict[int, _Open] = {}

    # --- the author -------------------------------------------------------------------------------

    def submit(
        self, job: str, index: int, leaf: bytes, evidence: tuple[Blob, ...], now: Instant
    ) -> list[Effect]:
        """Ask the validators of a job about decisions that this node has logged.

        Args:
            job: Its id; it picks the validators.
            index: Of the leaf in this node's log.
            leaf: The entry.
            evidence: What the decisions name by digest.
            now: When.

        Returns:
            What to do; ``Judged`` is announced when all have answered or their time is over.
        """
        size = len(leaf) + sum(len(blob.data) + len(blob.digest) for blob in evidence)
        others = (node for node in self._workers() if node != self._me)
        asked = rendezvous(job, others, VALIDATORS)
        if not asked:
            return [Announce(Judged(index, (), ()))]
        if size > MAX_BATCH_BYTES or len(self._open) >= MAX_OPEN:
            facts: dict[str, str | int | float | bool | None] = {"job": job, "size_bytes": size}
            text = "a batch of decisions goes unvalidated: it is too large, or too many are open"
            return [Notice("validate.skipped", text, "warning", facts)]
        self._open[index] = _Open(leaf, asked, now.mono_s + ANSWER_S)
        batch = DecisionBatch(origin_of(self._mesh, self._me), index, leaf, evidence)
        return [Send(node, batch) for node in asked]

    # --- the Machine interface --------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Judge a batch of a peer, or take in its judgement of ours.

        Raises:
            WireError: What it says is not about its own log, or not signed by it.
        """
        node = NodeId(sender)
        match message:
            case DecisionBatch():
                return self._judge(node, message, now)
            case Assent() | Objection():
                return self._take(node, message)
        return []

    def tick(self, now: Instant) -> list[Effect]:
        """Announce what is known of batches whose time is over."""
        over = [index for index, each in self._open.items() if each.until_s <= now.mono_s]
        return [effect for index in over for effect in self._close(index)]

    def next_deadline(self) -> Seconds | None:
        """Return when the first batch's time is over; None while none is open."""
        return min((each.until_s for each in self._open.values()), default=None)

    def check(self) -> None:
        """Nothing here can contradict itself."""

    # --- the validator ----------------------------------------------------------------------------

    def _judge(self, author: NodeId, batch: DecisionBatch, now: Instant) -> list[Effect]:
        if batch.origin != origin_of(self._mesh, author):
            raise BadSignature(f"{author} shows decisions of {batch.origin:.80}")
        complaint = self.recheck(author, batch, now)
        digest = leaf_hash(batch.leaf)
        if complaint is None:
            signed = canonical(_ASSENT, (batch.origin, batch.index, digest, self._me))
            signature = self._identity.sign(signed)
            return [Send(author, Assent(batch.origin, batch.index, self._me, signature))]
        signal, why = complaint.signal[:_SIGNAL_LIMIT], complaint.why[:_WHY_LIMIT]
        said = (batch.origin, batch.index, digest, self._me, signal, why)
        signature = self._identity.sign(canonical(_OBJECTION, said))
        objection = Objection(batch.origin, batch.index, self._me, signal, why, signature)
        return [Announce(Objected(objection)), Send(author, objection)]

    # --- the answers ------------------------------------------------------------------------------

    def _take(self, sender: NodeId, answer: Assent | Objection) -> list[Effect]:
        waiting = self._open.get(answer.index)
        if waiting is None or sender not in waiting.asked:
            return []
        key = self._key_of(sender)
        if key is None or answer.validator != sender:
            raise BadSignature(f"{sender} judges in another's name")
        check_answer(answer, leaf_hash(waiting.leaf), key)
        if isinstance(answer, Objection):
            waiting.objections[sender] = answer
            waiting.assents.pop(sender, None)
        elif sender not in waiting.objections:
            waiting.assents[sender] = answer
        return self._close(answer.index) if waiting.complete else []

    def _close(self, index: int) -> list[Effect]:
        over = self._open.pop(index)
        objections = tuple(over.objections[node] for node in sorted(over.objections))
        signed = tuple(over.assents[node] for node in sorted(over.assents))
        names = tuple(each.validator for each in signed)
        return [Announce(Judged(index, names, objections, signed, len(over.asked)))]


def check_answer(answer: Assent | Objection, leaf_digest: bytes, key: bytes) -> None:
    """Check that a validator signed its answer about a leaf.

    Args:
        answer: What it said.
        leaf_digest: The leaf's hash.
        key: The validator's identity key.

    Raises:
        WireError: It did not, or its words are too long.
    """
    named = (answer.origin, answer.index, leaf_digest, answer.validator)
    if isinstance(answer, Assent):
        verify(key, canonical(_ASSENT, named), answer.signature)
        return
    if len(answer.signal) > _SIGNAL_LIMIT or len(answer.why) > _WHY_LIMIT:
        raise WireError(f"the objection of {answer.validator} is too long")
    said = (*named, answer.signal, answer.why)
    verify(key, canonical(_OBJECTION, said), answer.signature)


def believe_all(_: NodeId, _batch: DecisionBatch, _now: Instant) -> Complaint | None:
    """Object to nothing: what stands in while no validator is installed."""
    return None
