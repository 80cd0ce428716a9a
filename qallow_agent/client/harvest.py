"""The harvest of a job: the outputs of its points gathered by point, in memory or on disk."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from qallow_agent.client.places import unwritable

Array = npt.NDArray[Any]

SPOOL_BYTES = 256 << 20
"""Outputs larger than this in all wait on disk, where there is a place for them."""


class Column(Protocol):
    """One output of all points."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    """Of one point."""

    def write(self, start: int, rows: Array) -> None:
        """Take in the rows of consecutive points."""
        ...

    def read(self, start: int, stop: int) -> Array:
        """Return the rows of consecutive points; what was never written is anything."""
        ...


class Held:
    """A column in memory.

    Args:
        points: How many rows.
        dtype: Of its numbers.
        shape: Of one row.
    """

    def __init__(self, points: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = dtype, shape
        self._rows = np.zeros((points, *shape), dtype=dtype)

    def write(self, start: int, rows: Array) -> None:
        """Take in the rows of consecutive points."""
        self._rows[start : start + len(rows)] = rows

    def read(self, start: int, stop: int) -> Array:
        """Return the rows of consecutive points."""
        return self._rows[start:stop]


class Spooled:
    """A column in a file without a name, which is gone when nobody holds it.

    Args:
        opened: The file.
        dtype: Of its numbers.
        shape: Of one row.
    """

    def __init__(self, opened: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = dtype, shape
        self._file = opened
        self._row_bytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))

    def write(self, start: int, rows: Array) -> None:
        """Take in the rows of consecutive points.

        Raises:
            OSError: The disk is full.
        """
        self._file.seek(start * self._row_bytes)
        self._file.write(np.ascontiguousarray(rows, self.dtype).tobytes())

    def read(self, start: int, stop: int) -> Array:
        """Return the rows of consecutive points; zeros past the last one written."""
        self._file.seek(start * self._row_bytes)
        wanted = (stop - start) * self._row_bytes
        data = self._file.read(wanted).ljust(wanted, b"\0")
        return np.frombuffer(data, dtype=self.dtype).reshape(stop - start, *self.shape)

    def __del__(self) -> None:
        self._file.close()


class Harvest:
    """Gathers the outputs of a job's points.

    Args:
        points: How many points there will be.
        spool: A folder for what is too large for memory; None to keep everything in memory.
    """

    def __init__(self, points: int, spool: Path | None = None) -> None:
        self.points = points
        self.count = 0
        """How many points have their results."""
        self.where: Counter[str] = Counter()
        self.columns: dict[str, Column] = {}
        self._spool = spool
        self._done = np.zeros(points, dtype=bool)

    def add(self, start: int, points: int, values: Mapping[str, Any], where: str) -> None:
        """Take in the outputs of consecutive points; the first result of a point stays.

        Raises:
            StorageFull: They wait on disk, and there is no more space.
            StorageError: The disk failed.
        """
        fresh = ~self._done[start : start + points]
        new = int(fresh.sum())
        if not new:
            return
        try:
            self._write(start, fresh, {name: np.asarray(value) for name, value in values.items()})
        except OSError as error:
            raise unwritable(self._spool or Path(), error) from error
        self._done[start : start + points] = True
        self.count += new
        self.where[where] += new

    def done(self, start: int, stop: int) -> Array:
        """Return, for consecutive points, whether they have their results; bool[stop - start]."""
        return self._done[start:stop]

    def arrays(self) -> dict[str, Array]:
        """Return what was gathered: ``point`` names the finished points, in order."""
        chosen = np.flatnonzero(self._done)
        rows = {name: column.read(0, self.points) for name, column in self.columns.items()}
        if self.count < self.points:
            rows = {name: each[chosen] for name, each in rows.items()}
        return {"point": chosen} | rows

    def _write(self, start: int, fresh: Array, values: Mapping[str, Array]) -> None:
        if not self.columns:
            self._lay_out(values)
        for name, value in values.items():
            rows = value
            if not fresh.all():
                rows = value.copy()
                rows[~fresh] = self.columns[name].read(start, start + len(fresh))[~fresh]
            self.columns[name].write(start, rows)

    def _lay_out(self, rows: Mapping[str, Array]) -> None:
        point_bytes = sum(each.nbytes // max(len(each), 1) for each in rows.values())
        large = self.points * point_bytes > SPOOL_BYTES
        for name, each in rows.items():
            if large and self._spool is not None:
                opened = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115 - lives with its column
                self.columns[name] = Spooled(opened, each.dtype, each.shape[1:])
            else:
                self.columns[name] = Held(self.points, each.dtype, each.shape[1:])
