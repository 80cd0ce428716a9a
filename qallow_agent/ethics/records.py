"""Decision records: one verdict in exactly 40 bytes, as decision leaves of a ledger hold them."""

import enum

import msgspec

from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.gate import Verdict
from qallow_agent.ethics.score import Score

RECORD_BYTES = 40


class Flag(enum.IntFlag):
    """What else is worth knowing about a decision."""

    SOLO = 1
    OVERRIDDEN = 2
    STOPPED = 4
    LOOKED = 8


class DecisionRecord(msgspec.Struct, frozen=True):
    """One decision.

    Args:
        job: First 8 bytes of SHA-256 of the job's id.
        device: First 4 bytes of SHA-256 of the device's name.
        ms: Milliseconds since the beginning of the leaf's interval.
        s: Thousandths.
        c: Thousandths.
        h: Thousandths.
        admission: The gate's word on new work.
        running: The gate's word on running work.
        culprits: Code of the culprit of each component; 0 for none.
        evidence: First 12 bytes of the evidence's digest.
        flags: What else is worth knowing.
    """

    job: bytes
    device: bytes
    ms: int
    s: int
    c: int
    h: int
    admission: int
    running: int
    culprits: tuple[int, int, int]
    evidence: bytes
    flags: int = 0


def record(evidence: Evidence, score: Score, verdict: Verdict, start_ms: int) -> DecisionRecord:
    """Return the record of a decision in a leaf whose interval begins at ``start_ms``."""
    raise NotImplementedError


def pack(record: DecisionRecord) -> bytes:
    """Return the 40 bytes of a record."""
    raise NotImplementedError


def unpack(data: bytes) -> DecisionRecord:
    """Return the record that 40 bytes hold.

    Raises:
        Malformed: They are no record.
    """
    raise NotImplementedError
