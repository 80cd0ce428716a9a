"""A receipt: what a job was, where it ran, what it used and what came out, as a leaf's body.

It is MessagePack in its shortest form, fields in order and without names. There are no floats in
it: energy is in microjoules, scores are in thousandths, times in milliseconds since 1970. One fact
has one encoding: what decodes to a receipt and is not what that receipt encodes to, is refused.
"""

from typing import Annotated, Final, Literal

import msgspec

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.base.reading import Provenance
from qallow_agent.ledger.merkle import HASH_BYTES

VERSION: Final = 1
MAX_BODY_BYTES: Final = 60_000
"""Of the 65,439 that fit into a leaf."""

MAX_EXECUTORS: Final = 128
MAX_COLUMNS: Final = 64
MAX_TEXT: Final = 200
UNKNOWN: Final = -1
"""An index in a log that nobody told."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Digest = Annotated[bytes, msgspec.Meta(max_length=HASH_BYTES)]
"""32 bytes, or none where there is nothing to hash."""

Thousandths = Annotated[int, msgspec.Meta(ge=0, le=3_000)]
End = Literal["succeeded", "failed", "cancelled", "expired"]


class Energy(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What was used, in microjoules; the truth lies between ``low_uj`` and ``high_uj``.

    With provenance ``unknown`` a part was not measured, and the numbers are the other parts.
    """

    gross_uj: Count
    net_uj: Count
    low_uj: Count
    high_uj: Count
    provenance: Provenance
    why: Text


class Admission(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The score under which an executor took the work, and where it logged that.

    Args:
        s: Sustainability, thousandths; likewise ``c``, ``h`` and their sum ``e``.
        culprits: The signal that decided each of the three.
        evidence: Digest of what was measured.
        policy: Digest of the policy it was judged by.
        origin: The executor's log; empty when it was not told.
        index: Its entry there; -1 when it was not told.
    """

    s: Thousandths
    c: Thousandths
    h: Thousandths
    e: Thousandths
    culprits: Annotated[tuple[Text, ...], msgspec.Meta(max_length=3)]
    evidence: Digest
    policy: Digest
    origin: Text
    index: Annotated[int, msgspec.Meta(ge=UNKNOWN, le=1 << 62)]


class Executor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One device that worked for the job; ``place`` is its ``node-name/device``."""

    node: Text
    place: Text
    points: Count
    ops: Count
    busy_us: Count
    energy: Energy
    admission: Admission | None


class Column(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One output: its name, dtype and the shape that it has at one point."""

    name: Text
    dtype: Text
    shape: Annotated[tuple[Count, ...], msgspec.Meta(max_length=16)]


class Receipt(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything about one job that is worth proving.

    Args:
        version: Of this format.
        job: Its id.
        node: Where it was submitted; in whose log this stands.
        kernel: The kernel's name.
        kernel_hash: Of its code.
        inputs: Hash of what it was given.
        outputs: Hash of what came out; see ``docs/receipts.md``.
        columns: How the outputs are laid out; empty where evaluations differ.
        end: How it ended.
        points: Evaluations that were asked for; 0 where that was open.
        done: With a result.
        failed: Without one, for a reason of their own.
        rerun: Run again since their executor was lost.
        submitted_ms: When it was submitted.
        ended_ms: When it was over.
        bound_ms: How far both may be from the truth; -1 when nobody knows.
        energy: Of all executors.
        executors: Who worked for it.
        left_out: Executors for which there was no room.
        flags: What else is to be known of it, such as ``incoherent``.
        replicas: On how many devices each audited task was run; 0 for no audit.
        validators: Nodes that assented.
    """

    version: Literal[1]
    job: Text
    node: Text
    kernel: Text
    kernel_hash: Text
    inputs: Digest
    outputs: Digest
    columns: Annotated[tuple[Column, ...], msgspec.Meta(max_length=MAX_COLUMNS)]
    end: End
    points: Count
    done: Count
    failed: Count
    rerun: Count
    submitted_ms: Count
    ended_ms: Count
    bound_ms: Annotated[int, msgspec.Meta(ge=UNKNOWN, le=1 << 62)]
    energy: Energy
    executors: Annotated[tuple[Executor, ...], msgspec.Meta(max_length=MAX_EXECUTORS)]
    left_out: Count
    flags: Annotated[tuple[Text, ...], msgspec.Meta(max_length=16)]
    replicas: Count
    validators: Annotated[tuple[Text, ...], msgspec.Meta(max_length=31)]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Receipt)
_ADMISSION = msgspec.msgpack.Decoder(Admission)


def pack(receipt: Receipt) -> bytes:
    """Return a receipt as a leaf's body; executors that have no room are counted, not listed."""
    kept = list(receipt.executors[:MAX_EXECUTORS])
    while True:
        left_out = receipt.left_out + len(receipt.executors) - len(kept)
        body = _ENCODER.encode(
            msgspec.structs.replace(receipt, executors=tuple(kept), left_out=left_out)
        )
        if len(body) <= MAX_BODY_BYTES or not kept:
            return body
        kept.pop()


def unpack(body: bytes) -> Receipt:
    """Return the receipt that a leaf's body holds.

    Raises:
        TooLarge: It is longer than any receipt.
        Malformed: It is none, or not in its one encoding.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"a receipt of {len(body)} bytes, at most {MAX_BODY_BYTES}")
    try:
        receipt = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"a receipt does not decode: {error}") from error
    if _ENCODER.encode(receipt) != body:
        raise Malformed("a receipt is not in its one encoding")
    _check(receipt)
    return receipt


def pack_admission(admission: Admission) -> bytes:
    """Return an admission as an executor sends it along with a lease."""
    return _ENCODER.encode(admission)


def unpack_admission(data: bytes) -> Admission:
    """Return the admission that an executor sent.

    Raises:
        Malformed: It is none.
    """
    try:
        admission = _ADMISSION.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"an admission does not decode: {error}") from error
    _check_admission(admission, "an executor")
    return admission


def _check(receipt: Receipt) -> None:
    """Check what the types do not say.

    Raises:
        Malformed: Something contradicts itself.
    """
    for each in receipt.executors:
        if each.admission is not None:
            _check_admission(each.admission, each.place)
    if any(len(each) not in {0, HASH_BYTES} for each in (receipt.inputs, receipt.outputs)):
        raise Malformed("a hash in a receipt is not 32 bytes long")
    for energy in (receipt.energy, *(each.energy for each in receipt.executors)):
        if not energy.low_uj <= energy.net_uj <= energy.gross_uj <= energy.high_uj:
            raise Malformed("the bounds of an energy in a receipt are out of order")
    if receipt.ended_ms < receipt.submitted_ms:
        raise Malformed("a job in a receipt ends before it begins")


def _check_admission(admitted: Admission, whose: str) -> None:
    if admitted.s + admitted.c + admitted.h != admitted.e:
        raise Malformed(f"S, C and H of {whose} do not add up to E")
    if any(len(each) not in {0, HASH_BYTES} for each in (admitted.evidence, admitted.policy)):
        raise Malformed(f"a digest in the admission of {whose} is not 32 bytes long")
