from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest

import qallow_agent.kernels.elasticity.cpu
import qallow_agent.kernels.harmonic.cpu  # noqa: F401 - compiles while tests are collected
from qallow_agent.base.errors import BadParameter, DeviceMemory, KernelFailed
from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.execution import run_canary, run_task
from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter

CONTRADICTIONS: tuple[object, ...] = (
    None,
    {"y": np.zeros(1)},
    {"y": np.zeros(1, np.float32), "n": np.zeros((1, 2), np.int64)},
    {"y": 5.0, "n": np.zeros((1, 2), np.int64)},
    {"y": np.zeros(2), "n": np.zeros((1, 2), np.int64)},
    {"y": np.zeros(3)[::3], "n": np.zeros((2, 1), np.int64).T},
)


def answer(*, points: int, x: Any, v: Any, mode: int) -> object:
    if mode == 1:
        raise ZeroDivisionError("no luck")
    if mode == 2:
        raise MemoryError
    if mode == 3 and (x > 100).any():
        raise ValueError("too much")
    if mode >= 10:
        return CONTRADICTIONS[mode - 10]
    return {"y": x * v.sum(), "n": np.full((points, 2), v.size, np.int64)}


ODD = Kernel(
    spec=KernelSpec(
        name="odd",
        version=1,
        doc="Misbehaves on demand.",
        parameters=(
            Parameter("x", "f8", 1.0),
            Parameter("v", "f8", shape=("n",)),
            Parameter("mode", "i8", 0, sweepable=False),
        ),
        outputs=(Output("y", "f8"), Output("n", "i8", (2,))),
        cost=lambda _values: Cost(ops=1.0),
    ),
    backends={"reference": f"{__name__}:answer"},
    canary=Canary(scalars={}, columns={}, answers={}),
    module=__name__,
)
V = np.array([1.0, 2.0])


def test_a_single_run_has_no_axis_of_points() -> None:
    results = run_task(ODD, "reference", {"x": 3.0}, {}, {"v": V})
    assert results["y"].shape == ()
    assert results["y"] == 9.0
    assert results["n"].tolist() == [2, 2]


def test_columns_add_an_axis_of_points() -> None:
    results = run_task(ODD, "reference", {}, {"x": np.array([1.0, 2.0, 3.0])}, {"v": V})
    assert results["y"].tolist() == [3.0, 6.0, 9.0]
    assert results["n"].shape == (3, 2)


def test_float_widths_convert_and_inputs_stay_untouched() -> None:
    column = np.array([1, 2], dtype=np.float32)
    results = run_task(ODD, "reference", {}, {"x": column}, {"v": V.astype(np.float32)})
    assert results["y"].tolist() == [3.0, 6.0]
    assert column.dtype == np.float32


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"x": np.zeros((2, 2))}, "do not agree"),
        ({"x": np.zeros(0)}, "do not agree"),
        ({"x": np.array(["a"])}, "dtype"),
        ({"x": np.array([1j])}, "dtype"),
        ({"x": np.array([np.nan, 1.0])}, "not finite"),
        ({"w": np.zeros(2)}, "no parameter 'w'"),
        ({"mode": np.zeros(2, np.int64)}, "cannot sweep"),
    ],
)
def test_a_bad_column_is_refused(columns: dict[str, Any], told: str) -> None:
    with pytest.raises(BadParameter, match=told):
        run_task(ODD, "reference", {}, columns, {"v": V})


def test_columns_of_two_lengths_are_refused() -> None:
    with pytest.raises(BadParameter, match="do not agree"):
        run_task(ODD, "reference", {}, {"x": np.zeros(2), "y": np.zeros(3)}, {"v": V})


def test_an_array_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(BadParameter, match="complex128"):
        run_task(ODD, "reference", {}, {}, {"v": V.astype(complex)})


def test_a_kernel_that_raises_fails_its_task_with_the_cause() -> None:
    with pytest.raises(KernelFailed, match="ZeroDivisionError: no luck") as caught:
        run_task(ODD, "reference", {"mode": 1}, {}, {"v": V})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_kernel_out_of_memory_blames_the_device() -> None:
    with pytest.raises(DeviceMemory):
        run_task(ODD, "reference", {"mode": 2}, {}, {"v": V})


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (10, "exactly its declared outputs"),
        (11, "exactly its declared outputs"),
        (12, "declared f8"),
        (13, "as float"),
        (14, "with shape"),
    ],
)
def test_outputs_that_contradict_the_spec_fail_the_task(mode: int, told: str) -> None:
    with pytest.raises(KernelFailed, match=told):
        run_task(ODD, "reference", {"mode": mode}, {}, {"v": V})


def test_outputs_come_back_contiguous() -> None:
    results = run_task(ODD, "reference", {"mode": 15}, {}, {"v": V})
    assert all(array.flags.c_contiguous for array in results.values())


@pytest.mark.parametrize("kernel", [elasticity.KERNEL, harmonic.KERNEL])
def test_a_wrong_answer_fails_the_canary(kernel: Kernel) -> None:
    name, known = next(iter(kernel.canary.answers.items()))
    wrong = replace(
        kernel, canary=replace(kernel.canary, answers={name: (*known[:-1], known[-1] + 1e-6)})
    )
    outcome = run_canary(wrong, "cpu", count().__next__)
    assert not outcome.passed
    assert name in outcome.why


def test_a_canary_that_raises_has_failed() -> None:
    outcome = run_canary(ODD, "reference", count().__next__)
    assert not outcome.passed
    assert "'v' is missing" in outcome.why


def test_a_canary_may_hold_arrays() -> None:
    known = Canary(scalars={"x": 3.0}, columns={}, answers={"y": (9.0,)}, arrays={"v": (1.0, 2.0)})
    assert run_canary(replace(ODD, canary=known), "reference", count().__next__).passed
    wrong = replace(known, arrays={"v": (1.0, 3.0)})
    assert not run_canary(replace(ODD, canary=wrong), "reference", count().__next__).passed


def test_the_rate_of_a_canary_is_its_declared_work_over_its_time() -> None:
    kernel = elasticity.KERNEL
    outcome = run_canary(kernel, "cpu", count(step=2).__next__)
    points = 3 * kernel.canary.copies
    assert outcome.passed
    assert outcome.seconds == 2.0
    assert outcome.rate == points * 300 * elasticity.OPS_PER_TICK / 2.0


def scalar_answer(*, points: int, x: Any, mode: int) -> object:
    return answer(points=points, x=x, v=V, mode=mode)


def fixed_answer(*, points: int, mode: int) -> object:
    return answer(points=points, x=np.ones(points), v=V, mode=mode)


def test_a_truth_value_is_no_number_even_after_an_equal_number_was_fine() -> None:
    kernel = elasticity.KERNEL
    run_task(kernel, "reference", {"ticks": 1}, {}, {})
    with pytest.raises(BadParameter):
        run_task(kernel, "reference", {"ticks": True}, {}, {})
    with pytest.raises(BadParameter):
        run_task(kernel, "reference", {"ticks": [1]}, {}, {})
