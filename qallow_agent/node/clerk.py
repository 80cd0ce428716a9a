"""The clerk: gathers what gates decided, and has the ledger keep it.

A leaf of decisions holds the milliseconds since 1970 of its first one (8 bytes, big-endian), then
40 bytes for each (``ethics/records.py``).
"""

import struct

from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.gate import Admission, Verdict
from qallow_agent.ethics.records import DecisionRecord, pack, record
from qallow_agent.ethics.score import Score
from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.ledger.log import Log

MOST_RECORDS = 1_600
"""More go into the next leaf: one holds at most 65,535 bytes."""
SYNC_S: Seconds = 1.0
"""What was denied is made durable at once, but no stranger's requests sync our disk faster."""
_LONGEST_MS = 60_000
_START = struct.Struct(">Q")


class Clerk:
    """Writes decisions into a node's own log, many at a time.

    Args:
        log: The log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._start_ms = 0
        self._records: list[DecisionRecord] = []
        self._denied = False
        self._synced_s: Seconds = -SYNC_S

    def note(
        self, evidence: Evidence, score: Score, verdict: Verdict, now: Instant
    ) -> list[Effect]:
        """Take in a decision."""
        effects: list[Effect] = []
        if self._records and not 0 <= evidence.at_ms - self._start_ms <= _LONGEST_MS:
            effects += self.write(now)  # the clock was set
        if not self._records:
            self._start_ms = evidence.at_ms
        self._records.append(record(evidence, score, verdict, self._start_ms))
        self._denied |= verdict.admission is not Admission.ADMIT
        if len(self._records) >= MOST_RECORDS:
            return [*effects, *self.write(now)]
        due = self._denied and now.mono_s - self._synced_s >= SYNC_S
        return [*effects, *self.write(now)] if due else effects

    def write(self, now: Instant) -> list[Effect]:
        """Hand everything to the log; call it once a second."""
        if not self._records:
            return []
        body = _START.pack(self._start_ms) + b"".join(pack(each) for each in self._records)
        denied, self._denied = self._denied, False
        self._records.clear()
        if denied:
            self._synced_s = now.mono_s
        return self._log.write(LeafKind.DECISIONS, body, now, at_once=denied)
