"""Fingerprints: what came out of a job as one hash, however it was cut, spread and put in order.

The results stand in the order of the points, or of the submissions. They are cut into blocks: a
power of two of points, 4,096 at most and fewer where 4,096 would be more than 4 MiB; one of single
evaluations. The fingerprint is the root of the Merkle tree whose entries are the blocks. A block is
written as::

    canonical("qallow/outputs/v1", [points, [[offset, points] failed ...], [[name, dtype, shape] ...]])
    the bytes of each output, by name: little-endian, C order, only the points that have a result

Source: RFC 6962, section 2.1, for the tree.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from qallow_agent.base.canonical import canonical
from qallow_agent.client.arguments import Arguments
from qallow_agent.jobs.manifest import Buffer
from qallow_agent.jobs.messages import OutputColumn
from qallow_agent.jobs.parcels import ITEM_BYTES, ArrayHead
from qallow_agent.ledger.merkle import HASH_BYTES, Edge, leaf_hash
from qallow_agent.ledger.tiles import fold

MOST_POINTS: Final = 4_096
MOST_BYTES: Final = 4 << 20
"""Of a block. It bounds what waits for the rest of its block beside what is in flight."""

OUTPUTS: Final = "qallow/outputs/v1"
INPUTS: Final = "qallow/inputs/v1"

_CHUNK: Final = 4_096
_NOTHING: Final = bytes(HASH_BYTES)
_LEAF: Final = b"\x00"

Columns = tuple[ArrayHead, ...]
"""The outputs of one point, by name."""


class Canopy:
    """The leaves of a tree as they come, in any order, and the root over them.

    Leaves wait as bare hashes, and as one hash for each 4,096 that are complete: a straggler among
    millions costs next to nothing.
    """

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}
        self._left: dict[int, int] = {}
        self._roots: dict[int, bytes] = {}

    def put(self, index: int, leaf: bytes) -> None:
        """Take in the hash of a leaf, each once."""
        number, at = divmod(index, _CHUNK)
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = bytearray(_CHUNK * HASH_BYTES)
            self._left[number] = _CHUNK
        start = at * HASH_BYTES
        chunk[start : start + HASH_BYTES] = leaf
        self._left[number] -= 1
        if not self._left[number]:
            self._roots[number] = fold(_hashes(chunk, _CHUNK))
            del self._chunks[number], self._left[number]

    def has(self, index: int) -> bool:
        """Return whether a leaf has come."""
        number, at = divmod(index, _CHUNK)
        chunk = self._chunks.get(number)
        if chunk is None:
            return number in self._roots
        return chunk[at * HASH_BYTES : (at + 1) * HASH_BYTES] != _NOTHING

    def root(self, size: int, absent: bytes) -> bytes:
        """Return the root over so many leaves, where ``absent`` stands for those that never came."""
        edge = Edge()
        for number in range(-(-size // _CHUNK)):
            width = min(_CHUNK, size - number * _CHUNK)
            root = self._roots.get(number)
            edge.append(root if root is not None else self._partial(number, width, absent))
        return edge.root()

    def _partial(self, number: int, width: int, absent: bytes) -> bytes:
        chunk = self._chunks.get(number, bytearray(_CHUNK * HASH_BYTES))
        edge = Edge()
        for leaf in _hashes(chunk, width):
            edge.append(absent if leaf == _NOTHING else leaf)
        return edge.root()


class TaskPrint:
    """The fingerprint of single evaluations, in the order in which they were submitted."""

    def __init__(self) -> None:
        self.columns: Columns = ()
        """Of the outputs, where all evaluations have the same."""
        self._canopy = Canopy()
        self._heads: Sequence[ArrayHead] | None = None
        self._order: list[int] = []
        self._prefix = b""
        self._uniform = True

    def done(self, number: int, heads: Sequence[ArrayHead], frames: Iterable[Buffer]) -> None:
        """Take in the outputs of an evaluation."""
        if heads is not self._heads:
            self._learn(heads)
        if len(self._order) == 1:
            (frame,) = frames
            hashed = hashlib.sha256(self._prefix)
            hashed.update(frame)
        else:
            parts = list(frames)
            hashed = hashlib.sha256(self._prefix)
            for place in self._order:
                hashed.update(parts[place])
        self._canopy.put(number, hashed.digest())

    def root(self, count: int) -> bytes:
        """Return the fingerprint of so many evaluations; what is not done has failed."""
        return self._canopy.root(count, leaf_hash(_header(1, [[0, 1]], ())))

    def _learn(self, heads: Sequence[ArrayHead]) -> None:
        columns, self._order = _sorted(heads, 0)
        self._uniform = self._uniform and (self._heads is None or columns == self.columns)
        self.columns = columns if self._uniform else ()
        self._heads = heads
        self._prefix = _LEAF + _header(1, [], columns)


class SweepPrint:
    """The fingerprint of the points of a sweep.

    Args:
        points: How many there are.
    """

    def __init__(self, points: int) -> None:
        self.columns: Columns = ()
        """Of the outputs; empty while no point has a result."""
        self._points = points
        self._step = MOST_POINTS
        self._widths: list[int] = []
        self._canopy = Canopy()
        self._open: dict[int, list[_Stretch]] = {}
        self._whole = b""
        self._odd = False

    def done(
        self, start: int, points: int, heads: Sequence[ArrayHead], frames: Iterable[Buffer]
    ) -> None:
        """Take in the outputs of consecutive points, each point once; frames are kept unread."""
        columns, order = _sorted(heads, 1)
        if not self.columns:
            self._lay_out(columns)
        if columns != self.columns:
            self._odd = True
        if self._odd:
            return
        parts = list(frames)
        ordered = [parts[place] for place in order]
        stop = start + points
        for number in range(start // self._step, -(-stop // self._step)):
            first = max(start, number * self._step)
            count = min(stop, (number + 1) * self._step) - first
            begin = first - start
            rows = [
                memoryview(part)[begin * width : (begin + count) * width]
                for part, width in zip(ordered, self._widths, strict=True)
            ]
            self._take(number, _Stretch(first - number * self._step, count, rows))

    def root(self) -> bytes:
        """Return the fingerprint; points that are not done have failed.

        Empty when points differ in the shapes of their outputs: those have no common columns.
        """
        if self._odd:
            return b""
        for number in list(self._open):
            self._close(number)
        blocks = -(-self._points // self._step)
        last = self._points - (blocks - 1) * self._step
        if last < self._step and not self._canopy.has(blocks - 1):
            self._canopy.put(blocks - 1, leaf_hash(_header(last, [[0, last]], self.columns)))
        absent = leaf_hash(_header(self._step, [[0, self._step]], self.columns))
        return self._canopy.root(blocks, absent)

    def _lay_out(self, columns: Columns) -> None:
        self.columns = columns
        self._widths = [math.prod(head.shape) * ITEM_BYTES[head.dtype] for head in columns]
        fitting = max(1, MOST_BYTES // max(1, sum(self._widths)))
        self._step = min(MOST_POINTS, 1 << (fitting.bit_length() - 1))
        self._whole = _LEAF + _header(self._step, [], columns)

    def _take(self, number: int, stretch: "_Stretch") -> None:
        size = min(self._step, self._points - number * self._step)
        if stretch.points < size:
            waiting = self._open.setdefault(number, [])
            waiting.append(stretch)
            if sum(each.points for each in waiting) < size:
                stretch.settle()
            else:
                self._close(number)
            return
        self._canopy.put(number, self._hash(size, [stretch]))

    def _close(self, number: int) -> None:
        size = min(self._step, self._points - number * self._step)
        self._canopy.put(number, self._hash(size, self._open.pop(number)))

    def _hash(self, size: int, stretches: "list[_Stretch]") -> bytes:
        stretches.sort(key=lambda stretch: stretch.offset)
        prefix = self._whole
        gaps = _gaps(size, stretches)
        if gaps or size != self._step:
            prefix = _LEAF + _header(size, gaps, self.columns)
        hashed = hashlib.sha256(prefix)
        for column in range(len(self._widths)):
            for stretch in stretches:
                hashed.update(stretch.rows[column])
        return hashed.digest()


class _Stretch:
    """Consecutive points of a block that have their outputs."""

    __slots__ = ("offset", "points", "rows")

    def __init__(self, offset: int, points: int, rows: list[Any]) -> None:
        self.offset = offset
        self.points = points
        self.rows = rows

    def settle(self) -> None:
        """Copy what lies in memory that is lent, or much larger than what is needed of it."""
        self.rows = [
            each if isinstance(each.obj, bytes) and len(each.obj) <= 2 * len(each) else bytes(each)
            for each in self.rows
        ]


def columns_of(columns: Columns) -> tuple[OutputColumn, ...]:
    """Return outputs as the desk is told of them."""
    return tuple(OutputColumn(head.name, head.dtype, head.shape) for head in columns)


class InputPrint:
    """The hash of what single evaluations were given, in the order of their submission."""

    def __init__(self) -> None:
        self._hashed = hashlib.sha256()
        self._count = 0

    def take(self, given: Arguments) -> None:
        """Take in the parameters of an evaluation."""
        self._count += 1
        heads = [[head.name, head.dtype, list(head.shape)] for head in given.heads]
        self._hashed.update(canonical(INPUTS, [given.scalars, heads]))
        for buffer in given.buffers:
            self._hashed.update(_bytes_of(buffer))

    def digest(self, kernel: str, kernel_hash: str) -> bytes:
        """Return the hash, with the kernel they were given to."""
        return _sealed(kernel, kernel_hash, self._count, self._hashed)


def hash_sweep(
    kernel: str,
    kernel_hash: str,
    points: int,
    shared: Arguments,
    axes: Sequence[tuple[ArrayHead, Any]],
    *,
    product: bool,
) -> bytes:
    """Return the hash of what a sweep was given.

    Args:
        kernel: Its name.
        kernel_hash: Of its code.
        points: How many.
        shared: What all points share.
        axes: Head and values of each swept parameter.
        product: Whether every combination of the axes is a point.
    """
    heads = [[head.name, head.dtype, list(head.shape)] for head in shared.heads]
    swept = [[head.name, head.dtype, list(head.shape)] for head, _ in axes]
    hashed = hashlib.sha256(canonical(INPUTS, [shared.scalars, heads, swept, product]))
    for buffer in (*shared.buffers, *(values for _, values in axes)):
        hashed.update(_bytes_of(buffer))
    return _sealed(kernel, kernel_hash, points, hashed)


def _sealed(kernel: str, kernel_hash: str, count: int, hashed: Any) -> bytes:
    about = canonical(INPUTS, [kernel, kernel_hash, count, hashed.digest()])
    return hashlib.sha256(about).digest()


def _bytes_of(buffer: Any) -> memoryview:
    """Return the bytes of an array of NumPy, or of cargo, without a copy."""
    array = getattr(buffer, "array", buffer)
    return memoryview(array).cast("B") if array.nbytes else memoryview(b"")


def _header(points: int, gaps: list[list[int]], columns: Columns) -> bytes:
    shown = [[head.name, head.dtype, list(head.shape)] for head in columns]
    return canonical(OUTPUTS, [points, gaps, shown])


def _sorted(heads: Sequence[ArrayHead], axes: int) -> tuple[Columns, list[int]]:
    """Return the outputs of one point by name, and where each was; the first axes are dropped."""
    order = sorted(range(len(heads)), key=lambda place: heads[place].name)
    columns = tuple(
        ArrayHead(heads[place].name, heads[place].dtype, tuple(heads[place].shape[axes:]))
        for place in order
    )
    return columns, order


def _gaps(size: int, stretches: "list[_Stretch]") -> list[list[int]]:
    """Return which points of a block are in no stretch."""
    found: list[list[int]] = []
    at = 0
    for stretch in stretches:
        if stretch.offset > at:
            found.append([at, stretch.offset - at])
        at = stretch.offset + stretch.points
    if at < size:
        found.append([at, size - at])
    return found


def _hashes(chunk: bytearray, count: int) -> list[bytes]:
    return [bytes(chunk[at : at + HASH_BYTES]) for at in range(0, count * HASH_BYTES, HASH_BYTES)]
