"""Results for people and programs: a short table, CSV rows, numbers in JSON."""

import csv
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.cli.output import MIN_WIDTH, note, table

Array = npt.NDArray[Any]

_SHOWN_ROWS = 10
_INLINE_NUMBERS = 10_000
"""More numbers than this stay out of a JSON document; they belong into a file."""

_FEW = 6


def show_outputs(values: Mapping[str, Any]) -> None:
    """Print the outputs of one point, arrays in short."""
    table(("OUTPUT", "VALUE"), [(name, _short(np.asarray(v))) for name, v in values.items()])


def show_points(arrays: Mapping[str, Array]) -> None:
    """Print the first and last points of a map, as many columns as fit a line."""
    count = len(arrays["point"])
    columns = _single(arrays, count)
    while len(columns) > 1 and sum(max(len(name), 10) + 2 for name in columns) > MIN_WIDTH:
        columns.popitem()
    rows = list(range(count))
    if count > _SHOWN_ROWS:
        rows = [*rows[: _SHOWN_ROWS // 2], *rows[-_SHOWN_ROWS // 2 :]]
    table(
        [name.upper() for name in columns],
        [[_number(column[row]) for column in columns.values()] for row in rows],
        empty="no point was finished",
    )
    if count > _SHOWN_ROWS:
        note(f"({count - len(rows):,} points in between; -o DIR writes all, with every output)")


def write_csv(arrays: Mapping[str, Array]) -> None:
    """Print one row a point to stdout: parameters and outputs that are single numbers."""
    count = len(arrays["point"])
    columns = _single(arrays, count)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    left_out = sorted(set(arrays) - set(columns))
    if left_out:
        note(f"not in the rows, as they hold several numbers a point: {', '.join(left_out)}")


def inline(arrays: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return arrays as lists for a JSON document; None when they are too many numbers for one."""
    plain = {name: np.asarray(value) for name, value in arrays.items()}
    if sum(array.size for array in plain.values()) > _INLINE_NUMBERS:
        return None
    return {name: array.tolist() for name, array in plain.items()}


def _single(arrays: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Return the arrays that hold one number a point (perhaps behind axes of length 1)."""
    return {
        name: array.reshape(count)
        for name, array in arrays.items()
        if array.ndim and len(array) == count == array.size
    }


def _short(array: Array) -> str:
    if array.ndim == 0:
        return _number(array.item())
    shape = ", ".join(str(length) for length in array.shape)
    flat = array.reshape(-1)
    if flat.size <= _FEW:
        return f"[{', '.join(_number(item) for item in flat.tolist())}]"
    ends = f"{_number(flat[0])} ... {_number(flat[-1])}"
    return f"{array.dtype}[{shape}]: {ends}, from {_number(flat.min())} to {_number(flat.max())}"


def _number(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{float(value):.7g}"
    return str(value)
