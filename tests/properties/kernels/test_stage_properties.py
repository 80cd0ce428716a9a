"""Wherever a run is cut, continued elsewhere or copied through a blob, its outputs are the same."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.backends import Stage, load_stage
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.spec import Kernel

CASES = [
    (kernel, backend)
    for kernel in (elasticity.KERNEL, harmonic.KERNEL)
    for backend in ("reference", "cpu")
]
SWEPT = {"elasticity": "eps", "harmonic": "coupling"}


def names(case: object) -> str:
    return case.spec.name if isinstance(case, Kernel) else str(case)


def stage_of(kernel: Kernel, backend: str) -> Stage:
    stage = load_stage(kernel, backend)
    assert stage is not None
    return stage


@st.composite
def runs(draw: st.DrawFn, kernel: Kernel) -> tuple[dict[str, Any], list[int]]:
    ticks = draw(st.integers(1, 90))
    given: dict[str, Any] = {"ticks": ticks, "record_every": draw(st.integers(0, 40))}
    given[SWEPT[kernel.spec.name]] = draw(st.sampled_from([0.0, 1e-4, 1e-3, 0.0083, 0.02]))
    if kernel is harmonic.KERNEL:
        given["pockets"] = draw(st.sampled_from([2, 3, 8, 17, 32, 33, 128, 300, 2049]))
    cuts = draw(st.lists(st.integers(1, ticks), max_size=5))
    return given, sorted({*cuts, ticks})


def in_stages(kernel: Kernel, backends: list[str], asked: dict[str, Any], cuts: list[int]) -> Any:
    """Run with a cut at each tick; stages of one backend, whose state passes through bytes."""
    stage = stage_of(kernel, backends[0])

    def cut(**given_: Any) -> Any:
        state = stage.begin(**given_)
        since = 0
        for until in cuts:
            state = {
                key: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape).copy()
                for key, array in state.items()
            }
            stage.advance(state, since, until, **given_)
            since = until
        return stage.outputs(state, **given_)

    return run_task(kernel, cut, asked, {}, {})


@pytest.mark.parametrize(("kernel", "backend"), CASES, ids=names)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_run_cut_anywhere_equals_the_run_in_one_go(
    kernel: Kernel, backend: str, data: st.DataObject
) -> None:
    asked, cuts = data.draw(runs(kernel))
    whole = run_task(kernel, "reference", asked, {}, {})
    found = in_stages(kernel, [backend], asked, cuts)
    assert found.keys() == whole.keys()
    for name, array in whole.items():
        assert found[name].tobytes() == array.tobytes(), name
        assert found[name].dtype == array.dtype
