"""Validators at work: this node's decisions go to peers, and their word to whom it concerns."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from qallow_agent.base.errors import NotAdmitted
from qallow_agent.base.ids import NodeId, Sender
from qallow_agent.base.machine import Effect, Instant, Send
from qallow_agent.base.notice import Notice
from qallow_agent.base.oldest import keep
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.evidence import encode
from qallow_agent.ethics.latitude import encode_in_force
from qallow_agent.ethics.policy import policy_digest
from qallow_agent.ethics.records import EVIDENCE_BYTES
from qallow_agent.jobs.model import Admission
from qallow_agent.ledger.kinds import Blob, DecisionValidated, Judged
from qallow_agent.node.clerk import Batch
from qallow_agent.node.judges import Judges
from qallow_agent.node.rooms import Rooms, Self

ENOUGH: Final = 2
"""Validators that must object before a lease ends. Of three one may be faulty, as the mesh bears
everywhere else: one objection alone may be its own fault, or its malice, and is shown and logged;
of two at least one is honest. Where only one validator is there, nobody can end a lease."""

_MOST_KEPT: Final = 1_024


@dataclass(frozen=True, slots=True)
class _Asked:
    """Decisions of this node that validators judge now."""

    desk: NodeId | None
    batch: Batch
    since_s: Seconds


class Validators:
    """Carries decisions to validators and their word to whom it concerns.

    Args:
        me: Who this node is.
        rooms: Its rooms.
    """

    def __init__(self, me: Self, rooms: Rooms) -> None:
        self._me = me
        self._rooms = rooms
        self.judges = Judges(rooms)
        self.counts: Counter[str] = Counter()
        self.last = ""
        """The newest objection against this node, in words."""
        self._took_s: Seconds | None = None
        self._desks: dict[str, NodeId] = {}
        self._asked: dict[int, _Asked] = {}

    # --- this node's own decisions ----------------------------------------------------------------

    def note_desk(self, job: str, desk: NodeId) -> None:
        """Remember whose job it is that will be decided about."""
        keep(self._desks, job, desk, _MOST_KEPT)

    def look(self, now: Instant) -> None:
        """Notice another policy of the mesh; call it about once a second."""
        self.judges.look(now)

    def written(self, batch: Batch, index: int, now: Instant) -> list[Effect]:
        """Have validators judge decisions about a job, which are in the log now."""
        blobs = [Blob(policy_digest(batch.policy), encode_in_force(batch.policy))]
        blobs += [Blob(name, encode(each)) for name, each in batch.evidence.items()]
        keep(self._asked, index, _Asked(self._desks.get(batch.job), batch, now.mono_s), _MOST_KEPT)
        leaf = self._rooms.ledger.entry(index)
        return self._rooms.validation.submit(batch.job, index, leaf, tuple(blobs), now)

    def judged(self, _: Sender, fact: Judged, now: Instant) -> list[Effect]:
        """Tell the job's desk what validators said, and end the lease if too many object."""
        asked = self._asked.pop(fact.index, None)
        if asked is None:
            return []
        self.counts["asked"] += fact.asked
        self.counts["assents"] += len(fact.assents)
        self.counts["objections"] += len(fact.objections)
        self.counts["validated" if fact.assents or fact.objections else "unanswered"] += 1
        self._took_s = now.mono_s - asked.since_s
        effects = self._tell(asked, fact)
        if not fact.objections:
            return effects
        self.counts["objected"] += 1
        first = fact.objections[0]
        said = f"{first.signal or 'decision'}: {first.why}"
        self.last = "".join(each if each.isprintable() else "?" for each in said)  # a peer's words
        facts: dict[str, str | int | float | bool | None] = {
            "job": asked.batch.job, "signal": first.signal, "why": first.why,
            "validator": first.validator, "objections": len(fact.objections), "asked": fact.asked,
        }  # fmt: skip
        text = "validators object to a decision of this node"
        effects.append(Notice("validate.objected", text, "warning", facts))
        if len(fact.objections) < ENOUGH or len(fact.objections) <= len(fact.assents):
            return effects
        return effects + self._end(asked.batch, f"validators object to {self.last}", now)

    def _tell(self, asked: _Asked, fact: Judged) -> list[Effect]:
        if asked.desk is None:
            return []
        known = {name[:EVIDENCE_BYTES]: name for name in asked.batch.evidence}
        named = [known[each.evidence] for each in asked.batch.records]
        word = DecisionValidated(
            job=asked.batch.job,
            index=fact.index,
            leaf=self._rooms.ledger.entry(fact.index),
            devices=tuple(asked.batch.evidence[each].device for each in named),
            evidence=tuple(named),
            assents=fact.signed,
            objections=fact.objections,
        )
        return [Send(asked.desk, word)]

    def _end(self, batch: Batch, why: str, now: Instant) -> list[Effect]:
        """End what the job holds of the devices that were decided about."""
        self.counts["revoked"] += 1
        shut = Admission(NotAdmitted.code, why, "look at its sensors, clock and policy", share=0.0)
        devices = dict.fromkeys(each.device for each in batch.evidence.values())
        return [
            effect
            for device in devices
            for effect in self._rooms.bench.admit(device, shut, now, job=batch.job)
        ]

    def document(self) -> dict[str, Any]:
        """Return what came of validating; JSON-shaped."""
        names = ("validated", "unanswered", "assents", "objections", "objected", "revoked")
        return {
            **{name: self.counts[name] for name in names},
            "judged": self.judges.judged,
            "refuted": self.judges.refuted,
            "last_objection": self.last,
            "took_s": self._took_s,
        }
