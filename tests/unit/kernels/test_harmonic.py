from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import qallow_agent.kernels.harmonic.cpu  # noqa: F401 - compiles while tests are collected
from qallow_agent.kernels import harmonic
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.harmonic.reference import total
from qallow_agent.kernels.harmonic.stability import stable_coupling

Results = dict[str, npt.NDArray[Any]]


def simulate(pockets: int, coupling: float, ticks: int, record_every: int = 0) -> Results:
    values = {
        "pockets": pockets,
        "coupling": coupling,
        "ticks": ticks,
        "record_every": record_every,
    }
    return run_task(harmonic.KERNEL, "cpu", values, {}, {})


def test_the_stable_range_is_the_published_one() -> None:
    assert stable_coupling(2) == stable_coupling(32) == pytest.approx(0.00832813, rel=1e-5)
    assert stable_coupling(3) == pytest.approx(0.0111019, rel=1e-5)
    assert stable_coupling(1_000_001) == pytest.approx(stable_coupling(2), rel=1e-6)


@pytest.mark.parametrize("pockets", [2, 3, 5, 8, 32])
def test_phases_settle_inside_the_stable_range_and_grow_outside(pockets: int) -> None:
    bound = stable_coupling(pockets)
    inside = simulate(pockets, bound * 0.97, 3000)
    outside = simulate(pockets, bound * 1.03, 3000)
    assert inside["stable"]
    assert inside["phase_energy"][0] < 1e-3
    assert not outside["stable"]
    assert not outside["phase_energy"][0] < 1e3


def test_the_shortest_mode_shrinks_by_its_factor_each_tick() -> None:
    k, ticks = 0.002, 10
    energy = simulate(2, k, ticks, 1)["phase_energy"].astype(np.float64)
    mean = 0.1 * (1 - 0.15 * k) ** np.arange(1, ticks + 1)
    half = 0.1 * (1 - 0.15 * k - 240 * k) ** np.arange(1, ticks + 1)
    before = mean / (1 - 0.15 * k)
    expected = 0.5 * ((mean + half - before) ** 2 + (mean - half - before) ** 2)
    assert energy == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("pockets", [2, 8, 32])
def test_at_a_coupling_of_002_energy_overflows_and_all_becomes_nan(pockets: int) -> None:
    results = simulate(pockets, 0.02, 80, 1)
    energy = results["phase_energy"]
    assert int(np.argmax(np.isinf(energy))) + 1 in (35, 36)
    everything = np.isnan(results["avg_coherence"]) & np.isnan(results["phase_drift"])
    everything &= np.isnan(energy) & np.isnan(results["E"])
    assert 70 <= int(np.argmax(everything)) + 1 <= 72
    assert everything[72:].all()


def test_drift_tends_to_the_decay_of_the_mean_and_never_to_zero() -> None:
    k, ticks = 0.005, 3000
    drift = simulate(8, k, ticks)["phase_drift"][0]
    mean = 0.175 * (1 - 0.15 * k) ** ticks
    assert drift == pytest.approx(0.15 * k * mean, rel=1e-2)


def test_convergence_is_the_first_tick_below_the_threshold() -> None:
    results = simulate(8, 0.004, 400, 1)
    average, drift = results["avg_coherence"], results["phase_drift"]
    change = np.abs(np.diff(average, prepend=np.float32(0)))
    first = int(np.argmax((change < 1e-3) & (drift < 1e-3))) + 1
    assert results["converged_tick"] == first > 1
    shed = float(drift[0]) - float(drift[first - 1])
    assert results["convergence_rate"] == pytest.approx(shed / (float(drift[0]) * (first - 1)))


def test_a_run_that_never_settles_converges_at_tick_zero() -> None:
    assert simulate(8, 0.0, 400)["converged_tick"] == 0
    assert simulate(8, 0.0, 1)["convergence_rate"] == 0.0


def test_an_unstable_coupling_is_a_warning_with_the_bound() -> None:
    spec = harmonic.SPEC
    values = spec.validate({"coupling": 0.02})
    (warning,) = spec.warnings(values)
    assert "0.00832813" in warning
    assert spec.warnings(spec.validate({"coupling": 0.005})) == ()
    assert spec.warnings(spec.validate({}), {"coupling": (0.0, 0.009)}) != ()
    assert spec.warnings(values, {"coupling": (0.0, 0.008)}) == ()


def test_scores_are_clamped() -> None:
    results = simulate(8, 0.001, 400, 10)
    for name in ("S", "C", "H"):
        assert ((results[name] >= 0) & (results[name] <= 1)).all()
    assert (results["E"] == (results["S"] + results["C"]) + results["H"]).all()


def test_wide_sums_follow_the_documented_order() -> None:
    rng = np.random.default_rng(5)
    terms = rng.standard_normal((70_000, 1)).astype(np.float32)
    expected = np.float64(0)
    for start in range(0, 70_000, 8_192):
        lanes = [0.0] * 128
        for i, term in enumerate(terms[start : start + 8_192, 0].tolist()):
            lanes[i % 128] += term
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [lanes[i] + lanes[half + i] for i in range(half)]
        expected += lanes[0]
    assert total(terms)[0] == expected


def test_a_ring_of_a_million_pockets_runs() -> None:
    results = simulate(1_000_000, 0.001, 2)
    assert results["avg_coherence"][0] == pytest.approx(0.8019, abs=1e-3)
    assert results["phase_drift"][0] == pytest.approx(0.1, rel=1e-3)
