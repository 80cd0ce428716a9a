"""What a job is given on the command line: ``--set``, ``--params FILE`` and ``--sweep``."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import BadParameter, UsageError
from qallow_agent.cli.kernels import Shape
from qallow_agent.client.files import guess, numbers_of, read_values, word
from qallow_agent.client.points import Columns

MAX_POINTS = 100_000_000
"""A larger sweep does not fit the submitter's memory with its results."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The parameters of a job.

    Args:
        fixed: Values that all points share.
        columns: One value a point, from a file; all of one length.
        sweeps: Axes of a grid: every combination is a point.
    """

    fixed: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Array] = field(default_factory=dict)
    sweeps: dict[str, Array] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """How many evaluations these parameters ask for."""
        if self.columns:
            return len(next(iter(self.columns.values())))
        return math.prod(len(axis) for axis in self.sweeps.values())

    def extremes(self) -> dict[str, tuple[float, float]]:
        """Return the least and greatest value of every parameter that differs between points."""
        return {
            name: (float(axis.min()), float(axis.max()))
            for name, axis in (self.sweeps | self.columns).items()
            if axis.size
        }

    def grid(self) -> Mapping[str, Array] | Columns:
        """Return the points as ``Mesh.map`` takes them: axes of a grid, or columns side by side."""
        return Columns(self.columns) if self.columns else self.sweeps

    def at(self, points: Array) -> dict[str, Array]:
        """Return, for some points by index, the value of every parameter that differs.

        A grid counts its last axis fastest.
        """
        if self.columns:
            return {name: column[points] for name, column in self.columns.items()}
        lengths = tuple(len(axis) for axis in self.sweeps.values())
        places = np.unravel_index(points, lengths) if lengths else ()
        return {
            name: axis[place]
            for (name, axis), place in zip(self.sweeps.items(), places, strict=True)
        }


def read_inputs(
    shapes: Mapping[str, Shape],
    assignments: Iterable[str],
    files: Iterable[Path],
    sweeps: Iterable[str] = (),
) -> Inputs:
    """Return the parameters that a command line names; ``--set`` wins over files.

    Args:
        shapes: What the kernel takes, by name; other names are passed on as they look.
        assignments: ``name=value``.
        files: JSON, TOML, CSV or NPZ, told apart by their names' endings.
        sweeps: ``name=start:stop:count``, ``name=log:start:stop:count`` or ``name=a,b,c``.

    Raises:
        UsageError: A file or an argument cannot be read, or columns and sweeps are mixed.
        BadParameter: A value is not of its parameter's type.
    """
    fixed: dict[str, Any] = {}
    columns: dict[str, Array] = {}
    for path in files:
        for name, found in read_values(path).items():
            listed = isinstance(found, list | np.ndarray)
            value = numbers_of(path, name, found) if listed else found
            _place(name, value, shapes.get(name), fixed, columns)
    for assignment in assignments:
        name, text = _split(assignment, "--set", "name=value")
        columns.pop(name, None)
        fixed[name] = parse_value(name, text, shapes.get(name))
    axes: dict[str, Array] = {}
    for sweep in sweeps:
        name, axis = parse_sweep(sweep, shapes)
        if name in axes:
            raise UsageError(f"{name} is swept twice", hint="give it once, as name=1,2,5 perhaps")
        axes[name] = axis
    if axes and columns:
        raise UsageError(
            f"--sweep and the columns {', '.join(columns)} of a file cannot be combined",
            hint="put every point into the file, or sweep everything",
        )
    both = sorted(set(axes) & set(fixed))
    if both:
        raise UsageError(f"{both[0]} is both set and swept", hint="give it once")
    Columns(columns)
    inputs = Inputs(fixed, columns, axes)
    if inputs.points > MAX_POINTS:
        raise UsageError(f"{inputs.points:,} points are too many", hint=f"at most {MAX_POINTS:,}")
    return inputs


def parse_value(name: str, text: str, shape: Shape | None) -> Any:
    """Return a value as its parameter wants it; without a known one, as it looks.

    Raises:
        BadParameter: The text is not of that type.
    """
    text = text.strip()
    try:
        if shape is None:
            return guess(text)
        if shape.rank:
            return np.asarray(json.loads(text), dtype=shape.dtype)
        return _scalar(text, shape.dtype)
    except (ValueError, OverflowError, TypeError) as error:
        kind = "an array as JSON" if shape and shape.rank else _kind(shape.dtype if shape else "")
        raise BadParameter(
            f"{name} = {text!r} is not {kind}", hint="'qallow-agent kernels info' shows its type"
        ) from error


def parse_sweep(text: str, shapes: Mapping[str, Shape]) -> tuple[str, Array]:
    """Return a parameter's name and the values it sweeps over.

    Raises:
        UsageError: The text is no sweep.
        BadParameter: A whole-number parameter would get fractions.
    """
    name, rule = _split(text, "--sweep", "name=start:stop:count")

    def wrong(why: str) -> UsageError:
        return UsageError(
            f"--sweep {text!r} is no sweep: {why}",
            hint="write name=start:stop:count, name=log:start:stop:count or name=1,2,5",
        )

    shape = shapes.get(name)
    if ":" not in rule:
        values = [parse_value(name, part, shape) for part in rule.split(",") if part.strip()]
        if not values:
            raise wrong("it has no values")
        return name, np.asarray(values)
    parts = rule.split(":")
    logarithmic = parts[0] == "log"
    try:
        start, stop, count = (float(part) for part in parts[logarithmic:])
    except ValueError as error:
        raise wrong("it takes three numbers") from error
    if not (math.isfinite(start) and math.isfinite(stop)):
        raise wrong("start and stop must be finite")
    if not 1 <= count <= MAX_POINTS or count != int(count):
        raise wrong(f"the count must be a whole number from 1 to {MAX_POINTS:,}")
    if logarithmic and (start <= 0 or stop <= 0):
        raise wrong("start and stop of log must be above 0")
    space = np.geomspace if logarithmic else np.linspace
    return name, _whole(name, space(start, stop, int(count)), shape)


def _whole(name: str, axis: Array, shape: Shape | None) -> Array:
    if shape is None or shape.dtype[0] not in "iu":
        return axis
    rounded = np.rint(axis)
    if not np.allclose(axis, rounded, rtol=0, atol=1e-9):
        raise BadParameter(
            f"{name} takes whole numbers, this sweep has {axis[np.argmax(axis != rounded)]:g}",
            hint="choose start, stop and count so that the steps are whole",
        )
    return rounded.astype(np.int64)


def _split(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise UsageError(f"{option} {text!r} is not understood", hint=f"write {option} {form}")
    return name.strip(), value.strip()


def _scalar(text: str, dtype: str) -> Any:
    if dtype == "b1":
        return word(text)
    if dtype[0] in "iu":
        try:
            return int(text, 0)
        except ValueError:
            number = float(text)
            if number != int(number):
                raise
            return int(number)
    return complex(text) if dtype[0] == "c" else float(text)


def _kind(dtype: str) -> str:
    return {"b": "true or false", "i": "a whole number", "u": "a whole number"}.get(
        dtype[:1], "a number"
    )


def _place(
    name: str, value: Any, shape: Shape | None, fixed: dict[str, Any], columns: dict[str, Array]
) -> None:
    """Sort a file's value: a scalar or an array parameter is fixed, one more axis is a column."""
    if isinstance(value, str):
        fixed[name] = parse_value(name, value, shape)
        return
    if not isinstance(value, np.ndarray):
        fixed[name] = value
    elif value.ndim == 0:
        fixed[name] = value.item()
    elif value.ndim == 1 and (shape is None or shape.rank == 0):
        columns[name] = value
    else:
        fixed[name] = value
