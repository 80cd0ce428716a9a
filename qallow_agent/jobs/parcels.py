"""Parcels: what flows between a submitter and a runner, a header frame and raw array frames.

A multipart message is ``[header, small, large, large, ...]``. The header is MessagePack of one of
the structs below; each :class:`ArrayHead` in it, in order of appearance, says where its bytes are:

- in a *hold* of the receiver, when it names one: filled by :class:`Chunk` parcels before, or
  memory that both share;
- below ``SMALL_BYTES``: in the one small frame, beside those of all other small arrays;
- else in a raw frame of their own.

A header may carry many tasks (coalescing); arrays never pass through MessagePack.
"""

import functools
import math
from typing import Any

import msgspec

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.base.ids import LeaseId

PARCELS = 3
"""Version of this format; every lease names its runner's. 1 had a frame for every array, 2 could
not continue a task."""

STATE = "@state"
"""The array of a task that holds the checkpoint from which to continue it; no parameter is called
so."""

MAX_HEADER_BYTES = 4 << 20
"""A header of ten thousand coalesced tasks stays far below; more is an attack or a bug."""

MAX_RANK = 8
ITEM_BYTES = {
    "u1": 1, "i1": 1, "u2": 2, "i2": 2, "u4": 4, "i4": 4, "u8": 8, "i8": 8,
    "f2": 2, "f4": 4, "f8": 8, "c8": 8, "c16": 16, "b1": 1,
}  # fmt: skip
"""The dtypes that may travel (little-endian), with their item sizes. Objects never do."""


SMALL_BYTES = 64 << 10
"""Below this a copy is cheaper than sharing memory with ZeroMQ's thread (its own threshold)."""

CHUNK_BYTES = 1 << 20
"""What travels apart does so in pieces of this size: both ends encrypt at once, three times as fast
as one frame of 64 MiB."""

MAX_NAME_BYTES = 32


class ArrayHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Name, dtype (a key of ITEM_BYTES) and shape of one C-contiguous array.

    ``hold`` names the receiver's memory in which it lies, from ``offset`` on; empty when its bytes
    come with the parcel.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    hold: bytes = b""
    offset: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class Room(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of a shared hold into which large outputs of a task may be written."""

    hold: bytes
    offset: int
    size_bytes: int


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
    room: Room | None = None


class Fault(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a task failed: an error code, its message and hint, and the remote traceback."""

    code: str
    message: str
    hint: str = ""
    traceback: str = ""


class ResultHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One task's outcome. With columns each output array has a leading axis of ``points``.

    ``arrays`` is None when it equals that of the result before: those of one job mostly do.
    """

    number: int
    attempt: int
    seconds: float
    arrays: tuple[ArrayHead, ...] | None = ()
    fault: Fault | None = None


class TaskParcel(msgspec.Struct, frozen=True, tag="tasks", omit_defaults=True):
    """Submitter to runner: run these under this lease.

    ``every``: ticks between the states of a long run that are worth keeping; 0 leaves it to the
    runner.
    """

    lease: LeaseId
    tasks: tuple[TaskHead, ...]
    every: int = 0


class ResultParcel(msgspec.Struct, frozen=True, tag="results"):
    """Runner to submitter: these are done. Each returns one credit."""

    lease: LeaseId
    results: tuple[ResultHead, ...]


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """Runner to submitter: the state of a task that still runs, from which it can be continued.

    No credit returns with it. The blob is a checkpoint of :mod:`qallow_agent.kernels.state`.
    """

    lease: LeaseId
    number: int
    attempt: int
    state: ArrayHead


class LeaseUnknown(msgspec.Struct, frozen=True, tag="unknown-lease"):
    """Runner to submitter: this lease is not (or no longer) served here; re-run elsewhere."""

    lease: LeaseId


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Submitter to runner: are you there? Answered by the same."""

    lease: LeaseId


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """One piece of an array that travels apart, in the one raw frame of this parcel.

    Pieces start at multiples of CHUNK_BYTES and are that long, but for the last. ``keep``: further
    tasks will name the hold; else it ends with the first that does.
    """

    lease: LeaseId
    hold: bytes
    offset: int
    total_bytes: int
    keep: bool = False


class Missing(msgspec.Struct, frozen=True, array_like=True):
    """The pieces of a hold that are not here, as ranges (first byte, byte after the last)."""

    hold: bytes
    ranges: tuple[tuple[int, int], ...]


class HoldsMissing(msgspec.Struct, frozen=True, tag="holds-missing"):
    """Runner to submitter: these tasks name what is not here, and were not run."""

    lease: LeaseId
    tasks: tuple[int, ...]
    holds: tuple[Missing, ...]


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Submitter to runner: these holds will not be named again."""

    lease: LeaseId
    holds: tuple[bytes, ...]


class Neighbour(msgspec.Struct, frozen=True, tag="neighbour"):
    """Submitter to runner: if this is your machine too, let us share memory.

    ``machine`` is :func:`~qallow_agent.runtime.hatch.machine_mark` for the runner's key.
    """

    lease: LeaseId
    machine: bytes
    uid: int


class Hatch(msgspec.Struct, frozen=True, tag="hatch"):
    """Runner to submitter: where memory can be handed over; without an address, nowhere.

    Args:
        lease: Under which it was asked for.
        address: Name of an abstract Unix socket.
        password: What the submitter says there.
        countersign: What it is answered there.
        uid: Whose process listens.
    """

    lease: LeaseId
    address: bytes = b""
    password: bytes = b""
    countersign: bytes = b""
    uid: int = 0


class Knock(msgspec.Struct, frozen=True, tag="knock"):
    """Submitter to runner: I am at the hatch. Answered by the same once it is let in."""

    lease: LeaseId


Header = (
    TaskParcel
    | ResultParcel
    | Snapshot
    | LeaseUnknown
    | Ping
    | Chunk
    | HoldsMissing
    | Forget
    | Neighbour
    | Hatch
    | Knock
)

_DECODER: msgspec.msgpack.Decoder[Header] = msgspec.msgpack.Decoder(Header)
_ENCODER = msgspec.msgpack.Encoder()


def pack(header: Header) -> bytes:
    """Return the header frame."""
    return _ENCODER.encode(header)


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


def chunk_bytes(offset: int, total_bytes: int) -> int:
    """Return the length of the piece that starts at an offset.

    Raises:
        Malformed: No piece starts there.
    """
    if offset % CHUNK_BYTES or not 0 <= offset < total_bytes:
        raise Malformed(f"a piece at byte {offset} of {total_bytes}")
    return min(CHUNK_BYTES, total_bytes - offset)
