"""Fingerprints: what came out of a job as one hash, however it was cut, spread and put in order.

The results stand in the order of the points, or of the submissions. They are cut into blocks: of
sweeps a power of two of points, 4,096 at most and fewer where that would be more than 4 MiB; of
single evaluations one. The fingerprint is the root of the Merkle tree whose entries are the blocks.
A block is written as::

    canonical("qallow/outputs/v1", [points, failed, columns])
    the bytes of each output, by name: little-endian, C order, only the points that have a result

where ``failed`` lists the offset and the length of every run of points without a result, and
``columns`` the name, dtype and shape of every output of one point.

Source: RFC 6962, section 2.1, for the tree.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final

from qallow_agent.base.canonical import canonical
from qallow_agent.client.canopy import Canopy
from qallow_agent.client.results import Block
from qallow_agent.client.toll import Toll
from qallow_agent.jobs.messages import OutputColumn
from qallow_agent.jobs.parcels import ITEM_BYTES, ArrayHead
from qallow_agent.ledger.merkle import leaf_hash

MOST_POINTS: Final = 4_096
MOST_BYTES: Final = 4 << 20
"""Of a block. It bounds what waits for the rest of its block beside what is in flight."""

OUTPUTS: Final = "qallow/outputs/v1"

_LEAF: Final = b"\x00"
_BATCH: Final = 128
"""Hashing so many small results at once takes half of the time, and not long enough to be felt."""

_SMALL_BYTES: Final = 1 << 10

Columns = tuple[OutputColumn, ...]
"""The outputs of one point, by name."""


class TaskPrint:
    """The fingerprint of single evaluations, in the order in which they were submitted.

    Args:
        toll: Hashes what is large.
    """

    def __init__(self, toll: Toll) -> None:
        self.columns: Columns = ()
        """Of the outputs, where all evaluations have the same."""
        self._toll = toll
        self._canopy = Canopy()
        self._waiting: list[tuple[int, Block]] = []
        self._heads: Sequence[ArrayHead] | None = None
        self._order: list[int] = []
        self._prefix = b""
        self._small = False
        self._known: Columns | None = None

    def done(self, number: int, block: Block) -> None:
        """Take in the outputs of an evaluation."""
        if block.heads is not self._heads:
            self._flush()
            self._learn(block.heads)
        if not self._small:
            prefix, order = self._prefix, self._order
            self._toll.hash(block.size_bytes, lambda: self._hash(number, block, prefix, order))
            return
        self._waiting.append((number, block))
        if len(self._waiting) >= _BATCH:
            self._flush()

    def root(self, count: int) -> bytes:
        """Return the fingerprint of so many evaluations; what is not done has failed."""
        self._flush()
        self._toll.wait()
        return self._canopy.root(count, leaf_hash(_header(1, [[0, 1]], ())))

    def _learn(self, heads: Sequence[ArrayHead]) -> None:
        columns, self._order = _sorted(heads, 0)
        if self._known is None:
            self._known = self.columns = columns
        elif columns != self._known:
            self.columns = ()
        self._heads = heads
        self._small = sum(head.size_bytes for head in heads) <= _SMALL_BYTES
        self._prefix = _LEAF + _header(1, [], columns)

    def _hash(self, number: int, block: Block, prefix: bytes, order: Sequence[int]) -> None:
        parts = list(block.frames)
        hashed = hashlib.sha256(prefix)
        for place in order:
            hashed.update(parts[place])
        self._canopy.put(number, hashed.digest())

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        waiting.sort(key=_number)
        prefix, order, sha256 = self._prefix, self._order, hashlib.sha256
        first = following = waiting[0][0]
        leaves: list[bytes] = []
        for number, block in waiting:
            if number != following:
                self._canopy.put(first, b"".join(leaves))
                first, leaves = number, []
            row = block.lone()
            if row is None:
                parts = list(block.frames)
                row = b"".join([parts[place] for place in order])
            leaves.append(sha256(prefix + row).digest())
            following = number + 1
        self._canopy.put(first, b"".join(leaves))


class SweepPrint:
    """The fingerprint of the points of a sweep.

    Args:
        points: How many there are.
        toll: Hashes what is large.
    """

    def __init__(self, points: int, toll: Toll) -> None:
        self.columns: Columns = ()
        """Of the outputs; empty while no point has a result."""
        self._points = points
        self._toll = toll
        self._step = MOST_POINTS
        self._widths: list[int] = []
        self._canopy = Canopy()
        self._open: dict[int, list[_Stretch]] = {}
        self._whole = b""
        self._odd = False

    def done(self, block: Block) -> None:
        """Take in the outputs of consecutive points, each point once."""
        self._toll.hash(block.size_bytes, lambda: self._take(block))

    def root(self) -> bytes:
        """Return the fingerprint; points that are not done have failed.

        Empty when points differ in the shapes of their outputs: those have no common columns.
        """
        self._toll.wait()
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

    def _take(self, block: Block) -> None:
        columns, order = _sorted(block.heads, 1)
        if not self.columns:
            self._lay_out(columns)
        if columns != self.columns:
            self._odd = True
        if self._odd:
            return
        frames = list(block.frames)
        parts = [memoryview(frames[place]) for place in order]
        start, stop = block.start, block.start + block.points
        for number in range(start // self._step, -(-stop // self._step)):
            base = number * self._step
            first, end = max(start, base), min(stop, base + self._step)
            rows = [
                part[(first - start) * width : (end - start) * width]
                for part, width in zip(parts, self._widths, strict=True)
            ]
            self._put(number, _Stretch(first - base, end - first, rows))

    def _lay_out(self, columns: Columns) -> None:
        self.columns = columns
        self._widths = [math.prod(each.shape) * ITEM_BYTES[each.dtype] for each in columns]
        fitting = max(1, MOST_BYTES // max(1, sum(self._widths)))
        self._step = min(MOST_POINTS, 1 << (fitting.bit_length() - 1))
        self._whole = _LEAF + _header(self._step, [], columns)

    def _put(self, number: int, stretch: "_Stretch") -> None:
        size = self._size(number)
        if stretch.points == size:
            self._canopy.put(number, self._hash(size, [stretch]))
            return
        waiting = self._open.setdefault(number, [])
        waiting.append(stretch)
        if sum([each.points for each in waiting]) < size:
            stretch.settle()
        else:
            self._close(number)

    def _size(self, number: int) -> int:
        return min(self._step, self._points - number * self._step)

    def _close(self, number: int) -> None:
        self._canopy.put(number, self._hash(self._size(number), self._open.pop(number)))

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


def _number(item: tuple[int, Block]) -> int:
    return item[0]


def _header(points: int, gaps: list[list[int]], columns: Columns) -> bytes:
    shown = [[each.name, each.dtype, list(each.shape)] for each in columns]
    return canonical(OUTPUTS, [points, gaps, shown])


def _sorted(heads: Sequence[ArrayHead], axes: int) -> tuple[Columns, list[int]]:
    """Return the outputs of one point by name, and where each was; the first axes are dropped."""
    order = sorted(range(len(heads)), key=lambda place: heads[place].name)
    columns = tuple(
        OutputColumn(heads[place].name, heads[place].dtype, tuple(heads[place].shape[axes:]))
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
