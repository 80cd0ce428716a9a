"""Run one task of a kernel on this process's device; the border to NumPy and to foreign code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import BadParameter, DeviceMemory, KernelFailed, QallowError
from qallow_agent.kernels.backends import BIT_EQUAL, Backend, load_backend
from qallow_agent.kernels.spec import (
    NO_EXTREMES,
    NOTHING,
    Extremes,
    Kernel,
    KernelSpec,
    Parameter,
)

Array = npt.NDArray[Any]


class _Plan(NamedTuple):
    """What a task means: validated values, and name, dtype and shape of each output."""

    spec: KernelSpec
    values: Mapping[str, Any]
    wanted: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]


_PLANS: dict[tuple[Any, ...], _Plan] = {}
_MOST_PLANS = 256


@dataclass(frozen=True, slots=True)
class CanaryOutcome:
    """How a known-answer test went: the rate in operations per second, or why not and the fix."""

    passed: bool
    why: str = ""
    seconds: float = 0.0
    rate: float = 0.0
    hint: str = ""


def run_task(
    kernel: Kernel,
    backend: str | Backend,
    scalars: Mapping[str, object],
    columns: Mapping[str, Array],
    arrays: Mapping[str, Array],
) -> dict[str, Array]:
    """Return every output of one task, C-contiguous and in the declared dtype.

    Args:
        kernel: What to run.
        backend: Which of its backends, or a plug-in device's way to compute it.
        scalars: Parameters shared by all points; missing ones take their defaults.
        columns: Swept parameters, one value a point, all of one length; empty for a single run.
        arrays: Array parameters shared by all points.

    Returns:
        Output name -> array; with columns each has a leading axis of points.

    Raises:
        BadParameter: The task contradicts the spec; nothing ran.
        DeviceMemory: The kernel ran out of memory.
        KernelFailed: The kernel raised (see ``__cause__``) or its outputs contradict the spec.
    """
    spec = kernel.spec
    points = _points(kernel, columns)
    if columns or arrays:
        shapes = {name: array.shape for name, array in arrays.items()}
        plan = _make_plan(spec, scalars, points, _extremes(columns), shapes)
    else:
        plan = _plan_of_one(spec, scalars)
    inputs: dict[str, Any] = {}
    for parameter in spec.parameters:
        inputs[parameter.name] = _input(kernel, parameter, plan.values, columns, arrays, points)
    function = load_backend(kernel, backend) if isinstance(backend, str) else backend
    results = _called(kernel, lambda: function(points=points, **inputs))
    checked = _checked(kernel, results, plan)
    return checked if columns else {name: array[0] for name, array in checked.items()}


def run_one(
    kernel: Kernel,
    scalars: Mapping[str, object],
    work: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Array]:
    """Return every output of a single run that is done in another way than by a backend.

    Args:
        kernel: What to run; it has no array parameters.
        scalars: Its parameters; missing ones take their defaults.
        work: Takes ``points`` and every parameter as a backend does, by name, and returns what a
            backend returns.

    Raises:
        BadParameter: The task contradicts the spec; nothing ran.
        DeviceMemory: The kernel ran out of memory.
        KernelFailed: The kernel raised or its outputs contradict the spec.
    """
    plan = _plan_of_one(kernel.spec, scalars)
    inputs: dict[str, Any] = {"points": 1}
    for parameter in kernel.spec.parameters:
        inputs[parameter.name] = _input(kernel, parameter, plan.values, {}, {}, 1)
    checked = _checked(kernel, _called(kernel, lambda: work(inputs)), plan)
    return {name: array[0] for name, array in checked.items()}


def _called(kernel: Kernel, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a kernel returns; whatever it raises is told as its failure."""
    spec = kernel.spec
    try:
        return call()
    except MemoryError as error:
        raise DeviceMemory(
            f"kernel {spec.name!r} ran out of memory", hint="smaller tasks, or a larger device"
        ) from error
    except QallowError:
        raise
    except Exception as error:  # a kernel is foreign code and may raise anything
        raise KernelFailed(
            f"kernel {spec.name!r} raised {type(error).__name__}: {error}",
            hint="it is the same wherever it runs: look at the kernel and its parameters",
        ) from error


def run_canary(kernel: Kernel, backend: str | Backend, clock: Callable[[], float]) -> CanaryOutcome:
    """Run a kernel's known-answer task and compare every answer.

    The task runs twice and the second run is timed: the first pays for imports and page faults.

    Args:
        kernel: What to test.
        backend: Which of its backends, or a plug-in device's way to compute it.
        clock: Monotonic seconds, injected.

    Returns:
        Whether every answer was right (to the bit, or within the outputs' tolerance for a backend
        that contracts), why not, and the rate. A kernel that raises fails its canary.
    """
    canary = kernel.canary
    columns = {
        name: np.tile(np.asarray(values, dtype=kernel.spec.parameter(name).dtype), canary.copies)
        for name, values in canary.columns.items()
    }
    arrays = {
        name: np.asarray(values, dtype=kernel.spec.parameter(name).dtype)
        for name, values in canary.arrays.items()
    }
    try:
        run_task(kernel, backend, canary.scalars, columns, arrays)
        began = clock()
        results = run_task(kernel, backend, canary.scalars, columns, arrays)
        seconds = clock() - began
        points = _points(kernel, columns)
    except QallowError as error:
        return CanaryOutcome(passed=False, why=error.message, hint=error.hint)
    why = _wrong(kernel, backend, results)
    if why:
        return CanaryOutcome(passed=False, why=why, seconds=seconds)
    shapes = {name: array.shape for name, array in arrays.items()}
    values = kernel.spec.validate(canary.scalars, shapes=shapes)
    demand = kernel.spec.demand(values, points, shapes=shapes)
    rate = demand.ops / seconds if seconds > 0 else 0.0
    return CanaryOutcome(passed=True, seconds=seconds, rate=rate)


