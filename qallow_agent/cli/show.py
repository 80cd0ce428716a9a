"""Results for people and programs: a short table, CSV rows, numbers in JSON."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.cli.output import MIN_WIDTH, note, table
from qallow_agent.client.tables import WIDE, Table, write_csv

Array = npt.NDArray[Any]

_SHOWN_ROWS = 10
_INLINE_NUMBERS = 10_000
"""More numbers than this stay out of a JSON document; they belong into a file."""

_FEW = 6


def show_outputs(values: Mapping[str, Any]) -> None:
    """Print the outputs of one point, arrays in short."""
    table(("OUTPUT", "VALUE"), [(name, _short(np.asarray(v))) for name, v in values.items()])


def show_points(points: Table) -> None:
    """Print the first and last points of a map, as many columns as fit a line."""
    names = points.single()
    while len(names) > 1 and sum(max(len(name), 10) + 2 for name in names) > MIN_WIDTH:
        names.pop()
    shown = points.ends(names, _SHOWN_ROWS // 2)
    table(
        [name.upper() for name in names],
        [
            [_number(value) for value in row]
            for row in zip(*(shown[name].reshape(-1).tolist() for name in names), strict=True)
        ],
        empty="no point was finished",
    )
    if points.count > _SHOWN_ROWS:
        between = points.count - _SHOWN_ROWS
        note(f"({between:,} points in between; -o DIR writes all, with every output)")


def print_csv(points: Table) -> None:
    """Print one row a point to stdout: parameters and outputs."""
    say_left_out(write_csv(sys.stdout, points))


def say_left_out(names: Sequence[str]) -> None:
    """Say which outputs rows of single numbers have no place for."""
    if names:
        note(f"left out, as they hold none or over {WIDE} numbers a point: {', '.join(names)}")


def few(points: Table) -> dict[str, Any] | None:
    """Return the columns as lists for a JSON document; None when they are too many numbers."""
    numbers = points.count * sum(field.size for field in points.fields.values())
    return None if numbers > _INLINE_NUMBERS else inline(points.arrays())


def inline(arrays: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return arrays as lists for a JSON document; None when they are too many numbers for one."""
    plain = {name: np.asarray(value) for name, value in arrays.items()}
    if sum(array.size for array in plain.values()) > _INLINE_NUMBERS:
        return None
    return {name: array.tolist() for name, array in plain.items()}


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
