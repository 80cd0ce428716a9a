"""Tables: the finished points of a job, written column by column or row by row.

They are read in chunks, so that many more points can be written than fit into memory.
"""

import csv
import io
import itertools
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import UsageError
from qallow_agent.client.harvest import Harvest
from qallow_agent.client.places import replacing

Array = npt.NDArray[Any]

ENDINGS: Final = (".csv", ".npz", ".parquet")
"""Kinds of files that results are written to."""

WIDE: Final = 64
"""An output with more numbers a point has no place among columns of single numbers."""

_CHUNK_BYTES: Final = 8 << 20
_CHUNK_ROWS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Field:
    """What one column holds.

    Args:
        dtype: Of its numbers.
        shape: Of one row; empty for a single number.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns of equally many rows.

    Args:
        count: How many rows.
        fields: What the columns hold.
        read: Returns some columns between two rows of what they are cut from.
        rows: Of what they are cut from, at least ``count``.
    """

    count: int
    fields: Mapping[str, Field]
    read: Callable[[Sequence[str], int, int], dict[str, Array]]
    rows: int

    def chunks(
        self, names: Sequence[str], *, backwards: bool = False
    ) -> Iterator[dict[str, Array]]:
        """Yield some columns, consecutive rows at a time, from the first rows or from the last."""
        fields = [self.fields[name] for name in names]
        row_bytes = sum(field.dtype.itemsize * field.size for field in fields)
        step = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // max(row_bytes, 1)))
        starts = range(0, self.rows, step)
        for start in reversed(starts) if backwards else starts:
            chunk = self.read(names, start, min(start + step, self.rows))
            if len(chunk[names[0]]):
                yield chunk

    def single(self) -> list[str]:
        """Return the columns that hold one number a row, perhaps behind axes of length 1."""
        return [name for name, field in self.fields.items() if field.size == 1]

    def arrays(self) -> dict[str, Array]:
        """Return all columns, in memory."""
        names = list(self.fields)
        chunks = list(self.chunks(names))
        return {
            name: np.concatenate([chunk[name] for chunk in chunks])
            if chunks
            else np.zeros((0, *field.shape), field.dtype)
            for name, field in self.fields.items()
        }

    def ends(self, names: Sequence[str], count: int) -> dict[str, Array]:
        """Return the first and the last rows, so many of each; all when there are no more."""
        if self.count <= 2 * count:
            found = list(self.chunks(names))
        else:
            first = _rows_of(self.chunks(names), count, slice(None, count))
            last = _rows_of(self.chunks(names, backwards=True), count, slice(-count, None))
            found = [*first, *reversed(last)]
        return {
            name: np.concatenate([chunk[name] for chunk in found])
            if found
            else np.zeros(0, self.fields[name].dtype)
            for name in names
        }


def table_of(harvest: Harvest, inputs: Callable[[Array], Mapping[str, Array]]) -> Table:
    """Return the finished points of a harvest with their parameters.

    The columns are ``point``, the parameters (``parameter_x`` where an output is called ``x``) and
    the outputs.

    Args:
        harvest: The outputs.
        inputs: Returns the parameters of some points.
    """
    none = np.zeros(0, dtype=np.int64)
    taken = {"point", *harvest.columns}
    apart = {f"parameter_{name}" if name in taken else name: name for name in inputs(none)}
    fields = {"point": Field(none.dtype)}
    fields |= {shown: Field(inputs(none)[name].dtype) for shown, name in apart.items()}
    fields |= {name: Field(each.dtype, each.shape) for name, each in harvest.columns.items()}

    def read(names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
        done = harvest.done(start, stop)
        places = start + np.flatnonzero(done)
        columns: dict[str, Array] = {"point": places}
        if any(name in apart for name in names):
            values = inputs(places)
            columns |= {shown: values[name] for shown, name in apart.items()}
        for name in names:
            if name not in columns:
                rows = harvest.columns[name].read(start, stop)
                columns[name] = rows if len(places) == len(rows) else rows[done]
        return {name: columns[name] for name in names}

    return Table(harvest.count, fields, read, harvest.points)


def plain_table(arrays: Mapping[str, Array]) -> Table:
    """Return a table of arrays whose first axes are the rows."""
    count = len(next(iter(arrays.values()))) if arrays else 0
    fields = {name: Field(each.dtype, each.shape[1:]) for name, each in arrays.items()}
    return Table(
        count,
        fields,
        lambda names, start, stop: {name: arrays[name][start:stop] for name in names},
        count,
    )


def write_table(path: Path, table: Table) -> list[str]:
    """Write a table to a CSV, NPZ or Parquet file, atomically.

    Returns:
        The columns that the file has no place for: in CSV and Parquet those without numbers, in
        CSV also those with more than ``WIDE`` a row.

    Raises:
        UsageError: The file's ending is another one, or Parquet cannot be written here.
        StorageFull: No space; a file that was there before is untouched.
        StorageError: The file cannot be written.
    """
    ending = path.suffix.lower()
    if ending == ".npz":
        with replacing(path) as opened:
            write_npz(opened, table)
        return []
    if ending == ".csv":
        with replacing(path) as opened:
            text = io.TextIOWrapper(opened, "utf-8", newline="")
            left_out = write_csv(text, table)
            text.detach()
        return left_out
    if ending == ".parquet":
        from qallow_agent.client.parquet import write_parquet  # noqa: PLC0415 - an extra

        with replacing(path) as opened:
            return write_parquet(opened, table)
    raise UsageError(
        f"{path} is of no kind that results are written to", hint=f"one of {', '.join(ENDINGS)}"
    )


def write_npz(opened: BinaryIO, table: Table) -> None:
    """Write a table as one NPZ archive: one array a column."""
    with zipfile.ZipFile(opened, "w") as archive:
        for name, field in table.fields.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {
                    "descr": np.lib.format.dtype_to_descr(field.dtype),
                    "fortran_order": False,
                    "shape": (table.count, *field.shape),
                }
                np.lib.format.write_array_header_1_0(member, header)
                for chunk in table.chunks([name]):
                    member.write(np.ascontiguousarray(chunk[name]).tobytes())


def write_csv(text: TextIO, table: Table) -> list[str]:
    """Write a table as CSV and return the columns that it has no place for.

    An output of several numbers a row becomes as many columns, ``y[0]``, ``y[1]`` or ``y[0,1]``.
    Numbers are written with as many digits as it takes to read the same ones again.
    """
    names = [name for name, field in table.fields.items() if 0 < field.size <= WIDE]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(itertools.chain.from_iterable(_titles(n, table.fields[n]) for n in names))
    for chunk in table.chunks(names):
        columns: list[list[Any]] = []
        for name in names:
            rows = chunk[name].reshape(len(chunk[name]), -1)
            columns += (column.tolist() for column in rows.T)
        writer.writerows(zip(*columns, strict=True))
    return [name for name in table.fields if name not in names]


def _titles(name: str, field: Field) -> list[str]:
    if field.size == 1:
        return [name]
    return [f"{name}[{','.join(map(str, place))}]" for place in np.ndindex(field.shape)]


def _rows_of(chunks: Iterator[dict[str, Array]], count: int, part: slice) -> list[dict[str, Array]]:
    """Return as many chunks as it takes for so many rows, each cut down to the part that counts."""
    found: list[dict[str, Array]] = []
    for chunk in chunks:
        cut = {name: rows[part] for name, rows in chunk.items()}
        found.append(cut)
        count -= len(next(iter(cut.values())))
        if count <= 0:
            break
        part = slice(None, count) if part.start is None else slice(-count, None)
    return found
