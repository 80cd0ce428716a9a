"""Budgets of energy: refused when nobody can keep to them, and kept to by placement."""

import random
from typing import Any

import pytest

from qallow_agent.placement.budget import objection
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.router import choose
from qallow_agent.placement.settings import PlacementSettings

HASH = "a" * 64
SETTINGS = PlacementSettings()


def device(node: str, joules_per_op: float | None = 1e-6, **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "node": node, "node_name": node, "device": "cpu0", "kind": "cpu", "state": "ok",
        "slots": 4, "busy": 0, "memory_bytes": 8 << 30, "kernels": {"harmonic": HASH},
        "rate": 1e9, "metered": True, "joules_per_op": joules_per_op,
    }  # fmt: skip
    return Candidate(**{**fields, **changes})


def order(max_joules: float, **changes: Any) -> Request:
    """A thousand points of a million ops: at a microjoule an op that takes a kilojoule."""
    fields: dict[str, Any] = {
        "kernel": "harmonic", "kernel_hash": HASH, "slots": 1, "points": 1000, "ops": 1e6,
        "max_joules": max_joules,
    }  # fmt: skip
    return Request(**fields | changes)


def test_a_job_without_a_budget_meets_no_objection() -> None:
    assert objection(order(0.0), [device("a", None, metered=False)], SETTINGS) is None


def test_a_budget_that_nobody_can_check_is_refused() -> None:
    against = objection(order(100.0), [device("a", None, metered=False)], SETTINGS)
    assert against is not None
    assert "no device of the mesh measures energy" in against.why
    assert "100 J" in against.why
    assert "leave out max_joules" in against.fix


def test_a_meter_that_cannot_serve_the_job_does_not_count() -> None:
    blind = device("a", None, metered=False)
    elsewhere = device("b", kernels={})
    against = objection(order(100.0), [blind, elsewhere], SETTINGS)
    assert against is not None
    assert "measures energy" in against.why


def test_a_budget_below_every_estimate_is_refused_with_estimate_device_and_fix() -> None:
    against = objection(order(500.0), [device("dear", 3e-6), device("cheap")], SETTINGS)
    assert against is not None
    assert against.why == (
        "harmonic at 1,000 points is estimated to take 1 kJ on cheap/cpu0, which takes the "
        "least; 500 J are allowed"
    )
    assert against.fix == "raise max_joules to 1.1e+03, or do at most 500 points"


@pytest.mark.parametrize(
    "devices",
    [
        [device("dear", 3e-6), device("cheap", 4e-7)],
        [device("dear", 3e-6), device("new", None)],
        [device("unmetered", None, metered=False), device("new", None)],
        [],
    ],
    ids=["one can", "one has not been tried", "one measures", "nobody there yet"],
)
def test_a_budget_that_somebody_might_keep_to_is_accepted(devices: list[Candidate]) -> None:
    assert objection(order(500.0), devices, SETTINGS) is None


def test_one_evaluation_names_no_number_of_points() -> None:
    against = objection(order(1.0, points=0, ops=1e9), [device("a")], SETTINGS)
    assert against is not None
    assert "points" not in against.why + against.fix


def test_placement_leaves_out_who_measures_nothing_or_takes_too_much() -> None:
    given = [device("blind", None, metered=False), device("dear", 3e-6), device("cheap", 4e-7)]
    decision = choose(order(500.0, slots=12), given, SETTINGS, random.Random(1))
    assert [each.node for each in decision.choices] == ["cheap"]
    whys = {each.label: each.why for each in decision.explanation}
    assert "measures no energy" in whys["blind/cpu0"]
    assert "3 kJ for the whole job, 500 J are allowed" in whys["dear/cpu0"]


def test_a_job_whose_metered_devices_left_waits_for_them() -> None:
    given = [device("blind", None, metered=False)]
    decision = choose(order(500.0), given, SETTINGS, random.Random(1))
    assert decision.choices == ()
    assert not decision.never
