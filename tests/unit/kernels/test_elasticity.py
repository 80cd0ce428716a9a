from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import qallow_agent.kernels.elasticity.cpu  # noqa: F401 - compiles while tests are collected
from qallow_agent.kernels import elasticity
from qallow_agent.kernels.elasticity.reference import run as reference
from qallow_agent.kernels.execution import run_task

Results = dict[str, npt.NDArray[Any]]


def simulate(eps: float, ticks: int, record_every: int = 0, backend: str = "cpu") -> Results:
    values = {"eps": eps, "ticks": ticks, "record_every": record_every}
    return run_task(elasticity.KERNEL, backend, values, {}, {})


def test_a_stretch_above_the_top_counts_as_the_top() -> None:
    low, high = simulate(0.01, 900, 100), simulate(0.5, 900, 100)
    assert all(low[name].tobytes() == high[name].tobytes() for name in low)


def test_a_negative_stretch_counts_as_none() -> None:
    none, negative = simulate(0.0, 900, 100), simulate(-3.0, 900, 100)
    assert all(none[name].tobytes() == negative[name].tobytes() for name in none)


@pytest.mark.parametrize("eps", [0.0, 1e-4, 0.01])
def test_entropy_reaches_exactly_zero_at_tick_700_to_702(eps: float) -> None:
    entropy = simulate(eps, 710, 1)["entropy"]
    assert 700 <= int(np.argmax(entropy == 0)) + 1 <= 702
    assert not entropy[702:].any()


@pytest.mark.parametrize("eps", [0.01, 0.002])
def test_decoherence_tends_to_its_fixed_point(eps: float) -> None:
    assert simulate(eps, 60_000)["decoherence"][0] == pytest.approx(2e-4 * eps, rel=1e-3)


def test_without_stretch_decoherence_becomes_subnormal_and_sticks() -> None:
    smallest_normal = np.finfo(np.float32).tiny
    decoherence = simulate(0.0, 152_000, 1)["decoherence"]
    assert int(np.argmax(decoherence < smallest_normal)) + 1 == pytest.approx(151_500, abs=150)
    end = simulate(0.0, 400_000)["decoherence"]
    assert end[0] == np.float32(999 * 2.0**-149)


def test_a_small_stretch_is_absorbed_while_entropy_is_large() -> None:
    none, small = simulate(0.0, 400, 1)["entropy"], simulate(1.3e-4, 400, 1)["entropy"]
    large = none > 4.89e-4
    assert large.sum() > 200
    assert (none[large] == small[large]).all()
    assert (none[-1:] != small[-1:]).all()


def test_scores_are_widened_before_they_are_added() -> None:
    results = simulate(0.003, 100)
    c, e, d = results["coherence"], results["entropy"], results["decoherence"]
    one = np.float32(1)
    assert results["S"].dtype == np.float64
    assert results["E"] == (np.float64(c) + np.float64(one - e)) + np.float64(one - d)


def test_the_last_tick_is_always_recorded() -> None:
    assert simulate(0.0, 10)["tick"].tolist() == [10]
    assert simulate(0.0, 10, 4)["tick"].tolist() == [4, 8, 10]
    assert simulate(0.0, 10, 5)["tick"].tolist() == [5, 10]
    assert simulate(0.0, 10, 99)["tick"].tolist() == [10]


def test_records_lie_on_the_full_trajectory() -> None:
    full, thin = simulate(0.004, 100, 1), simulate(0.004, 100, 7)
    at = thin["tick"] - 1
    assert all((full[name][at] == thin[name]).all() for name in full)


def test_the_clamps_left_out_never_bind() -> None:
    eps = np.array([0.0, 1e-5, 0.01], np.float32)
    results = reference(points=3, ticks=3000, eps=eps, record_every=1)
    assert (results["entropy"] < 1e-3).all()
    assert (results["decoherence"] < 1e-3).all()
    assert (results["decoherence"] > 0).all()
