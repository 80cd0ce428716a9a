import pytest

from qallow_agent.base.ids import NodeId
from qallow_agent.mesh.sync.pacing import (
    CycleMeter,
    admissible_cycle,
    coherence,
    harmonic_mean,
    mesh_tick,
    phase,
    stride,
)


def test_the_mean_of_equal_cycles_is_that_cycle() -> None:
    assert harmonic_mean([0.2] * 5) == pytest.approx(0.2)


def test_one_forged_cycle_among_four_is_trimmed() -> None:
    assert harmonic_mean([1e-6, 0.1, 0.1, 0.1]) == pytest.approx(0.1)


def test_the_mesh_tick_stays_within_its_bounds_and_does_not_wobble() -> None:
    assert mesh_tick(0.01, 0.1, 1.0) == 0.1
    assert mesh_tick(7.0, 0.1, 1.0) == 1.0
    assert mesh_tick(0.1234, 0.1, 1.0) == mesh_tick(0.1238, 0.1, 1.0) == pytest.approx(0.124)


def test_a_node_pulses_on_every_tick_until_it_is_slow() -> None:
    assert [stride(cycle_s, 0.1, 2.0) for cycle_s in (0.1, 0.2, 0.25, 0.91)] == [1, 1, 3, 10]


def test_a_cycle_that_is_no_number_is_not_taken() -> None:
    assert admissible_cycle(float("nan"), 0.1) is None
    assert admissible_cycle(1e-9, 0.1) == 0.1
    assert admissible_cycle(1e9, 0.1) == 60.0


def test_the_meter_reports_what_is_kept_nearly_always() -> None:
    meter = CycleMeter(0.1)
    assert meter.cycle_s == 0.1
    for late_s in [0.0] * 61 + [9.0] * 3:
        meter.ticked(late_s)
    assert meter.cycle_s == 0.1
    meter.ticked(9.0)
    assert meter.cycle_s == 9.0


def test_coherence_is_one_together_and_zero_well_spread() -> None:
    assert coherence([]) == 0.0
    assert coherence([0.3, 0.3, 0.3]) == pytest.approx(1.0)
    assert coherence([0.0, 0.25, 0.5, 0.75]) == pytest.approx(0.0, abs=1e-12)


def test_a_phase_depends_on_the_node_alone() -> None:
    assert phase(NodeId("a")) == phase(NodeId("a"))
    assert 0 <= phase(NodeId("b")) < 1