def _points(kernel: Kernel, columns: Mapping[str, Array]) -> int:
    lengths = {array.shape for array in columns.values()}
    if not lengths:
        return 1
    shape = lengths.pop()
    if lengths or len(shape) != 1 or shape[0] == 0:
        raise BadParameter(
            f"kernel {kernel.spec.name!r}: columns "
            + ", ".join(f"{name}{array.shape}" for name, array in sorted(columns.items()))
            + " do not agree",
            hint="each column holds one value a point, at least one, all of one length",
        )
    return int(shape[0])


def _plan_of_one(spec: KernelSpec, scalars: Mapping[str, object]) -> _Plan:
    """Return the plan of a single evaluation, remembered: tasks of one job are often alike."""
    try:
        # With their types: True is no 1 where a whole number is wanted.
        key = (id(spec), *scalars.items(), *map(type, scalars.values()))
        plan = _PLANS.get(key)
    except TypeError:  # what cannot be hashed is no number, and is refused by name
        return _make_plan(spec, scalars, 1, NO_EXTREMES, NOTHING)
    if plan is None or plan.spec is not spec:
        plan = _make_plan(spec, scalars, 1, NO_EXTREMES, NOTHING)
        if len(_PLANS) >= _MOST_PLANS:
            _PLANS.clear()
        _PLANS[key] = plan
    return plan


def _make_plan(
    spec: KernelSpec,
    scalars: Mapping[str, object],
    points: int,
    extremes: Extremes,
    shapes: Mapping[str, tuple[int, ...]],
) -> _Plan:
    values = spec.validate(scalars, swept=extremes, shapes=shapes)
    sizes = spec.sizes(values, shapes)
    wanted = tuple(
        (output.name, np.dtype(output.dtype), (points, *spec.output_shape(output, sizes)))
        for output in spec.outputs
    )
    return _Plan(spec, values, wanted)


def _extremes(columns: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """Return least and greatest of each column; NaN spreads to both, and is refused later."""
    found = {}
    for name, array in columns.items():
        if array.dtype.kind not in "iuf":
            raise BadParameter(f"column {name!r} has dtype {array.dtype}", hint="numbers only")
        found[name] = (array.min().item(), array.max().item())
    return found


def _input(
    kernel: Kernel,
    parameter: Parameter,
    values: Mapping[str, Any],
    columns: Mapping[str, Array],
    arrays: Mapping[str, Array],
    points: int,
) -> object:
    name = parameter.name
    if parameter.shape:
        return _cast(kernel, parameter, arrays[name])
    if name in columns:
        return _cast(kernel, parameter, columns[name])
    if parameter.sweepable:
        return np.full(points, values[name], dtype=parameter.dtype)
    return values[name]


def _cast(kernel: Kernel, parameter: Parameter, array: Array) -> Array:
    """Return an array in the declared dtype; float widths convert, kinds do not mix."""
    wanted = np.dtype(parameter.dtype)
    if not np.can_cast(array.dtype, wanted, casting="same_kind"):
        raise BadParameter(
            f"kernel {kernel.spec.name!r}, parameter {parameter.name!r} has dtype {array.dtype}",
            hint=f"expected {wanted}",
        )
    return np.ascontiguousarray(array, dtype=wanted)


def _checked(kernel: Kernel, results: object, plan: _Plan) -> dict[str, Array]:
    spec = kernel.spec
    wanted = plan.wanted
    if not isinstance(results, dict) or results.keys() != {name for name, _, _ in wanted}:
        raise KernelFailed(f"kernel {spec.name!r} did not return exactly its declared outputs")
    checked = {}
    for name, dtype, shape in wanted:
        array = results[name]
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            raise KernelFailed(
                f"kernel {spec.name!r} returned {name!r} as "
                f"{getattr(array, 'dtype', type(array).__name__)}, declared {dtype.str[1:]}"
            )
        if array.shape != shape:
            raise KernelFailed(
                f"kernel {spec.name!r} returned {name!r} with shape {array.shape}, declared {shape}"
            )
        checked[name] = _one_nan(np.ascontiguousarray(array))
    return checked


def _one_nan(array: Array) -> Array:
    """Return an array in which every NaN has the same bits.

    Which bits a NaN gets depends on how an operation was compiled; outputs are hashed.
    """
    if array.dtype.kind != "f" or not array.size:
        return array
    least = array.item() if array.size == 1 else array.min().item()
    if least == least:  # noqa: PLR0124 - a minimum is NaN if anything is
        return array
    return np.where(np.isnan(array), array.dtype.type(np.nan), array)


def _wrong(kernel: Kernel, backend: str | Backend, results: Mapping[str, Array]) -> str:
    """Return the first wrong answer in words, or nothing."""
    copies = kernel.canary.copies
    for output in kernel.spec.outputs:
        if output.name not in kernel.canary.answers:
            continue
        answer = np.asarray(kernel.canary.answers[output.name], dtype=output.dtype)
        wanted = np.tile(answer, copies)
        got = results[output.name].ravel()
        exact = backend in BIT_EQUAL
        right = (
            got.tobytes() == wanted.tobytes()
            if exact
            else np.allclose(got, wanted, atol=output.atol, rtol=output.rtol)
        )
        if not right:
            first = int(np.argmax(got != wanted))
            return f"{output.name}[{first}] = {got[first]!r}, known answer {wanted[first]!r}"
    return ""
