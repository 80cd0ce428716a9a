"""The points of a sweep: a grid or a list of rows, cut into columns on demand."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qallow_agent.base.errors import UsageError
from qallow_agent.client.arguments import Arguments, collect
from qallow_agent.client.cargo import loaded
from qallow_agent.client.inputprint import hash_sweep
from qallow_agent.jobs.parcels import ArrayHead
from qallow_agent.kernels.spec import KernelSpec

if TYPE_CHECKING:
    from qallow_agent.client.arrays import Array


class Columns:
    """Parameters side by side: the values of one row are a point.

    Args:
        columns: Equally long lists or arrays of numbers by name; also a data frame.

    Raises:
        UsageError: They differ in length.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self.by_name = dict(columns)
        lengths = {name: len(column) for name, column in self.by_name.items()}
        if len(set(lengths.values())) > 1:
            raise UsageError(f"columns differ in length: {lengths}", hint="one value a point each")

    def __repr__(self) -> str:
        return f"<Columns {', '.join(self.by_name)}>"


Grid = Mapping[str, Any] | Columns | Iterable[Mapping[str, Any]]
"""Axes whose every combination is a point (the last one fastest), columns whose rows are the
points, or one mapping a point."""

MOST_POINTS = 1 << 31
"""A job of more is a mistake; with their results they would not fit any submitter."""

MOST_ROWS = 1 << 24
"""An iterable that yields more has no end, or is a mistake: a sweep is read before it starts."""

_ROWS_AT_ONCE = 1 << 14

_GUESSED_POINT_BYTES = 256
"""Output bytes of one point of a kernel that is not known here."""


class Points:
    """Every point of a sweep, and what they share.

    Args:
        fixed: The parameters that all points share.
        axes: Name, values and dtype code of each swept parameter.
        product: Whether every combination of the axes is a point; else they go side by side.
        output_bytes: Bytes that one point gives back.
    """

    def __init__(
        self,
        fixed: Arguments,
        axes: "Mapping[str, tuple[Array, str]]",
        *,
        product: bool,
        output_bytes: int,
    ) -> None:
        self.fixed = fixed
        self._axes = axes
        self._product = product
        self._output_bytes = output_bytes
        self._lengths = [len(axis) for axis, _ in axes.values()]
        self.count = math.prod(self._lengths) if product else self._lengths[0]

    @property
    def axes_bytes(self) -> int:
        """Bytes of all axes."""
        return sum(axis.nbytes for axis, _ in self._axes.values())

    @property
    def point_bytes(self) -> int:
        """Input and output bytes of one point."""
        return self._output_bytes + sum(axis.itemsize for axis, _ in self._axes.values())

    def extremes(self) -> dict[str, tuple[float, float]]:
        """Return the least and greatest value of every swept parameter."""
        from qallow_agent.client.arrays import extremes_of  # noqa: PLC0415 - brings NumPy

        return {name: extremes_of(axis) for name, (axis, _) in self._axes.items()}

    def digest(self) -> bytes:
        """Return the hash of all points and of what they share."""
        axes = [
            (ArrayHead(name, code, axis.shape), axis) for name, (axis, code) in self._axes.items()
        ]
        return hash_sweep(self.fixed, axes, product=self._product)

    def sample(self) -> dict[str, Any]:
        """Return the scalars of one point, swept ones included."""
        return self.fixed.scalars | {name: axis[0].item() for name, (axis, _) in self._axes.items()}

    def at(self, places: "Array") -> "dict[str, Array]":
        """Return the swept parameters of some points by index."""
        from qallow_agent.client.arrays import unravel_at  # noqa: PLC0415 - brings NumPy

        rows = [places] * len(self._axes)
        if self._product and len(self._axes) > 1:
            rows = list(unravel_at(places, self._lengths))
        axes = self._axes.items()
        return {name: axis[row] for (name, (axis, _)), row in zip(axes, rows, strict=True)}

    def columns(self, start: int, points: int) -> tuple[tuple[ArrayHead, ...], list[Any]]:
        """Return heads and buffers of some consecutive points."""
        from qallow_agent.client.arrays import cut, unravel  # noqa: PLC0415 - brings NumPy

        places: list[Any] = [slice(start, start + points)] * len(self._axes)
        if self._product and len(self._axes) > 1:
            places = list(unravel(start, points, self._lengths))
        heads = tuple(ArrayHead(name, code, (points,)) for name, (_, code) in self._axes.items())
        buffers = [
            loaded(cut(axis, place))
            for (axis, _), place in zip(self._axes.values(), places, strict=True)
        ]
        return heads, buffers


