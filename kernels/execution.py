"""Run one task of a kernel on this process's device; the border to NumPy and to foreign code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import BadParameter, DeviceMemory, KernelFailed, QallowError
from qallow_agent.kernels.backends import BIT_EQUAL, Backend, load_backend
from qallow_agent.kernels.spec import Kernel, Parameter

Array = npt.NDArray[Any]


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
    shapes = {name: array.shape for name, array in arrays.items()}
    values = spec.validate(scalars, swept=_extremes(columns), shapes=shapes)
    inputs: dict[str, Any] = {}
    for parameter in spec.parameters:
        inputs[parameter.name] = _input(kernel, parameter, values, columns, arrays, points)
    function = load_backend(kernel, backend) if isinstance(backend, str) else backend
    try:
        results = function(points=points, **inputs)
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
    checked = _checked(kernel, results, points, spec.sizes(values, shapes))
    return checked if columns else {name: array[0] for name, array in checked.items()}


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


def _checked(
    kernel: Kernel, results: object, points: int, sizes: Mapping[str, int]
) -> dict[str, Array]:
    spec = kernel.spec
    names = {output.name for output in spec.outputs}
    if not isinstance(results, dict) or results.keys() != names:
        raise KernelFailed(f"kernel {spec.name!r} did not return exactly its declared outputs")
    checked = {}
    for output in spec.outputs:
        array = results[output.name]
        shape = (points, *spec.output_shape(output, sizes))
        if not isinstance(array, np.ndarray) or array.dtype != np.dtype(output.dtype):
            raise KernelFailed(
                f"kernel {spec.name!r} returned {output.name!r} as "
                f"{getattr(array, 'dtype', type(array).__name__)}, declared {output.dtype}"
            )
        if array.shape != shape:
            raise KernelFailed(
                f"kernel {spec.name!r} returned {output.name!r} with shape {array.shape}, "
                f"declared {shape}"
            )
        checked[output.name] = np.ascontiguousarray(array)
    return checked


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
