"""One suite for every CPU backend of every built-in kernel: equal to the reference, to the bit."""

from itertools import count, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import qallow_agent.kernels.elasticity.cpu
import qallow_agent.kernels.harmonic.cpu  # noqa: F401 - compiles while tests are collected
from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.execution import run_canary, run_task
from qallow_agent.kernels.spec import Kernel

Results = dict[str, npt.NDArray[Any]]

KERNELS = (elasticity.KERNEL, harmonic.KERNEL)
BACKENDS = [(kernel, backend) for kernel in KERNELS for backend in ("cpu", "reference")]
COMPILED = [(kernel, "cpu") for kernel in KERNELS]
ALL = slice(None)
SWEEPS = {
    "elasticity": ("eps", np.linspace(-0.001, 0.012, 600, dtype=np.float32)),
    "harmonic": ("coupling", np.linspace(0, 0.02, 150, dtype=np.float32)),
}


def names(case: object) -> str:
    return case.spec.name if isinstance(case, Kernel) else str(case)


def same(left: Results, right: Results) -> bool:
    return all(
        left[name].dtype == right[name].dtype
        and np.array_equal(left[name], right[name], equal_nan=left[name].dtype.kind == "f")
        for name in left.keys() | right.keys()
    )


def sweep(kernel: Kernel, backend: str, points: slice = ALL, **scalars: int) -> Results:
    name, column = SWEEPS[kernel.spec.name]
    return run_task(kernel, backend, scalars, {name: column[points]}, {})


@pytest.mark.parametrize(("kernel", "backend"), BACKENDS, ids=names)
def test_every_backend_knows_the_answers(kernel: Kernel, backend: str) -> None:
    outcome = run_canary(kernel, backend, count().__next__)
    assert outcome.passed, outcome.why
    assert outcome.rate > 0


@pytest.mark.parametrize(("ticks", "record_every"), [(1, 0), (2, 1), (75, 7), (76, 1)])
@pytest.mark.parametrize(("kernel", "backend"), COMPILED, ids=names)
def test_a_batch_equals_the_reference(
    kernel: Kernel, backend: str, ticks: int, record_every: int
) -> None:
    asked = {"ticks": ticks, "record_every": record_every}
    assert same(sweep(kernel, backend, ALL, **asked), sweep(kernel, "reference", ALL, **asked))


@pytest.mark.parametrize("pockets", [2, 3, 4, 5, 7, 31, 32, 33, 127, 128, 129, 300, 1025])
def test_rings_of_every_size_equal_the_reference(pockets: int) -> None:
    few = slice(0, None, 13)
    asked = {"pockets": pockets, "ticks": 40, "record_every": 9}
    assert same(
        sweep(harmonic.KERNEL, "cpu", few, **asked),
        sweep(harmonic.KERNEL, "reference", few, **asked),
    )


@pytest.mark.parametrize("coupling", [0.0, 1e-3, 0.0083, 0.02])
@pytest.mark.parametrize(("pockets", "ticks"), [(300, 400), (2049, 200), (9000, 120)])
def test_many_ticks_in_one_pass_equal_the_reference(
    pockets: int, ticks: int, coupling: float
) -> None:
    asked = {"pockets": pockets, "ticks": ticks, "record_every": 7, "coupling": coupling}
    fast, slow = (run_task(harmonic.KERNEL, name, asked, {}, {}) for name in ("cpu", "reference"))
    assert same(fast, slow)


@pytest.mark.parametrize("pockets", [8, 130])
@pytest.mark.parametrize("record_every", [0, 1])
def test_convergence_is_noticed_at_the_same_tick(pockets: int, record_every: int) -> None:
    asked = {"pockets": pockets, "ticks": 3000, "record_every": record_every}
    few = {"coupling": np.array([1e-3, 5e-3, 8e-3], np.float32)}
    fast, slow = (run_task(harmonic.KERNEL, name, asked, few, {}) for name in ("cpu", "reference"))
    assert fast["converged_tick"].max() > 1
    assert same(fast, slow)


def test_a_ring_of_several_chunks_equals_the_reference() -> None:
    asked = {"pockets": 16 * 8192 + 77, "ticks": 3, "record_every": 1}
    one = slice(30, 31)
    assert same(
        sweep(harmonic.KERNEL, "cpu", one, **asked),
        sweep(harmonic.KERNEL, "reference", one, **asked),
    )


@pytest.mark.parametrize(("kernel", "backend"), BACKENDS, ids=names)
def test_a_batch_equals_its_single_runs(kernel: Kernel, backend: str) -> None:
    name, column = SWEEPS[kernel.spec.name]
    batch = sweep(kernel, backend, ticks=50, record_every=20)
    for point in (0, 1, 64, 77, len(column) - 1):
        asked = {"ticks": 50, "record_every": 20, name: float(column[point])}
        single = run_task(kernel, backend, asked, {}, {})
        assert same(single, {key: array[point] for key, array in batch.items()})


@pytest.mark.parametrize(("kernel", "backend"), COMPILED, ids=names)
def test_the_cut_of_a_sweep_into_tasks_does_not_change_results(
    kernel: Kernel, backend: str
) -> None:
    whole = sweep(kernel, backend, ticks=50)
    points = len(SWEEPS[kernel.spec.name][1])
    cuts = [0, 1, 3, 10, 17, 81, 145, points]
    parts = [sweep(kernel, backend, slice(a, b), ticks=50) for a, b in pairwise(cuts)]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in whole}
    assert same(whole, joined)


@pytest.mark.parametrize("kernel", KERNELS, ids=names)
def test_known_answers_are_those_of_the_reference(kernel: Kernel) -> None:
    columns = {name: np.array(column, "f4") for name, column in kernel.canary.columns.items()}
    results = run_task(kernel, "reference", kernel.canary.scalars, columns, {})
    for name, answers in kernel.canary.answers.items():
        assert tuple(results[name].ravel().tolist()) == answers
