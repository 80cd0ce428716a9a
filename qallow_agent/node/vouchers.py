"""Vouchers: what executors tell a desk of their decisions, for the receipts of its jobs."""

from typing import Final

from qallow_agent.base.errors import BadSignature, Malformed
from qallow_agent.base.ids import JobId, NodeId, Sender
from qallow_agent.base.machine import Effect, Instant
from qallow_agent.ethics.gate import Admission
from qallow_agent.ethics.records import EVIDENCE_BYTES, DecisionRecord, device_hash, job_hash
from qallow_agent.ethics.signals import SIGNALS
from qallow_agent.jobs.model import JobRecord
from qallow_agent.ledger import receipt as leaves
from qallow_agent.ledger.kinds import Assent, DecisionValidated, Objection
from qallow_agent.ledger.leaf import Leaf, LeafKind, parse_leaf
from qallow_agent.ledger.log import origin_of
from qallow_agent.ledger.merkle import HASH_BYTES, leaf_hash
from qallow_agent.ledger.validation import VALIDATORS, check_answer
from qallow_agent.node.clerk import read_decisions
from qallow_agent.node.remarks import Remarks
from qallow_agent.node.rooms import Rooms, Self

_MOST_JOBS: Final = 1_024
_MOST_PLACES: Final = 128
_NAMES: Final = {each.code: name for name, each in SIGNALS.items()}


class Vouchers:
    """Keeps, for each job of this node, under which decisions it was taken and who assented.

    Args:
        me: Who this node is.
        rooms: Its rooms.
    """

    def __init__(self, me: Self, rooms: Rooms) -> None:
        self._me = me
        self._rooms = rooms
        self._jobs: dict[JobId, dict[str, leaves.Admission]] = {}
        self._assents: dict[JobId, dict[NodeId, None]] = {}

    def learn(self, sender: Sender, word: DecisionValidated, _now: Instant) -> list[Effect]:
        """Take in what validators said of a decision, as its executor tells and they signed.

        Raises:
            WireError: It is not about the executor's own log and this job.
            BadSignature: A validator did not sign what it is said to have said.
        """
        node, job = NodeId(sender), JobId(word.job)
        if self._rooms.desk.account_of(job) is None:
            return []
        leaf = parse_leaf(word.leaf)
        if leaf.node != node or leaf.kind is not LeafKind.DECISIONS:
            raise Malformed(f"{node} shows a leaf of {leaf.kind.name} of {leaf.node}")
        _, records = read_decisions(leaf.body)
        if not len(records) == len(word.devices) == len(word.evidence):
            raise Malformed("devices or evidence are not those of the leaf")
        agreed = self._agreed(node, word)
        for record, device, evidence in zip(records, word.devices, word.evidence, strict=True):
            _check(record, job, device, evidence)
            if record.admission == Admission.ADMIT:
                self._note(job, node, device, _admission(self._me, leaf, word, record, evidence))
                self._assents.setdefault(job, {}).update(dict.fromkeys(agreed))
        return []

    def missing(self, record: JobRecord) -> bool:
        """Return whether an executor of a job has not told yet what validators said."""
        known = self._jobs.get(record.id, {})
        return any(tab.place not in known for tab in record.energy)

    def remarks(self, job: JobId) -> Remarks:
        """Return what a receipt says of a job beyond what its desk knows."""
        record = self._rooms.desk.account_of(job)
        several = 0 if record is None else record.options.verify
        return Remarks(
            admissions=self._jobs.get(job, {}),
            replicas=several if several > 1 else 0,
            validators=tuple(sorted(self._assents.get(job, {}))),
        )

    def _agreed(self, node: NodeId, word: DecisionValidated) -> list[NodeId]:
        """Return whose assents are sound."""
        answers: list[Assent | Objection] = [*word.assents, *word.objections]
        names = [each.validator for each in answers]
        if len(answers) > VALIDATORS or len(set(names)) < len(names) or node in names:
            raise Malformed(f"{len(names)} answers, or not of different validators")
        for each in answers:
            key = self._rooms.observer.key_of(each.validator)
            if key is None or each.index != word.index:
                raise BadSignature(f"{each.validator} is no validator of entry {word.index}")
            if each.origin != origin_of(self._me.mesh, node):
                raise BadSignature(f"{each.validator} judged another log")
            check_answer(each, leaf_hash(word.leaf), key)
        return [each.validator for each in word.assents]

    def _note(self, job: JobId, node: NodeId, device: str, admitted: leaves.Admission) -> None:
        places = self._jobs.pop(job, {})
        member = self._rooms.membership.record_of(node)
        if len(places) < _MOST_PLACES:
            places[f"{member.name if member else node}/{device}"] = admitted
        self._jobs[job] = places
        while len(self._jobs) > _MOST_JOBS:
            oldest = next(iter(self._jobs))
            del self._jobs[oldest]
            self._assents.pop(oldest, None)


def _check(record: DecisionRecord, job: JobId, device: str, evidence: bytes) -> None:
    if record.job != job_hash(job) or record.device != device_hash(device):
        raise Malformed("a decision is about another job or device than it is said to be")
    if len(evidence) != HASH_BYTES or evidence[:EVIDENCE_BYTES] != record.evidence:
        raise Malformed("a decision names other evidence than it is said to")


def _admission(
    me: Self, leaf: Leaf, word: DecisionValidated, record: DecisionRecord, evidence: bytes
) -> leaves.Admission:
    return leaves.Admission(
        s=record.s,
        c=record.c,
        h=record.h,
        e=record.s + record.c + record.h,
        culprits=tuple(_NAMES.get(code, "") for code in record.culprits),
        evidence=evidence,
        policy=leaf.policy,
        origin=origin_of(me.mesh, leaf.node),
        index=word.index,
    )
