"""What a kernel promises: its parameters, outputs, cost and known answers, without NumPy.

The agent, the command line and a submitter all read specs; only a runner imports the code behind
them. So nothing here imports numpy or numba, and cost, shapes and warnings are plain functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from qallow_agent.base.errors import BadParameter
from qallow_agent.kernels.values import (
    ITEM_BYTES,
    Scalar,
    bounded,
    closest,
    converted,
    match_shape,
    show_bound,
)

Values = Mapping[str, Scalar]
"""Validated scalar parameters by name, defaults filled in."""

Extremes = Mapping[str, tuple[float, float]]
"""Least and greatest value of each swept parameter."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each array parameter."""

Numbers = tuple["Scalar | Numbers", ...]
"""The values of an array, one tuple an axis."""

Size = str | int
"""One axis: a fixed length, or the name of a dimension."""

NOTHING: Mapping[str, tuple[int, ...]] = MappingProxyType({})
NO_EXTREMES: Extremes = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input of a kernel.

    Args:
        name: What callers write.
        dtype: A key of :data:`~qallow_agent.kernels.values.ITEM_BYTES`.
        default: Value when none is given; None makes the parameter required.
        ge: Least allowed value.
        le: Greatest allowed value.
        unit: Unit for people; empty for a pure number.
        doc: One sentence for ``kernels info``.
        shape: Empty for a scalar, else the axes of an array shared by all points.
        sweepable: Whether points of one task may differ in it. A parameter that decides how long
            or how large a run is may not: the runs of a batch go in lockstep.
    """

    name: str
    dtype: str
    default: Scalar | None = None
    ge: float | None = None
    le: float | None = None
    unit: str = ""
    doc: str = ""
    shape: tuple[Size, ...] = ()
    sweepable: bool = True

    @property
    def bounds(self) -> str:
        """The allowed interval for people, e.g. ``[1, 1000]``; empty when unbounded."""
        if self.ge is None and self.le is None:
            return ""
        low = "-inf" if self.ge is None else show_bound(self.ge)
        high = "inf" if self.le is None else show_bound(self.le)
        return f"[{low}, {high}]"


@dataclass(frozen=True, slots=True)
class Output:
    """One result array of a kernel, per point.

    Args:
        name: Key in the result.
        dtype: A key of :data:`~qallow_agent.kernels.values.ITEM_BYTES`.
        shape: Axes: fixed lengths or names that ``KernelSpec.dimensions`` resolves.
        unit: Unit for people; empty for a pure number.
        doc: One sentence for ``kernels info``.
        atol: Absolute difference from the reference allowed to a backend that contracts
            multiply-adds; backends that do not must be bit-equal.
        rtol: Relative difference allowed on top, of the same kind.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...] = ()
    unit: str = ""
    doc: str = ""
    atol: float = 0.0
    rtol: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one point costs: operations, and bytes of scratch memory beside inputs and outputs.

    ``steps`` counts what people count of it: the ticks of a simulation, the pixels of an image.
    """

    ops: float
    scratch_bytes: int = 0
    steps: float = 0.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a task costs: ``ops`` of all its points together, and the bytes it holds and moves."""

    ops: float
    memory_bytes: int
    input_bytes: int
    output_bytes: int


def _no_dimensions(_values: Values) -> Mapping[str, int]:
    return {}


