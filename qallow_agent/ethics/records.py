"""Decision records: one verdict in exactly 40 bytes, as decision leaves of a ledger hold them."""

import enum
import hashlib
import struct

import msgspec

from qallow_agent.base.errors import InvariantBroken, Malformed
from qallow_agent.ethics.evidence import Evidence, digest
from qallow_agent.ethics.gate import Admission, Running, Verdict
from qallow_agent.ethics.score import FULL, Score
from qallow_agent.ethics.signals import SIGNALS

RECORD_BYTES = 40
JOB_BYTES = 8
DEVICE_BYTES = 4
EVIDENCE_BYTES = 12
_LAYOUT = struct.Struct(f">{JOB_BYTES}s{DEVICE_BYTES}sIHHHBBBB{EVIDENCE_BYTES}sH")
_RUNNING_SHIFT = 2
_VERDICT_BITS = 4


class Flag(enum.IntFlag):
    """What else is worth knowing about a decision."""

    SOLO = 1
    """The node never had peers, by design."""
    OVERRIDDEN = 2
    """Some signal counted as comfortable by the owner's word."""
    STOPPED = 4
    """A stop decided, not the score."""
    REOPENING = 8
    """The score was enough, but had to hold after a close."""


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
        flags: What else is worth knowing; bits that nobody named yet are kept.
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
    flags = Flag(0)
    if score.solo:
        flags |= Flag.SOLO
    if any(mark.overridden for mark in score.marks):
        flags |= Flag.OVERRIDDEN
    if score.stops:
        flags |= Flag.STOPPED
    elif verdict.admission is Admission.DEFER and score.e >= verdict.needed:
        flags |= Flag.REOPENING
    codes = [SIGNALS[each].code if each else 0 for each in score.culprits]
    return DecisionRecord(
        job=job_hash(evidence.job),
        device=device_hash(evidence.device),
        ms=evidence.at_ms - start_ms,
        s=score.s,
        c=score.c,
        h=score.h,
        admission=verdict.admission,
        running=verdict.running,
        culprits=(codes[0], codes[1], codes[2]),
        evidence=digest(evidence)[:EVIDENCE_BYTES],
        flags=flags,
    )


def job_hash(job: str) -> bytes:
    """Return how records name a job."""
    return hashlib.sha256(job.encode()).digest()[:JOB_BYTES]


def device_hash(device: str) -> bytes:
    """Return how records name a device."""
    return hashlib.sha256(device.encode()).digest()[:DEVICE_BYTES]


def pack(record: DecisionRecord) -> bytes:
    """Return the 40 bytes of a record.

    Raises:
        InvariantBroken: A member does not fit its place: we would log what nobody can read.
    """
    wrong = _wrong(record)
    if wrong:
        raise InvariantBroken(f"a decision record with {wrong}")
    return _LAYOUT.pack(
        record.job,
        record.device,
        record.ms,
        record.s,
        record.c,
        record.h,
        record.admission | record.running << _RUNNING_SHIFT,
        *record.culprits,
        record.evidence,
        record.flags,
    )


def unpack(data: bytes) -> DecisionRecord:
    """Return the record that 40 bytes hold.

    Raises:
        Malformed: They are no record.
    """
    if len(data) != RECORD_BYTES:
        raise Malformed(f"a decision record of {len(data)} bytes, not {RECORD_BYTES}")
    job, device, ms, s, c, h, verdict, cs, cc, ch, evidence, flags = _LAYOUT.unpack(data)
    if verdict >> _VERDICT_BITS:
        raise Malformed(f"a decision record with the verdict {verdict:#x}")
    admission, running = verdict & (1 << _RUNNING_SHIFT) - 1, verdict >> _RUNNING_SHIFT
    found = DecisionRecord(
        job, device, ms, s, c, h, admission, running, (cs, cc, ch), evidence, flags
    )
    wrong = _wrong(found)
    if wrong:
        raise Malformed(f"a decision record with {wrong}")
    return found


def unpack_all(body: bytes) -> list[DecisionRecord]:
    """Return the records of a leaf's body, one after the other.

    Raises:
        Malformed: It holds no whole number of records, or one that is none.
    """
    if len(body) % RECORD_BYTES:
        raise Malformed(f"{len(body)} bytes are no whole number of decision records")
    return [unpack(body[at : at + RECORD_BYTES]) for at in range(0, len(body), RECORD_BYTES)]


def _wrong(record: DecisionRecord) -> str:
    """Return what does not fit; empty when all does."""
    lengths = (len(record.job), len(record.device), len(record.evidence))
    if lengths != (JOB_BYTES, DEVICE_BYTES, EVIDENCE_BYTES):
        return f"hashes of {lengths} bytes"
    if not 0 <= record.ms < 1 << 32:
        return f"{record.ms} ms since its leaf began"
    if not all(0 <= each <= FULL for each in (record.s, record.c, record.h)):
        return f"scores of {record.s}, {record.c} and {record.h}"
    if record.admission not in _ADMISSIONS or record.running not in _RUNNING:
        return f"the verdict {record.admission}/{record.running}"
    if not all(0 <= each < 1 << 8 for each in record.culprits) or not 0 <= record.flags < 1 << 16:
        return f"the culprits {record.culprits} and the flags {record.flags}"
    return ""


_ADMISSIONS = frozenset(Admission)
_RUNNING = frozenset(Running)
