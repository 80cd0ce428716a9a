"""Checkpoint blobs: a kernel's state at a tick, chained by hash, checked before use.

Layout: magic, length of the header (4 bytes, big-endian), header (MessagePack), then the raw bytes
of every section in order. Nothing here needs NumPy, so that any node can check what it stores. A
blob says all that continuing takes: which kernel, with which parameters, from which tick on.
"""

import hashlib
import math
from collections.abc import Mapping

import msgspec

from qallow_agent.base.errors import CheckpointCorrupt
from qallow_agent.kernels.values import ITEM_BYTES, Scalar

MAGIC = b"qallowC2"
"""Names the format and its version; another format gets another magic. C1 had no parameters."""

MAX_HEADER_BYTES = 1 << 16
"""A header names a handful of arrays; more is damage."""

LENGTH_BYTES = 4


class Section(msgspec.Struct, frozen=True):
    """One C-contiguous array: its name, dtype (a key of ITEM_BYTES), shape and raw bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """A kernel's state after ``tick``.

    Args:
        kernel_hash: Of the kernel that continues it.
        tick: Finished ticks.
        previous: Digest of the blob before, or empty.
        sections: The state.
        epoch: Its number within the run: one for each grain of ticks, whether kept or not.
        parents: What it follows from in the causal graph of its job.
        scalars: The parameters of the run.
    """

    kernel_hash: str
    tick: int
    previous: str
    sections: tuple[Section, ...]
    epoch: int = 0
    parents: tuple[str, ...] = ()
    scalars: Mapping[str, Scalar] = msgspec.field(default_factory=dict)


class _Head(msgspec.Struct, frozen=True, array_like=True):
    name: str
    dtype: str
    shape: tuple[int, ...]


class _Header(msgspec.Struct, frozen=True, array_like=True):
    kernel_hash: str
    tick: int
    previous: str
    body_sha256: bytes
    heads: tuple[_Head, ...]
    epoch: int
    parents: tuple[str, ...]
    scalars: dict[str, Scalar]


_DECODER = msgspec.msgpack.Decoder(_Header)


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the blob of a checkpoint; equal checkpoints have equal blobs."""
    body = b"".join(section.data for section in checkpoint.sections)
    header = msgspec.msgpack.encode(
        _Header(
            kernel_hash=checkpoint.kernel_hash,
            tick=checkpoint.tick,
            previous=checkpoint.previous,
            body_sha256=hashlib.sha256(body).digest(),
            heads=tuple(_Head(s.name, s.dtype, s.shape) for s in checkpoint.sections),
            epoch=checkpoint.epoch,
            parents=checkpoint.parents,
            scalars=dict(checkpoint.scalars),
        )
    )
    return MAGIC + len(header).to_bytes(LENGTH_BYTES) + header + body


def blob_digest(blob: bytes) -> str:
    """Return the hex SHA-256 of a blob's header: what the next checkpoint calls ``previous``.

    The header holds the hash of the arrays, so it covers the whole blob without a second pass.
    """
    start = len(MAGIC) + LENGTH_BYTES
    length = int.from_bytes(blob[len(MAGIC) : start])
    return hashlib.sha256(blob[: start + length]).hexdigest()


def checkpoint_name(digest: str) -> str:
    """Return what a checkpoint with this digest is called in the causal graph of its job."""
    return f"checkpoint:{digest[:16]}"


def decode_checkpoint(blob: bytes, *, kernel_hash: str = "") -> Checkpoint:
    """Return the checkpoint in a blob after checking every length and hash.

    Args:
        blob: Bytes from disk or from another node.
        kernel_hash: The kernel that is to continue; another one's state is refused. Empty for
            whoever only looks.

    Raises:
        CheckpointCorrupt: Truncated, altered, of another format or of another kernel; nothing was
            used.
    """
    header, body = _split(blob)
    if kernel_hash and header.kernel_hash != kernel_hash:
        raise CheckpointCorrupt(
            f"the checkpoint belongs to kernel {header.kernel_hash[:12]}, not {kernel_hash[:12]}",
            hint="the kernel changed since; start the job again",
        )
    sections, at = [], 0
    for head in header.heads:
        size = _size(head)
        sections.append(Section(head.name, head.dtype, head.shape, body[at : at + size]))
        at += size
    if at != len(body):
        raise CheckpointCorrupt(f"the checkpoint announces {at} bytes and holds {len(body)}")
    if hashlib.sha256(body).digest() != header.body_sha256:
        raise CheckpointCorrupt("the arrays of the checkpoint do not match their hash")
    return Checkpoint(
        header.kernel_hash, header.tick, header.previous, tuple(sections),
        header.epoch, header.parents, header.scalars,
    )  # fmt: skip


def tick_of(blob: bytes) -> int:
    """Return after which tick a blob says it was taken; nothing else of it is checked.

    Raises:
        CheckpointCorrupt: It has no header.
    """
    return _split(blob)[0].tick


def _split(blob: bytes) -> tuple[_Header, bytes]:
    start = len(MAGIC) + LENGTH_BYTES
    if len(blob) < start or not blob.startswith(MAGIC):
        raise CheckpointCorrupt("the bytes are no checkpoint of this format")
    length = int.from_bytes(blob[len(MAGIC) : start])
    if length > MAX_HEADER_BYTES or start + length > len(blob):
        raise CheckpointCorrupt(f"the checkpoint announces a header of {length} bytes")
    try:
        header = _DECODER.decode(blob[start : start + length])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointCorrupt(f"the checkpoint's header does not decode: {error}") from error
    return header, blob[start + length :]


def _size(head: _Head) -> int:
    if head.dtype not in ITEM_BYTES or any(length < 0 for length in head.shape):
        raise CheckpointCorrupt(f"section {head.name!r} is {head.dtype!r} of shape {head.shape}")
    return math.prod(head.shape) * ITEM_BYTES[head.dtype]
