"""Accounts: who used which part of a window."""

import pytest

from qallow_agent.base.joules import Joules, total, unknown_joules
from qallow_agent.energy.account import NO_IDLE, SHARED, Baseline, split

IDLE = Baseline(mean_w=10.0, least_w=8.0, most_w=13.0)


def test_a_lone_job_gets_what_is_drawn_beyond_idling_and_its_slot_of_that() -> None:
    parts = split(50.0, 1.0, {"a": 1.0}, slots=4, baseline=IDLE)
    share = parts.shares["a"]
    assert (share.net_j, share.gross_j, parts.idle_j) == (40.0, 42.5, 7.5)
    assert (share.low_j, share.high_j) == (37.0, 44.5)
    assert (share.provenance, share.why) == ("measured", "")


def test_jobs_share_by_busy_seconds_within_the_bounds_of_what_a_meter_can_tell() -> None:
    parts = split(50.0, 1.0, {"a": 0.9, "b": 0.3}, slots=2, baseline=IDLE)
    a, b = parts.shares["a"], parts.shares["b"]
    assert (a.net_j, b.net_j) == pytest.approx((30.0, 10.0))
    assert (a.gross_j, b.gross_j) == pytest.approx((34.5, 11.5))
    assert parts.idle_j == pytest.approx(4.0)
    assert (a.low_j, b.low_j) == (0.0, 0.0)
    assert b.high_j >= 40.0
    assert (a.provenance, a.why) == ("estimated", SHARED)


def test_without_a_known_idle_power_the_bounds_are_wide_and_the_reason_is_given() -> None:
    share = split(50.0, 1.0, {"a": 0.2}, slots=2, baseline=None).shares["a"]
    assert (share.low_j, share.net_j, share.high_j) == (0.0, 50.0, 50.0)
    assert (share.provenance, share.why) == ("estimated", NO_IDLE)


def test_what_nobody_used_is_idle() -> None:
    assert split(50.0, 1.0, {}, slots=2, baseline=IDLE).idle_j == 50.0


def test_a_window_below_the_idle_power_leaves_no_net_energy() -> None:
    parts = split(6.0, 1.0, {"a": 1.0}, slots=1, baseline=IDLE)
    assert parts.shares["a"].net_j == 0.0
    assert parts.shares["a"].gross_j == 6.0
    assert parts.idle_j == 0.0


def test_idle_power_falls_fast_and_rises_slowly() -> None:
    baseline = Baseline(30.0, 30.0, 30.0)
    for _ in range(6):
        baseline.observe(10.0)
    assert baseline.mean_w == pytest.approx(10.0, abs=0.5)
    assert baseline.least_w == 10.0
    baseline.observe(40.0)
    assert baseline.mean_w < 14.0
    for _ in range(200):
        baseline.observe(10.0)
    assert baseline.most_w == pytest.approx(10.0, abs=1.0)


def test_a_sum_is_known_as_badly_as_its_worst_part() -> None:
    measured, estimated = Joules(5, 4, 3, 6), Joules(2, 1, 0, 3, "estimated", "a model")
    assert measured.plus(estimated) == Joules(7, 5, 3, 9, "estimated", "a model")
    whole = total([measured, unknown_joules("no meter"), estimated])
    assert (whole.provenance, whole.why, whole.gross_j) == ("unknown", "no meter", 7)
    assert whole.document()["high_j"] is None
    assert unknown_joules("no meter").document()["gross_j"] is None
    assert total([]) == Joules()


@pytest.mark.parametrize(
    "joules",
    [
        Joules(float("nan"), 0, 0, 1), Joules(1, 2, 0, 3), Joules(1, 1, -1, 1), Joules(2, 1, 1, 1),
        Joules(1e16, 0, 0, 1e16), Joules(1, 1, 1, 1, why="x" * 201), Joules(high_j=float("inf")),
    ],
    ids=["nan", "net above gross", "negative", "gross above high", "absurd", "chatty", "infinite"],
)  # fmt: skip
def test_joules_that_cannot_be_are_not_sound(joules: Joules) -> None:
    assert not joules.sound()
    assert Joules(3, 2, 1, 4).sound()
