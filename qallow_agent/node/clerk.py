"""The clerk: gathers what gates decided, and has the ledger keep it.

A leaf of decisions holds the milliseconds since 1970 of its first one (8 bytes, big-endian), then
40 bytes for each (``ethics/records.py``).
"""

import struct
from collections.abc import Callable

from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.gate import Admission, Verdict
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.records import DecisionRecord, pack, record
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


Show = Callable[[int, tuple[tuple[Evidence, Policy], ...], Instant], list[Effect]]
"""(index of the leaf, each decision's evidence and policy, now) -> what to do to have it judged."""


class Clerk:
    """Writes decisions into a node's own log, many at a time.

    Args:
        log: The log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._start_ms = 0
        self._records: list[DecisionRecord] = []
        self._decided: list[tuple[Evidence, Policy]] = []
        self.show: Show = _show_nobody
        self._denied = False
        self._synced_s: Seconds = -SYNC_S
        self._leaves: tuple[int, int] = (0, 0)
        self.position: Position | None = None
        """Where the newest decision stands; None while it waits, or when the log takes nothing."""

    def note(
        self, evidence: Evidence, score: Score, verdict: Verdict, policy: Policy, now: Instant
    ) -> list[Effect]:
        """Take in a decision."""
        effects: list[Effect] = []
        self.position = None
        if self._records and not 0 <= evidence.at_ms - self._start_ms <= _LONGEST_MS:
            effects += self.write(now)  # the clock was set
        if not self._records:
            self._start_ms = evidence.at_ms
        self._decided.append((evidence, policy))
        self._records.append(record(evidence, score, verdict, self._start_ms))
        denied = verdict.admission is not Admission.ADMIT
        self._denied |= denied
        due = len(self._records) >= MOST_RECORDS or (denied and self._leaf_left(now))
        return [*effects, *self.write(now)] if due else effects

    def _leaf_left(self, now: Instant) -> bool:
        """Return whether one more denial of this second gets a leaf, so that it can be cited."""
        second, count = int(now.mono_s), 0
        if self._leaves[0] == second:
            count = self._leaves[1]
        self._leaves = (second, count + 1)
        return count < MOST_LEAVES

    def write(self, now: Instant) -> list[Effect]:
        """Hand everything to the log; call it once a second."""
        if not self._records:
            return []
        body = _START.pack(self._start_ms) + b"".join(pack(each) for each in self._records)
        denied, self._denied = self._denied, False
        synced = denied and now.mono_s - self._synced_s >= SYNC_S
        decided, self._decided = tuple(self._decided), []
        self._records.clear()
        if synced:
            self._synced_s = now.mono_s
        index = self._log.next_index
        written = self._log.write(LeafKind.DECISIONS, body, now, at_once=synced)
        if self._log.next_index == index:
            self.position = None
            return written  # the log takes nothing; it says why
        self.position = Position(self._log.origin, index)
        return [*written, *self.show(index, decided, now)]


def _show_nobody(
    _index: int, _decided: tuple[tuple[Evidence, Policy], ...], _now: Instant
) -> list[Effect]:
    return []
