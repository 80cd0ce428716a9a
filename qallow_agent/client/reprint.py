"""The fingerprint of results that were written to a file, to be compared with a receipt's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import UsageError
from qallow_agent.client.files import read_values
from qallow_agent.client.fingerprint import SweepPrint
from qallow_agent.client.results import Block
from qallow_agent.client.toll import Toll
from qallow_agent.jobs.parcels import ITEM_BYTES, ArrayHead
from qallow_agent.ledger.receipt import Column, Receipt

Array = npt.NDArray[Any]

RESULTS: Final = "results.npz"


def find_results(place: Path) -> Path:
    """Return the file of results in a folder, or the file itself.

    Raises:
        UsageError: There is none.
    """
    path = place / RESULTS if place.is_dir() else place
    if not path.is_file():
        raise UsageError(
            f"there are no results at {place}", hint=f"name a file, or a folder with {RESULTS}"
        )
    return path


def fingerprint_of(path: Path, receipt: Receipt) -> bytes:
    """Return the fingerprint of the results in a file, laid out as a receipt says.

    Raises:
        UsageError: The receipt has no fingerprint of this kind of work, the file cannot be read,
            or it lacks an output.
    """
    if not receipt.outputs:
        raise UsageError(
            "the receipt has no fingerprint of its outputs",
            hint="the job was run without, or its evaluations have outputs of different kinds",
        )
    if not receipt.points and receipt.done + receipt.failed != 1:
        raise UsageError(
            f"the receipt is of {receipt.done + receipt.failed:,} single evaluations",
            hint="only the results of 'run' and 'map' are files that can be compared",
        )
    values = {name: np.asarray(value) for name, value in read_values(path).items()}
    total = max(receipt.points, 1)
    single = total == 1
    places = _places(path, values, total, single=single)
    rows = {
        column.name: _rows(path, values, column, len(places), single=single)
        for column in receipt.columns
    }
    printed = SweepPrint(total, Toll())
    if len(places):
        for start, stop in _runs(places):
            printed.done(_block(rows, receipt.columns, int(places[start]), start, stop))
    return printed.root()


def _places(path: Path, values: Mapping[str, Array], total: int, *, single: bool) -> Array:
    """Return which points the rows of a file are of."""
    if "point" not in values:
        if single:
            return np.zeros(1, dtype=np.int64)
        raise UsageError(
            f"{path} does not number its points", hint="compare a file that 'map -o' wrote"
        )
    places = np.atleast_1d(values["point"]).astype(np.int64)
    sound = np.all(places[1:] > places[:-1]) and (not len(places) or places[0] >= 0)
    if not sound or (len(places) and places[-1] >= total):
        raise UsageError(f"{path} holds other points than the {total:,} of the receipt")
    return places


def _rows(
    path: Path, values: Mapping[str, Array], column: Column, count: int, *, single: bool
) -> Array:
    """Return the rows of one output, with the dtype and shape that a receipt says it has."""
    if column.dtype not in ITEM_BYTES:
        raise UsageError(f"the receipt names the dtype {column.dtype!r}, which is unknown here")
    shape = tuple(column.shape)
    found = values.get(column.name)
    if found is None:
        titles = [f"{column.name}[{','.join(map(str, at))}]" for at in np.ndindex(shape)]
        if not shape or any(title not in values for title in titles):
            raise UsageError(
                f"{path} lacks the output {column.name!r}",
                hint="compare an NPZ archive, which holds every output",
            )
        found = np.stack([values[title] for title in titles], axis=-1)
    if found.dtype == object:
        found = np.stack(list(found))
    dtype = np.dtype("<" + column.dtype)
    if single and found.shape == shape:
        found = found[None]
    try:
        if dtype.kind == "c" and found.dtype.kind == "f":
            found = np.ascontiguousarray(found).view(dtype)
        return np.ascontiguousarray(found.astype(dtype).reshape(count, *shape))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{column.name!r} in {path} is not laid out as the receipt says: {error}"
        ) from error


def _runs(places: Array) -> list[tuple[int, int]]:
    """Return the runs of rows whose points follow one another."""
    ends = [*(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    return list(zip([0, *ends], ends, strict=False))


def _block(
    rows: Mapping[str, Array], columns: Sequence[Column], point: int, start: int, stop: int
) -> Block:
    heads = [ArrayHead(each.name, each.dtype, (stop - start, *each.shape)) for each in columns]
    frames = [rows[each.name][start:stop].tobytes() for each in columns]
    return Block(heads, frames, start=point, points=stop - start)
