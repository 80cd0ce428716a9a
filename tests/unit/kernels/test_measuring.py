from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.kernels import harmonic, measuring
from qallow_agent.kernels.bounds import Limits
from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter

RUNS: list[int] = []


def doubled(points: int, value: Any) -> dict[str, Any]:
    RUNS.append(points)
    return {"twice": value * 2}


def nearly_doubled(points: int, value: Any) -> dict[str, Any]:
    return {"twice": doubled(points, value)["twice"] + np.float32(0.25)}


def sometimes_doubled(points: int, value: Any) -> dict[str, Any]:
    return {"twice": np.where(value > 1, np.float32("nan"), doubled(points, value)["twice"])}


def kernel(backend: str, atol: float = 0.0, **backends: str) -> Kernel:
    spec = KernelSpec(
        name="double",
        version=1,
        doc="Doubles.",
        parameters=(Parameter("value", "f4"),),
        outputs=(Output("twice", "f4", atol=atol),),
        cost=lambda _values: Cost(ops=2.0, steps=1.0),
        step="number",
    )
    canary = Canary({}, {"value": (0.0, 2.0)}, {"twice": (0.0, 4.0)}, copies=3)
    found = {"reference": f"{__name__}:doubled", **backends} | {"cuda": f"{__name__}:{backend}"}
    return Kernel(spec, found, canary, __name__)


class Counter:
    def __init__(self, *joules: float) -> None:
        self._joules = iter(joules)

    def read(self, now_s: float) -> Reading:
        del now_s
        return Reading(next(self._joules), "joules", "test")


class Nothing:
    def read(self, now_s: float) -> Reading:
        return unknown("joules", "test", f"nobody counts at {now_s >= 0}")


def ticking(step_s: float) -> Any:
    return (number * step_s for number in count()).__next__


def test_an_equal_backend_is_no_way_off_the_reference() -> None:
    assert measuring.difference(kernel("doubled"), "cuda") == measuring.Difference(0.0)
    assert measuring.difference(harmonic.KERNEL, "cpu") == measuring.Difference(0.0)


def test_a_backend_beyond_its_tolerance_is_told_with_the_output() -> None:
    found = measuring.difference(kernel("nearly_doubled"), "cuda")
    assert found.error == 0.25
    assert found.why == "twice is 0.25 off the reference, 0 is allowed"
    assert measuring.difference(kernel("nearly_doubled", atol=0.3), "cuda").why == ""


def test_no_tolerance_is_granted_to_a_backend_that_must_be_equal() -> None:
    loose = kernel("doubled", atol=9.0, cpu=f"{__name__}:nearly_doubled")
    assert "0 is allowed" in measuring.difference(loose, "cpu").why


def test_what_is_no_number_in_one_of_them_only_is_infinitely_wrong() -> None:
    found = measuring.difference(kernel("sometimes_doubled", atol=9.0), "cuda")
    assert found.error == float("inf")


def test_without_a_reference_nothing_is_compared() -> None:
    alone = replace(kernel("doubled"), backends={"cuda": f"{__name__}:doubled"})
    assert measuring.difference(alone, "cuda") == measuring.Difference(None)


def test_a_task_grows_until_it_is_long_enough_or_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "TASK_BYTES", 1 << 20)
    RUNS.clear()
    speed = measuring.speed(kernel("doubled"), "cuda", 4.0, ticking(0.125), Counter(1.0, 13.0))
    # Every look at the clock takes 0.125 s here, whatever is run: the task grows to its limit.
    assert RUNS[:5] == [6, 6, 12, 24, 48]
    assert speed.points == RUNS[-1] > 1 << 15
    assert speed.ops_per_s == pytest.approx(2 * speed.points / 0.125)
    assert speed.steps_per_s == pytest.approx(speed.points / 0.125)
    repeated = sum(points == speed.points for points in RUNS) - 1
    assert speed.energy == Reading(12.0, "joules", "test")
    assert speed.joules_per_op == pytest.approx(12.0 / (2 * speed.points * repeated))


def test_a_task_that_is_long_enough_does_not_grow() -> None:
    RUNS.clear()
    speed = measuring.speed(kernel("doubled"), "cuda", 0.0, ticking(0.5), Nothing())
    assert set(RUNS) == {6}
    assert (speed.energy.provenance, speed.joules_per_op) == ("unknown", None)
    assert speed.energy.why == "nobody counts at True"


def test_a_window_too_short_for_a_counter_measures_no_joules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, "TASK_S", 0.0)
    speed = measuring.speed(kernel("doubled"), "cuda", 0.0, ticking(0.1), Counter(0.0, 1.0))
    assert speed.joules_per_op is None
    assert "too short" in speed.energy.why


def test_the_bound_is_the_one_that_the_backend_declares() -> None:
    limits = Limits(1, 10.0, 20.0, 40.0, 5.0, 1.0)
    assert measuring.bound(harmonic.KERNEL, "cpu", limits) > 0
    assert measuring.bound(harmonic.KERNEL, "reference", limits) is None
