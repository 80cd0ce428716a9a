"""The points of a sweep: a grid or a list of rows, cut into columns on demand."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qallow_agent.base.errors import UsageError
from qallow_agent.client.arguments import Arguments, collect
from qallow_agent.client.cargo import loaded
from qallow_agent.jobs.parcels import ArrayHead
from qallow_agent.kernels.spec import KernelSpec

if TYPE_CHECKING:
    from qallow_agent.client.arrays import Array

Grid = Mapping[str, Any] | Iterable[Mapping[str, Any]]
"""Axes whose every combination is a point (the last one fastest), or one mapping a point."""

MOST_POINTS = 1 << 31
"""A job of more is a mistake; with their results they would not fit any submitter."""

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
    def point_bytes(self) -> int:
        """Input and output bytes of one point."""
        return self._output_bytes + sum(axis.itemsize for axis, _ in self._axes.values())

    def extremes(self) -> dict[str, tuple[float, float]]:
        """Return the least and greatest value of every swept parameter."""
        from qallow_agent.client.arrays import extremes_of  # noqa: PLC0415 - brings NumPy

        return {name: extremes_of(axis) for name, (axis, _) in self._axes.items()}

    def sample(self) -> dict[str, Any]:
        """Return the scalars of one point, swept ones included."""
        return self.fixed.scalars | {name: axis[0].item() for name, (axis, _) in self._axes.items()}

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


def _by_name(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]] | None:
    columns: dict[str, list[Any]] | None = None
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise UsageError(f"row {number} is a {type(row).__name__}, not a mapping of parameters")
        if columns is None:
            columns = {name: [] for name in row}
        if row.keys() != columns.keys():
            raise UsageError(
                f"row {number} names {', '.join(row)}; the first one {', '.join(columns)}",
                hint="give every row the same parameters",
            )
        for name, value in row.items():
            columns[name].append(value)
    return columns


def _output_bytes(
    spec: KernelSpec | None, shared: Arguments, swept: Mapping[str, tuple[float, float]]
) -> int:
    if spec is None:
        return _GUESSED_POINT_BYTES
    values = shared.scalars | {name: ends[0] for name, ends in swept.items()}
    return spec.demand(values, shapes=shared.shapes).output_bytes
