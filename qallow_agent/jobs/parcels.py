"""Parcels: what flows between a submitter and a runner, a header frame and raw array frames.

A multipart message is ``[header, array, array, ...]``. The header is MessagePack of one of the
structs below; each :class:`ArrayHead` in it, in order of appearance, describes one raw frame. A
header may carry many tasks (coalescing); arrays never pass through MessagePack.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.base.ids import LeaseId

MAX_HEADER_BYTES = 4 << 20
"""A header of ten thousand coalesced tasks stays far below; more is an attack or a bug."""

MAX_FRAMES = 65_536
MAX_RANK = 8
ITEM_BYTES = {
    "u1": 1, "i1": 1, "u2": 2, "i2": 2, "u4": 4, "i4": 4, "u8": 8, "i8": 8,
    "f2": 2, "f4": 4, "f8": 8, "c8": 8, "c16": 16, "b1": 1,
}  # fmt: skip
"""The dtypes that may travel (little-endian), with their item sizes. Objects never do."""


class ArrayHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Name, dtype (a key of ITEM_BYTES) and shape of one C-contiguous raw frame."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes the frame must have."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class TaskHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One task: ``points`` evaluations of the lease's kernel.

    ``scalars`` are parameters shared by all points; ``columns`` arrays of length ``points`` with
    one value a point (a sweep); ``arrays`` array parameters shared by all points.
    """

    number: int
    attempt: int
    points: int
    scalars: dict[str, Any]
    columns: tuple[ArrayHead, ...] = ()
    arrays: tuple[ArrayHead, ...] = ()


class Fault(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a task failed: an error code, its message and hint, and the remote traceback."""

    code: str
    message: str
    hint: str = ""
    traceback: str = ""


class ResultHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One task's outcome. With columns each output array has a leading axis of ``points``."""

    number: int
    attempt: int
    seconds: float
    arrays: tuple[ArrayHead, ...] = ()
    fault: Fault | None = None


class TaskParcel(msgspec.Struct, frozen=True, tag="tasks"):
    """Submitter to runner: run these under this lease."""

    lease: LeaseId
    tasks: tuple[TaskHead, ...]


class ResultParcel(msgspec.Struct, frozen=True, tag="results"):
    """Runner to submitter: these are done. Each returns one credit."""

    lease: LeaseId
    results: tuple[ResultHead, ...]


class LeaseUnknown(msgspec.Struct, frozen=True, tag="unknown-lease"):
    """Runner to submitter: this lease is not (or no longer) served here; re-run elsewhere."""

    lease: LeaseId


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Submitter to runner: are you there? Answered by the same."""

    lease: LeaseId


Header = TaskParcel | ResultParcel | LeaseUnknown | Ping

_DECODER: msgspec.msgpack.Decoder[Header] = msgspec.msgpack.Decoder(Header)
_ENCODER = msgspec.msgpack.Encoder()


def pack(header: Header) -> bytes:
    """Return the header frame."""
    return _ENCODER.encode(header)


def unpack(frames: Sequence[bytes | memoryview]) -> Header:
    """Return the header of a multipart message after checking every frame against it.

    Raises:
        TooLarge: The header or the number of frames exceeds its cap.
        Malformed: The header does not decode, or a frame's length contradicts its ArrayHead.
    """
    if not frames:
        raise Malformed("an empty parcel")
    if len(frames) > MAX_FRAMES:
        raise TooLarge(f"a parcel of {len(frames)} frames")
    header = unpack_header(frames[0])
    heads = array_heads(header)
    if len(heads) != len(frames) - 1:
        raise Malformed(f"a parcel announces {len(heads)} arrays and carries {len(frames) - 1}")
    for head, frame in zip(heads, frames[1:], strict=True):
        check_array(head, len(frame))
    return header


def unpack_header(frame: bytes | memoryview) -> Header:
    """Return a header by itself, before its arrays are received; they are still to be checked.

    Raises:
        TooLarge: It exceeds its cap.
        Malformed: It does not decode.
    """
    if len(frame) > MAX_HEADER_BYTES:
        raise TooLarge(f"a parcel with a header of {len(frame)} bytes")
    try:
        return _DECODER.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"a parcel header does not decode: {error}") from error


def array_heads(header: Header) -> list[ArrayHead]:
    """Return the heads of all raw frames of a parcel, in frame order."""
    if isinstance(header, TaskParcel):
        return [head for task in header.tasks for head in (*task.columns, *task.arrays)]
    if isinstance(header, ResultParcel):
        return [head for result in header.results for head in result.arrays]
    return []


def check_array(head: ArrayHead, frame_bytes: int) -> None:
    """Check an array head against the length of its frame.

    Raises:
        Malformed: Unknown dtype, negative or absurd shape, or another length than announced.
    """
    announced_bytes = announced(head)
    if announced_bytes != frame_bytes:
        raise Malformed(
            f"array {head.name!r} announces {announced_bytes} bytes and carries {frame_bytes}"
        )


def announced(head: ArrayHead) -> int:
    """Return the bytes that an untrusted array head announces.

    Raises:
        Malformed: Unknown dtype, negative or absurd shape.
    """
    try:
        return _size_bytes(head.dtype, head.shape)
    except Malformed as error:
        raise Malformed(f"array {head.name!r} {error.message}", hint=error.hint) from error


@functools.lru_cache(maxsize=1024)
def _size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of an array; remembered, since tasks of one job are all alike."""
    if dtype not in ITEM_BYTES:
        raise Malformed(f"has dtype {dtype!r}", hint=f"allowed: {', '.join(ITEM_BYTES)}")
    if len(shape) > MAX_RANK or any(length < 0 for length in shape):
        raise Malformed(f"has shape {shape}")
    return math.prod(shape) * ITEM_BYTES[dtype]
