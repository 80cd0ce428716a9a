"""The clerk: gathers what gates decided, and has the ledger keep it.

A leaf of decisions holds the milliseconds since 1970 of its first one (8 bytes, big-endian), then
40 bytes for each (``ethics/records.py``). It is about one job, whose id picks who validates it, or
about devices and no job; and its header names the one policy that all of it was judged by.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.evidence import Evidence, digest
from qallow_agent.ethics.gate import Admission, Verdict
from qallow_agent.ethics.policy import Policy, policy_digest
from qallow_agent.ethics.records import (
    RECORD_BYTES,
    DecisionRecord,
    pack,
    record,
    unpack_all,
)
from qallow_agent.ethics.refusal import Position
from qallow_agent.ethics.score import Score
from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.ledger.log import Log

MOST_RECORDS = 1_600
"""More go into the next leaf: one holds at most 65,535 bytes."""
SYNC_S: Seconds = 1.0
"""What was denied is made durable at once, but no stranger's requests sync our disk faster."""
MOST_LEAVES = 16
"""Denials of one second that get a leaf of their own; more wait for the second's end."""
_LONGEST_MS = 60_000
_START = struct.Struct(">Q")


@dataclass(slots=True)
class Batch:
    """Decisions that go into one leaf.

    Args:
        job: About which job; empty for devices alone.
        policy: By what they were taken.
        start_ms: When the first was.
        evidence: By digest, what they were taken by; of a job's decisions only.
    """

    job: str
    policy: Policy
    start_ms: int
    records: list[DecisionRecord] = field(default_factory=list)
    evidence: dict[bytes, Evidence] = field(default_factory=dict)

    def body(self) -> bytes:
        """Return the leaf's body."""
        return _START.pack(self.start_ms) + b"".join(pack(each) for each in self.records)


Written = Callable[[Batch, int, Instant], list[Effect]]
"""(batch, index of its leaf, now) -> what follows."""


class Clerk:
    """Writes decisions into a node's own log, many at a time.

    Args:
        log: The log.
        written: Told of every leaf about a job.
    """

    def __init__(self, log: Log, written: Written = lambda *_: []) -> None:
        self._log = log
        self._written = written
        self._batches: dict[tuple[str, bytes], Batch] = {}
        self._denied = False
        self._synced_s: Seconds = -SYNC_S
        self._known: tuple[Policy, bytes] | None = None
        self._leaves: tuple[int, int] = (0, 0)
        self._newest: tuple[str, bytes] = ("", b"")
        self.position: Position | None = None
        """Where the newest decision stands; None while it waits, or when the log takes nothing."""

    def note(
        self, evidence: Evidence, score: Score, verdict: Verdict, policy: Policy, now: Instant
    ) -> list[Effect]:
        """Take in a decision."""
        effects: list[Effect] = []
        self.position = None
        place = self._newest = (evidence.job, self._digest(policy))
        batch = self._batches.get(place)
        if batch is not None and not 0 <= evidence.at_ms - batch.start_ms <= _LONGEST_MS:
            effects += self.write(now)  # the clock was set
            batch = None
        if batch is None:
            batch = self._batches[place] = Batch(evidence.job, policy, evidence.at_ms)
        batch.records.append(record(evidence, score, verdict, batch.start_ms))
        if evidence.job:
            batch.evidence[digest(evidence)] = evidence
        denied = verdict.admission is not Admission.ADMIT
        self._denied |= denied
        due = len(batch.records) >= MOST_RECORDS or (denied and self._leaf_left(now))
        return [*effects, *self.write(now)] if due else effects

    def _leaf_left(self, now: Instant) -> bool:
        """Return whether one more denial of this second gets a leaf, so that it can be cited."""
        second, count = int(now.mono_s), 0
        if self._leaves[0] == second:
            count = self._leaves[1]
        self._leaves = (second, count + 1)
        return count < MOST_LEAVES

    def write(self, now: Instant) -> list[Effect]:
        """Hand everything to the log; call it once a second, and when a job waits for it."""
        if not self._batches:
            return []
        at_once = self._denied and now.mono_s - self._synced_s >= SYNC_S
        batches, self._batches = self._batches, {}
        if at_once:
            self._denied, self._synced_s = False, now.mono_s
        self.position = None
        effects: list[Effect] = []
        for place, batch in batches.items():
            index = self._log.next_index
            effects += self._log.write(
                LeafKind.DECISIONS, batch.body(), now, at_once=at_once, policy=place[1]
            )
            if self._log.next_index == index:
                continue  # the log takes nothing; it says why
            if place == self._newest:
                self.position = Position(self._log.origin, index)
            if batch.job:
                effects += self._written(batch, index, now)
        return effects

    def _digest(self, policy: Policy) -> bytes:
        """Return a policy's digest; it is worked out again only when the policy is another."""
        if self._known is None or self._known[0] is not policy:
            self._known = policy, policy_digest(policy)
        return self._known[1]


def read_decisions(body: bytes) -> tuple[int, list[DecisionRecord]]:
    """Return the first moment and the records of a leaf of decisions.

    Raises:
        Malformed: It holds none.
    """
    start, rest = body[: _START.size], body[_START.size :]
    records = unpack_all(rest) if len(rest) >= RECORD_BYTES else []
    return int.from_bytes(start), records
