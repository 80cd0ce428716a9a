"""Many tiny tasks in one call: single runs that may go in lockstep are run as one batch.

A call of a kernel costs tens of microseconds in Python, however small its work. A parcel of a
hundred single runs that differ only in sweepable parameters therefore becomes one batch, whose
results are bit-equal to the single runs'.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from qallow_agent.base.errors import QallowError
from qallow_agent.kernels.execution import Array, run_task
from qallow_agent.kernels.spec import Kernel
from qallow_agent.kernels.values import Scalar

Outcome = dict[str, Array] | QallowError
"""What became of one task: its outputs, or why there are none."""


def run_singles(
    kernel: Kernel, backend: str, tasks: Sequence[Mapping[str, object]]
) -> list[Outcome]:
    """Return the outcome of each task, in order.

    Args:
        kernel: What to run; one without array parameters.
        backend: Which of its backends.
        tasks: Scalar parameters of each task.

    Returns:
        For each task its outputs or its own error. Outputs of one batch share memory. A batch that
        fails is run again one by one, so that only the guilty task fails.
    """
    outcomes: list[Outcome | None] = [None] * len(tasks)
    batches: dict[tuple[Scalar, ...], list[tuple[int, dict[str, Scalar]]]] = {}
    common = [parameter.name for parameter in kernel.spec.parameters if not parameter.sweepable]
    for number, task in enumerate(tasks):
        try:
            values = kernel.spec.validate(task)
        except QallowError as error:
            outcomes[number] = error
        else:
            batches.setdefault(tuple(values[name] for name in common), []).append((number, values))
    for key, members in batches.items():
        shared = dict(zip(common, key, strict=True))
        results = _run_batch(kernel, backend, shared, [values for _, values in members])
        for (number, _), outcome in zip(members, results, strict=True):
            outcomes[number] = outcome
    return [outcome for outcome in outcomes if outcome is not None]


def _run_batch(
    kernel: Kernel, backend: str, shared: Mapping[str, Scalar], rows: list[dict[str, Scalar]]
) -> list[Outcome]:
    columns = {
        parameter.name: np.array([row[parameter.name] for row in rows], dtype=parameter.dtype)
        for parameter in kernel.spec.parameters
        if parameter.sweepable and not parameter.shape
    }
    try:
        results = run_task(kernel, backend, shared, columns, {})
    except QallowError as error:
        if len(rows) == 1:
            return [error]
        return [one for row in rows for one in _run_batch(kernel, backend, shared, [row])]
    if not columns:
        return [results] * len(rows)
    return [{name: array[at] for name, array in results.items()} for at in range(len(rows))]
