"""Evidence: what was known when a placement was judged, as integers that anyone can recompute from.

A float has no place in what is signed and compared: a value is a whole number of millionths of its
unit, as large as 10^15, so that no arithmetic on it overflows 64 bits.
"""

import hashlib
import math

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.base.reading import Provenance, Reading

MILLION = 1_000_000
MAX_VALUE = 10**15
"""Greatest magnitude of a value, in millionths; what lies beyond is taken for this."""
MAX_ITEMS = 64
MAX_EVIDENCE_BYTES = 16 << 10
_DOMAIN = "qallow/evidence/v1"
_ENCODER = msgspec.msgpack.Encoder()


class Item(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One measured value of one signal; ``value`` is None only when it is unknown.

    Args:
        signal: Which signal of the table, e.g. ``s2``.
        value: Millionths of ``unit``.
        unit: ``ratio``, ``seconds``, ``celsius``, ``watts``, ``joules``, ``count``, ``flag``.
        time_ms: When it was measured, milliseconds of Unix time by the node's clock.
        source: Where it was read, e.g. ``nvml``.
        provenance: Whether it was measured, estimated (by a named model) or is unknown.
        why: For unknown values the reason; for estimates the model.
    """

    signal: str
    value: int | None
    unit: str
    time_ms: int
    source: str
    provenance: Provenance = "measured"
    why: str = ""


class Evidence(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything that was known about one placement: a job on a device of a node at a moment.

    Args:
        node: The node's id.
        device: The device's name there.
        job: The job's id; empty when the device is judged for nobody in particular.
        at_ms: When it was put together, milliseconds of Unix time by the node's clock.
        items: At most one a signal; of several the first counts.
    """

    node: str
    device: str
    job: str
    at_ms: int
    items: tuple[Item, ...]

    def find(self, signal: str) -> Item | None:
        """Return the item of a signal; None when there is none."""
        return next((item for item in self.items if item.signal == signal), None)


_DECODER = msgspec.msgpack.Decoder(Evidence)


def millionths(value: float) -> int:
    """Return a number as whole millionths, rounded to the nearest and kept within the caps."""
    if math.isnan(value):
        raise ValueError("not a number is no evidence")
    return round(max(-MAX_VALUE, min(MAX_VALUE, value * MILLION)))


def from_reading(signal: str, reading: Reading, time_ms: int) -> Item:
    """Return a sensor's reading as evidence for a signal; not a number counts as unknown."""
    if reading.value is None or math.isnan(reading.value):
        why = reading.why or "not a number"
        return Item(signal, None, reading.unit, time_ms, reading.source, "unknown", why)
    return Item(
        signal,
        millionths(reading.value),
        reading.unit,
        time_ms,
        reading.source,
        reading.provenance,
        reading.why,
    )


def digest(evidence: Evidence) -> bytes:
    """Return the 32-byte SHA-256 of evidence under its own domain."""
    return hashlib.sha256(canonical(_DOMAIN, evidence)).digest()


def encode(evidence: Evidence) -> bytes:
    """Return the bytes of evidence for peers."""
    return _ENCODER.encode(evidence)


def decode(data: bytes) -> Evidence:
    """Return the evidence that a peer's bytes hold; nothing of it is believed yet.

    Raises:
        TooLarge: More bytes or items than anybody needs.
        Malformed: The bytes are no evidence.
    """
    if len(data) > MAX_EVIDENCE_BYTES:
        raise TooLarge(f"evidence of {len(data)} bytes")
    try:
        evidence = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"bytes are no evidence: {error}") from error
    if len(evidence.items) > MAX_ITEMS:
        raise TooLarge(f"evidence of {len(evidence.items)} items")
    return evidence
