"""Receipts: written into the log when a job is over, and handed out with their proof."""

from dataclasses import dataclass
from typing import Final

from qallow_agent.base.errors import BadProof, DeadlineExceeded, JobNotFound, QallowError
from qallow_agent.base.ids import JobId, Sender
from qallow_agent.base.machine import Effect, Instant, Reply, soonest
from qallow_agent.base.message import Message, Report, failure
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.local import JobOver
from qallow_agent.jobs.messages import JobEnergy
from qallow_agent.jobs.model import FINAL, JobRecord
from qallow_agent.jobs.tabs import pending
from qallow_agent.ledger import receipt as leaves
from qallow_agent.ledger.certificate import certified_by
from qallow_agent.ledger.checkpoint import Checkpoint, parse_checkpoint
from qallow_agent.ledger.kinds import Certified, DecisionValidated
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.manifest import Manifest
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.messages import HeadSigned
from qallow_agent.ledger.note import Note
from qallow_agent.ledger.proofs import verify_inclusion
from qallow_agent.ledger.receiptfile import Committee, Papers, ReceiptFile
from qallow_agent.node.commands import GetReceipt
from qallow_agent.node.remarks import receipt_of
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.node.vouchers import Vouchers

SETTLE_S: Final = 6.0
"""Executors settle the last seconds of a job two to four seconds after it ended."""

RETRY_S: Final = 5.0
"""How long after the log took none a receipt is tried again."""

MOST_PATIENCE_S: Final = 300.0
MOST_ASKED: Final = 256
"""Requests that wait for a receipt; later ones are answered at once, with what there is."""

SCHEMA: Final = "qallow.receipt/v1"


