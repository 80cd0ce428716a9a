"""How right and how fast a kernel is on the device of this process."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.kernels.backends import BIT_EQUAL
from qallow_agent.kernels.bounds import Limits
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.spec import Kernel, Values
from qallow_agent.kernels.values import Scalar

Array = npt.NDArray[Any]

PROBES: Final = 33
"""Points at which a backend is compared with the reference: odd, and more than a vector's."""

TASK_S: Final = 0.25
"""A task as long as this outweighs what stands around it."""

TASK_BYTES: Final = 256 << 20
"""A task takes no more memory than this, however short it then is."""

WINDOW_S: Final = 1.0
"""Counters of energy move in steps of up to a few hundred milliseconds."""


class Meter(Protocol):
    """Counts the joules of a device."""

    def read(self, now_s: float) -> Reading:
        """Return the joules since the first call, or why they are unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a backend is from the reference, over all outputs.

    Args:
        error: Greatest absolute difference; infinite where only one of the two is a number, None
            for a kernel without a reference.
        why: The first output beyond its tolerance, in words; empty when all are within.
    """

    error: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Speed:
    """What a benchmark found.

    Args:
        points: Points of the task that was run again and again.
        seconds: What its fastest run took.
        ops_per_s: Operations a second in it, as the spec counts them.
        steps_per_s: Steps a second in it; 0 where the spec counts none.
        energy: Joules that the whole device took meanwhile.
        joules_per_op: Of these; None when they are unknown.
    """

    points: int
    seconds: float
    ops_per_s: float
    steps_per_s: float
    energy: Reading
    joules_per_op: float | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a kernel that can be repeated; its columns are the known answers', over again."""

    kernel: Kernel
    backend: str
    scalars: Values
    columns: Mapping[str, Array]
    arrays: Mapping[str, Array]
    copies: int = 1

    @property
    def points(self) -> int:
        """How many points it has."""
        return self.copies * next((column.size for column in self.columns.values()), 1)

    @property
    def memory_bytes(self) -> int:
        """What it holds, as its kernel declares."""
        shapes = {name: array.shape for name, array in self.arrays.items()}
        return self.kernel.spec.demand(self.values, self.points, shapes=shapes).memory_bytes

    @property
    def values(self) -> Values:
        """Its scalars, defaults filled in."""
        spec = self.kernel.spec
        shapes = {name: array.shape for name, array in self.arrays.items()}
        swept = {name: (column.min(), column.max()) for name, column in self.columns.items()}
        return spec.validate(self.scalars, swept=swept, shapes=shapes)

    def run(self, clock: Callable[[], float]) -> float:
        """Run it and return the seconds that took.

        Raises:
            QallowError: It failed.
        """
        columns = {name: np.tile(column, self.copies) for name, column in self.columns.items()}
        began_s = clock()
        run_task(self.kernel, self.backend, self.scalars, columns, self.arrays)
        return max(clock() - began_s, 1e-9)


def task_of(kernel: Kernel, backend: str, scalars: Values, copies: int = 1) -> Task:
    """Return a kernel's known-answer task with some scalars in place of its own."""
    spec, canary = kernel.spec, kernel.canary

    def cast(inputs: Mapping[str, Any]) -> dict[str, Array]:
        return {
            name: np.asarray(values, spec.parameter(name).dtype) for name, values in inputs.items()
        }

    return Task(
        kernel, backend, {**canary.scalars, **scalars}, cast(canary.columns), cast(canary.arrays),
        copies if canary.columns else 1,
    )  # fmt: skip


def difference(kernel: Kernel, backend: str) -> Difference:
    """Compare a backend with the reference at points between those of the known answers.

    Raises:
        QallowError: One of the two did not run.
    """
    if "reference" not in kernel.backends:
        return Difference(None)
    task = task_of(kernel, backend, {})
    columns = {
        name: np.linspace(column.min(), column.max(), PROBES).astype(column.dtype)
        for name, column in task.columns.items()
    }
    wanted, found = (
        run_task(kernel, which, task.scalars, columns, task.arrays)
        for which in ("reference", backend)
    )
    greatest, why = 0.0, ""
    for output in kernel.spec.outputs:
        got, right = found[output.name], wanted[output.name]
        error, allowed = _distance(got, right), 0.0
        if backend not in BIT_EQUAL:
            finite = np.abs(right[np.isfinite(right)].astype(np.float64))
            allowed = output.atol + output.rtol * float(finite.max(initial=0.0))
        greatest = max(greatest, error)
        if error > allowed and not why:
            why = f"{output.name} is {error:.3g} off the reference, {allowed:.3g} is allowed"
    return Difference(greatest, why)


def speed(
    kernel: Kernel, backend: str, seconds: float, clock: Callable[[], float], meter: Meter
) -> Speed:
    """Run a task of the kernel again and again; the fastest run counts: others can only slow it.

    Args:
        kernel: What to run, with its benchmark's scalars and as many points as make it long enough.
        backend: Which of its backends.
        seconds: How long to go on, at least.
        clock: Monotonic seconds, injected.
        meter: Of the device.

    Raises:
        QallowError: The kernel did not run.
    """
    task = task_of(kernel, backend, kernel.bench, kernel.canary.copies)
    task.run(clock)  # pays for imports, compilation and page faults
    best_s = task.run(clock)
    while best_s < TASK_S and task.columns and 2 * task.memory_bytes <= TASK_BYTES:
        task = task_of(kernel, backend, kernel.bench, 2 * task.copies)
        best_s = task.run(clock)
    before, began_s, runs = meter.read(clock()), clock(), 0
    while not runs or clock() - began_s < seconds:
        best_s, runs = min(best_s, task.run(clock)), runs + 1
    energy = _spent(before, meter.read(clock()), clock() - began_s)
    cost = kernel.spec.cost(task.values)
    ops = cost.ops * task.points
    spent = None if energy.value is None or not ops else energy.value / (ops * runs)
    return Speed(
        points=task.points, seconds=best_s, ops_per_s=ops / best_s,
        steps_per_s=cost.steps * task.points / best_s, energy=energy, joules_per_op=spent,
    )  # fmt: skip


def bound(kernel: Kernel, backend: str, limits: Limits) -> float | None:
    """Return the operations per second that no code can exceed here; None if not declared."""
    module = importlib.import_module(kernel.backends[backend].partition(":")[0])
    declared: Callable[[Limits, Mapping[str, Scalar]], float] | None
    declared = getattr(module, "bound", None)
    values = task_of(kernel, backend, kernel.bench).values
    return None if declared is None else declared(limits, values)


def _distance(found: Array, wanted: Array) -> float:
    """Return the greatest difference; infinite where only one of two values is a number."""
    left, right = found.astype(np.float64), wanted.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        apart = np.abs(left - right)
    apart = np.where(np.isnan(apart), np.inf, apart)
    return float(np.where(same, 0.0, apart).max(initial=0.0))


def _spent(before: Reading, after: Reading, window_s: float) -> Reading:
    if before.value is None or after.value is None:
        return before if before.value is None else after
    if window_s < WINDOW_S:
        why = f"{window_s:.2g} s are too short for a counter of energy: {WINDOW_S:g} s or more"
        return unknown("joules", after.source, why)
    spent = max(0.0, after.value - before.value)
    return Reading(spent, "joules", after.source, after.provenance, after.why)
