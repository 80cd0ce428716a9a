"""Results depend on the parameters alone: not on threads, on the cut of a sweep, or on the run."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qallow_agent.kernels.elasticity.cpu
import qallow_agent.kernels.harmonic.cpu  # noqa: F401 - compiles while tests are collected
from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.spec import Kernel
from qallow_agent.kernels.threads import CREW

Results = dict[str, npt.NDArray[Any]]


@pytest.fixture(autouse=True)
def _one_thread_again() -> Iterator[None]:
    yield
    CREW.resize(1)


def run(kernel: Kernel, threads: int, column: npt.NDArray[np.float32], **scalars: int) -> Results:
    CREW.resize(threads)
    name = "eps" if kernel is elasticity.KERNEL else "coupling"
    return run_task(kernel, "cpu", scalars, {name: column}, {})


def same(left: Results, right: Results) -> bool:
    return all(left[name].tobytes() == right[name].tobytes() for name in left)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(
        [(elasticity.KERNEL, {}), *((harmonic.KERNEL, {"pockets": n}) for n in (2, 9))]
    ),
    st.integers(1, 700),
    st.lists(st.integers(1, 699), max_size=4),
    st.integers(1, 4),
    st.integers(0, 31),
)
def test_neither_threads_nor_cuts_change_a_sweep(
    case: tuple[Kernel, dict[str, int]], points: int, cuts: list[int], threads: int, every: int
) -> None:
    kernel, fixed = case
    asked = {**fixed, "ticks": 30, "record_every": every}
    column = np.linspace(0, 0.02, points, dtype=np.float32)
    whole = run(kernel, 1, column, **asked)
    edges = sorted({0, points, *(cut for cut in cuts if cut < points)})
    parts = [run(kernel, threads, column[a:b], **asked) for a, b in pairwise(edges)]
    assert same(whole, {key: np.concatenate([part[key] for part in parts]) for key in whole})


@pytest.mark.parametrize("pockets", [100, 70_000])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_large_rings(pockets: int, threads: int) -> None:
    asked = {"pockets": pockets, "ticks": 60, "record_every": 25}
    column = np.array([0.0, 1e-3, 0.02], np.float32)
    alone = run(harmonic.KERNEL, 1, column, **asked)
    assert same(alone, run(harmonic.KERNEL, threads, column, **asked))


@pytest.mark.parametrize("pockets", [8, 500])
def test_a_replay_is_identical_to_the_last_bit(pockets: int) -> None:
    asked = {"pockets": pockets, "ticks": 200, "record_every": 1}
    column = np.linspace(0, 0.02, 20, dtype=np.float32)
    assert same(*(run(harmonic.KERNEL, 2, column, **asked) for _ in range(2)))