def _no_advice(_values: Values, _extremes: Extremes) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """A kernel's contract with its callers.

    Args:
        name: Unique in a mesh.
        version: Raised whenever results change.
        doc: First sentence says what it computes.
        parameters: Inputs.
        outputs: Results; a task with columns adds a leading axis of points to each.
        cost: Validated values -> cost of one point.
        dimensions: Validated values -> length of each named axis that no array input fixes.
        advise: Validated values and extremes -> warnings for people before the run.
        op: What one operation of ``cost`` is, in words.
        step: What one of its steps is, in words.
        parallel_points: Points a backend works on at a time; scratch memory counts that often.
    """

    name: str
    version: int
    doc: str
    parameters: tuple[Parameter, ...]
    outputs: tuple[Output, ...]
    cost: Callable[[Values], Cost]
    dimensions: Callable[[Values], Mapping[str, int]] = _no_dimensions
    advise: Callable[[Values, Extremes], tuple[str, ...]] = _no_advice
    op: str = "operation"
    step: str = "step"
    parallel_points: int = 1

    def parameter(self, name: str) -> Parameter:
        """Return a parameter by name.

        Raises:
            BadParameter: There is none; the hint names the closest.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        known = [parameter.name for parameter in self.parameters]
        raise BadParameter(
            f"kernel {self.name!r} has no parameter {name!r}", hint=closest(name, known)
        )

    def validate(
        self,
        values: Mapping[str, object],
        *,
        swept: Extremes = NO_EXTREMES,
        shapes: Shapes = NOTHING,
    ) -> dict[str, Scalar]:
        """Return the scalar parameters converted to their type, defaults filled in.

        Args:
            values: Given scalars; a swept parameter may be among them with a typical value.
            swept: Least and greatest value of each swept parameter.
            shapes: Shape of each given array parameter.

        Returns:
            One value for each scalar parameter; for a swept one without a value its lower extreme.

        Raises:
            BadParameter: Unknown, missing, of the wrong type or shape, or out of bounds; the
                message names kernel, parameter, value and bounds. Nothing changed.
        """
        for name in (*values, *swept, *shapes):
            self.parameter(name)
        self._check_arrays(values, swept, shapes)
        result: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if parameter.shape:
                continue
            name = parameter.name
            if name in swept:
                self._check_swept(parameter, swept[name])
            given = values.get(name, swept[name][0] if name in swept else parameter.default)
            if given is None:
                raise BadParameter(
                    f"kernel {self.name!r} needs parameter {name!r}",
                    hint=f"give {name}=...; {parameter.doc}",
                )
            result[name] = self._checked(parameter, given)
        return result

    def sizes(self, values: Values, shapes: Shapes = NOTHING) -> dict[str, int]:
        """Return the length of every named axis, from array shapes and validated values."""
        learnt = {
            axis: length
            for parameter in self.parameters
            for axis, length in zip(parameter.shape, shapes.get(parameter.name, ()), strict=False)
            if isinstance(axis, str)
        }
        return {**self.dimensions(values), **learnt}

    def output_shape(self, output: Output, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return an output's shape for one point."""
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in output.shape)

    def tolerances(self) -> dict[str, tuple[float, float]]:
        """Return by how much two backends may differ: output -> absolute, relative."""
        return {
            output.name: (output.atol, output.rtol)
            for output in self.outputs
            if output.atol or output.rtol
        }

    def demand(self, values: Values, points: int = 1, *, shapes: Shapes = NOTHING) -> Demand:
        """Return what ``points`` evaluations cost, from validated values."""
        sizes = self.sizes(values, shapes)
        cost = self.cost(values)
        inputs = 0
        for parameter in self.parameters:
            count = 1 if parameter.sweepable and not parameter.shape else 0
            inputs += count * points * ITEM_BYTES[parameter.dtype]
            if parameter.shape:
                inputs += _bytes(parameter.dtype, shapes.get(parameter.name, ()))
        outputs = points * sum(
            _bytes(output.dtype, self.output_shape(output, sizes)) for output in self.outputs
        )
        scratch = cost.scratch_bytes * min(points, self.parallel_points)
        return Demand(
            ops=cost.ops * points,
            memory_bytes=inputs + 2 * outputs + scratch,
            input_bytes=inputs,
            output_bytes=outputs,
        )

    def warnings(self, values: Values, extremes: Extremes = NO_EXTREMES) -> tuple[str, ...]:
        """Return what a person should know before the run; validated values expected."""
        return self.advise(values, extremes)

    def _checked(self, parameter: Parameter, value: object) -> Scalar:
        where = f"kernel {self.name!r}, parameter {parameter.name!r}"
        scalar = converted(where, parameter.dtype, value)
        bounded(where, scalar, parameter.ge, parameter.le, parameter.unit)
        return scalar

    def _check_swept(self, parameter: Parameter, extremes: tuple[float, float]) -> None:
        if not parameter.sweepable:
            sweepable = [p.name for p in self.parameters if p.sweepable and not p.shape]
            raise BadParameter(
                f"kernel {self.name!r} cannot sweep {parameter.name!r}: the runs of a batch go in "
                "lockstep and must agree on it",
                hint=f"submit one job a value, or sweep one of: {', '.join(sweepable)}",
            )
        for extreme in extremes:
            self._checked(parameter, extreme)

    def _check_arrays(self, values: Mapping[str, object], swept: Extremes, shapes: Shapes) -> None:
        sizes: dict[str, int] = {}
        for parameter in self.parameters:
            name = parameter.name
            where = f"kernel {self.name!r}, parameter {name!r}"
            if not parameter.shape:
                if name in shapes:
                    raise BadParameter(
                        f"{where} is a scalar, not an array", hint=f"give one {parameter.dtype}"
                    )
                continue
            wanted = f"give an array of {parameter.dtype}, shape {_show_shape(parameter.shape)}"
            if name in values or name in swept:
                raise BadParameter(f"{where} is an array, not a scalar", hint=wanted)
            if name not in shapes:
                raise BadParameter(f"{where} is missing", hint=wanted)
            match_shape(where, parameter.shape, shapes[name], sizes)