@dataclass(frozen=True, slots=True)
class Cover:
    """A head that covers a receipt.

    Args:
        head: With every signature that is known here.
        standing: What the signatures amount to, in words.
        committee: Whose quorum certifies it; None while it does not.
    """

    head: Note
    standing: str
    committee: Committee | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that waits."""

    sender: Sender
    job: JobId
    certified: bool
    until_s: Seconds


class Receipts:
    """Writes the receipt of every job of this node, and answers who asks for one.

    Args:
        me: Who this node is.
        rooms: Its rooms.
        vouchers: What executors told of their decisions.
    """

    def __init__(self, me: Self, rooms: Rooms, vouchers: Vouchers) -> None:
        self._vouchers = vouchers
        self._me = me
        self._rooms = rooms
        self._pending: dict[JobId, Seconds] = {}
        self._asked: list[_Asked] = []
        self._manifest: Manifest | None = None
        """Of the committee that certified last."""

    # --- writing ----------------------------------------------------------------------------------

    def over(self, _: Sender, fact: JobOver, now: Instant) -> list[Effect]:
        """Write the receipt of a job, once its executors have told what they used."""
        self._pending[fact.job] = now.mono_s + SETTLE_S
        return self._look_at(fact.job, now)

    def charged(self, _: Sender, message: JobEnergy, now: Instant) -> list[Effect]:
        """Look whether that was the last word on a job's energy; the desk knows it already."""
        return self._look_at(message.job, now) if message.job in self._pending else []

    def vouched(self, sender: Sender, message: DecisionValidated, now: Instant) -> list[Effect]:
        """Take in what validators said of an executor's decision; it may be the last word."""
        learnt = self._vouchers.learn(sender, message, now)
        job = JobId(message.job)
        return [*learnt, *(self._look_at(job, now) if job in self._pending else [])]

    def _look_at(self, job: JobId, now: Instant) -> list[Effect]:
        record = self._rooms.desk.account_of(job)
        if record is None or record.receipt >= 0:
            self._pending.pop(job, None)
            return []
        waits = pending(record) or self._vouchers.missing(record)
        if waits and now.mono_s < self._pending[job]:
            return []
        return self._write(record, now)

    def _write(self, record: JobRecord, now: Instant) -> list[Effect]:
        log = self._rooms.ledger
        bound_s = self._rooms.sync.wall_error_s(now)
        receipt = receipt_of(record, self._me.node, bound_s, self._vouchers.remarks(record.id))
        index = log.next_index
        # Durable at once: else the record could name an entry that a crash gives to another.
        effects = log.write(LeafKind.RECEIPT, leaves.pack(receipt), now, at_once=True)
        if log.next_index == index:
            self._pending[record.id] = now.mono_s + RETRY_S
            return effects
        del self._pending[record.id]
        return [*effects, *self._rooms.desk.counter.receipted(record.id, index), *self._serve(now)]

    # --- handing out ------------------------------------------------------------------------------

    def answer(self, sender: Sender, query: GetReceipt, now: Instant) -> list[Effect]:
        """Answer with a job's receipt, now or as soon as there is what was asked for."""
        wait_s = min(max(query.patience_s, 0.0), MOST_PATIENCE_S)
        if len(self._asked) >= MOST_ASKED:
            wait_s = 0.0
        self._asked.append(_Asked(sender, query.job, query.certified, now.mono_s + wait_s))
        return self._serve(now)

    def news(self, _: Sender, _fact: HeadSigned, now: Instant) -> list[Effect]:
        """Answer those that wait for a head that was just signed."""
        return self._serve(now)

    def certified(self, _: Sender, _fact: Certified, now: Instant) -> list[Effect]:
        """Answer those that wait for a certificate."""
        self._manifest = self._rooms.council.committee.manifest
        return self._serve(now)

    def tick(self, now: Instant) -> list[Effect]:
        """Write what waited long enough; answer who waited long enough."""
        effects: list[Effect] = []
        for job, until_s in list(self._pending.items()):
            if until_s <= now.mono_s:
                effects += self._look_at(job, now)
        return effects + self._serve(now)

    def next_deadline(self) -> Seconds | None:
        """Return when there is something to write or to answer."""
        return soonest(*self._pending.values(), *(asked.until_s for asked in self._asked))

    def _serve(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        asked, self._asked = self._asked, []
        for each in asked:
            try:
                answer = self._answer_to(each, now)
            except QallowError as error:  # the log cannot be read: whoever asked hears it
                answer = failure(error)
            if answer is None:
                self._asked.append(each)
            else:
                effects.append(Reply(each.sender, answer))
        return effects

    def _answer_to(self, asked: _Asked, now: Instant) -> Message | None:
        """Return what to say to a request; None to let it wait."""
        record = self._rooms.desk.account_of(asked.job)
        if record is None:
            hint = "see: qallow-agent jobs; a job is known at the node where it was submitted"
            return failure(JobNotFound(f"{asked.job} is unknown here", hint=hint))
        if record.receipt >= 0 and not self._holds(record):
            hint = "the log was moved or begun anew; keep receipts as files"
            return failure(JobNotFound(f"the log has no receipt of {record.id} now", hint=hint))
        cover = self._cover(record.receipt) if record.receipt >= 0 else None
        late = asked.until_s <= now.mono_s
        if cover is not None and (late or cover.committee or not asked.certified):
            return Report(SCHEMA, self._document(record, cover))
        return failure(self._too_late(record)) if late else None

    def _holds(self, record: JobRecord) -> bool:
        """Return whether the log still is the one in which a job's receipt was written."""
        log = self._rooms.ledger
        if record.receipt >= log.size:
            return False
        leaf = parse_leaf(log.entry(record.receipt))
        return leaf.kind is LeafKind.RECEIPT and leaves.unpack(leaf.body).job == record.id

    def _covers(self, head: Checkpoint, index: int) -> bool:
        """Return whether a head reaches an entry, and is not of a log that was given up."""
        log = self._rooms.ledger
        if not index < head.size <= log.size:
            return False
        leaf, proof = leaf_hash(log.entry(index)), log.inclusion(index, head.size)
        try:
            verify_inclusion(leaf, index, head.size, proof, head.root)
        except BadProof:
            return False
        return True

    def _document(self, record: JobRecord, cover: Cover) -> dict[str, object]:
        log, index = self._rooms.ledger, record.receipt
        head = parse_checkpoint(cover.head.text)
        keys = tuple(key.encode() for key in log.keys)
        papers = Papers(keys, self._rooms.council.card, cover.committee)
        proof = log.inclusion(index, head.size)
        file = ReceiptFile(log.entry(index), index, proof, cover.head, papers)
        return {
            "schema": SCHEMA,
            "job": record.id,
            "standing": cover.standing,
            "certified": cover.committee is not None,
            "file": file.encode().decode(),
        }

    def _too_late(self, record: JobRecord) -> DeadlineExceeded:
        if record.state not in FINAL:
            why, hint = f"{record.id} is not over", "wait for its end, or give --timeout"
        elif self._rooms.ledger.trouble:
            why = f"the log cannot be written: {self._rooms.ledger.trouble}"
            hint = "free the disk; the receipt is written then"
        else:
            why, hint = f"the receipt of {record.id} is not signed yet", "ask again in some seconds"
        return DeadlineExceeded(why, hint=hint, retryable=True)

    def _cover(self, index: int) -> Cover | None:
        """Return the best head that covers an entry; None while none does."""
        certificate = self._certificate(index)
        if certificate is not None:
            return certificate
        head = self._rooms.ledger.head
        if head is None or parse_checkpoint(head.text).size <= index:
            return None
        held = self._rooms.council.committee.manifest
        if held is None:
            return Cover(head, "none yet: the mesh has no committee")
        return Cover(head, f"provisional: fewer than {held.quorum.needed} of {len(held.seats)} yet")

    def _certificate(self, index: int) -> Cover | None:
        council = self._rooms.council
        note = council.certifier.certified
        if note is None:
            return None
        if not self._covers(parse_checkpoint(note.text), index):
            return None
        for manifest in (self._manifest, council.committee.manifest):
            by = () if manifest is None else certified_by(note, manifest)
            if manifest is not None and by:
                quorum = manifest.quorum
                standing = f"certified by {len(by)} of {quorum.members} ({quorum.standing})"
                if quorum.members == 1:
                    standing = "solo: this node is its own only witness"
                mesh_key = self._rooms.doorkeeper.standing.mesh_key
                return Cover(note, standing, Committee(mesh_key, manifest))
        return None  # by a committee that is history: the next head gets a new certificate