def lay_out(spec: KernelSpec | None, grid: Grid, fixed: Mapping[str, Any]) -> Points | None:
    """Return the points of a sweep, checked; None when there are none.

    Raises:
        BadParameter: Names the parameter that is wrong, cannot be sent or cannot be swept.
        UsageError: Rows differ in their names, a parameter is both swept and fixed, or nothing is
            swept.
    """
    from qallow_agent.client.arrays import axis_of, extremes_of  # noqa: PLC0415 - brings NumPy

    product = isinstance(grid, Mapping)
    if isinstance(grid, Columns):
        lists: dict[str, Any] | None = grid.by_name
    else:
        lists = dict(grid) if isinstance(grid, Mapping) else _by_name(grid)
    if lists is None:
        return None
    if not lists:
        raise UsageError("nothing is swept", hint="give axes such as {'eps': [0.1, 0.2]}")
    both = sorted(set(lists) & set(fixed))
    if both:
        raise UsageError(f"{both[0]} is both swept and fixed", hint="give it once")
    types = {parameter.name: parameter.dtype for parameter in spec.parameters} if spec else {}
    axes = {name: axis_of(name, values, types.get(name, "")) for name, values in lists.items()}
    if any(len(axis) == 0 for axis, _ in axes.values()):
        return None
    swept = {name: extremes_of(axis) for name, (axis, _) in axes.items()}
    shared = collect(spec, fixed, swept)
    points = Points(shared, axes, product=product, output_bytes=_output_bytes(spec, shared, swept))
    if points.count > MOST_POINTS:
        raise UsageError(f"{points.count:,} points are too many", hint=f"at most {MOST_POINTS:,}")
    return points


def _by_name(rows: Iterable[Mapping[str, Any]]) -> "dict[str, Any] | None":
    """Return rows as columns; only some of them are in memory as rows at a time."""
    from qallow_agent.client.arrays import join, outgoing  # noqa: PLC0415 - brings NumPy

    names: tuple[str, ...] = ()
    chunks: list[dict[str, Array]] = []
    numbered = enumerate(rows)
    while chunk := list(itertools.islice(numbered, _ROWS_AT_ONCE)):
        for number, row in chunk:
            if not isinstance(row, Mapping):
                raise UsageError(
                    f"row {number} is a {type(row).__name__}, not a mapping of parameters"
                )
            names = names or tuple(row)
            if len(row) != len(names) or any(name not in row for name in names):
                raise UsageError(
                    f"row {number} names {', '.join(row)}; the first one {', '.join(names)}",
                    hint="give every row the same parameters",
                )
        if chunk[-1][0] >= MOST_ROWS:
            raise UsageError(
                f"the rows are more than {MOST_ROWS:,}, or have no end",
                hint="stream() takes what has no end; axes and Columns take more",
            )
        chunks.append({name: outgoing(name, [row[name] for _, row in chunk])[0] for name in names})
    if not chunks:
        return None
    return {name: join([chunk[name] for chunk in chunks]) for name in names}


def _output_bytes(
    spec: KernelSpec | None, shared: Arguments, swept: Mapping[str, tuple[float, float]]
) -> int:
    if spec is None:
        return _GUESSED_POINT_BYTES
    values = shared.scalars | {name: ends[0] for name, ends in swept.items()}
    return spec.demand(values, shapes=shared.shapes).output_bytes