def _show_shape(shape: tuple[Size, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _bytes(dtype: str, shape: tuple[int, ...]) -> int:
    size = ITEM_BYTES[dtype]
    for length in shape:
        size *= length
    return size


@dataclass(frozen=True, slots=True)
class Canary:
    """A tiny task with known answers: proves that a device computes right, and how fast.

    Args:
        scalars: Parameters shared by all points.
        columns: Swept parameters, one value a point; all of one length.
        answers: For some outputs, the exact values of those points, flattened in C order.
        copies: Times the columns are repeated in one task, so that its rate means something.
        arrays: Array parameters, as nested tuples.
    """

    scalars: Values
    columns: Mapping[str, tuple[Scalar, ...]]
    answers: Mapping[str, tuple[Scalar, ...]]
    copies: int = 1
    arrays: Mapping[str, Numbers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stages:
    """How a long run of a kernel is done in stages, so that its state can be kept in between.

    Args:
        backends: Backend name -> module with three functions, which take ``points`` and every
            parameter by keyword as the backend itself does. ``begin(**given)`` returns the state
            before the first tick, arrays by name whose shapes and dtypes depend on parameters
            alone; ``advance(state, since, until, **given)`` takes it in place from after one tick
            to after another; ``outputs(state, **given)`` returns the outputs after the last one.
            Wherever a run is cut, its outputs are the same bits. A state may come from anybody:
            whatever its numbers are, nothing outside of it may be touched.
        ticks: The parameter that counts the ticks of a run.
    """

    backends: Mapping[str, str]
    ticks: str = "ticks"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A spec, the code behind it and its known answers: what an entry point names.

    Args:
        spec: The contract.
        backends: Backend name (``reference``, ``cpu``, ``cuda``) -> ``"module:function"``. The
            function takes ``points`` and every parameter by keyword, sweepable scalars as arrays
            of length ``points``, others as Python numbers, and returns every output with a
            leading axis of points.
        canary: Known answers.
        module: The declaring module (``__name__``); its source counts into the content hash.
        sources: Further modules whose source decides results.
        bench: Scalars of a benchmark in place of the canary's: enough work for each point to
            outweigh its way to the device and back.
        stages: How single runs may be cut; None for kernels whose runs may not.
    """

    spec: KernelSpec
    backends: Mapping[str, str]
    canary: Canary
    module: str
    sources: tuple[str, ...] = field(default=())
    bench: Values = field(default_factory=dict)
    stages: Stages | None = None
