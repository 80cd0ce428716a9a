"""Forecasts and deadlines: what is refused, what is taken on trust, what could be met."""

from typing import Any

import pytest

from qallow_agent.placement.forecast import forecast, judge, useful_slots
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.settings import PlacementSettings

HASH = "a" * 64
SETTINGS = PlacementSettings()


def candidate(node: str = "box", **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "node": node, "node_name": node, "device": "cpu0", "kind": "cpu", "state": "ok",
        "slots": 2, "busy": 0, "memory_bytes": 0, "kernels": {"k": HASH}, "rate": 1e9, "warm": 2,
    }  # fmt: skip
    return Candidate(**{**fields, **changes})


def request(points: int = 1000, **changes: Any) -> Request:
    given = {"kernel": "k", "kernel_hash": HASH, "slots": 256, "ops": 1e7} | changes
    return Request(points=points, **given)


def verdict(wanted: Request, deadline_s: float, *book: Candidate) -> Any:
    return judge(wanted, deadline_s, forecast(wanted, book, SETTINGS))


def test_every_device_that_fits_counts() -> None:
    one = forecast(request(), [candidate()], SETTINGS)
    two = forecast(request(), [candidate("a"), candidate("b"), candidate("c", kernels={})],
                   SETTINGS)  # fmt: skip
    assert one is not None
    assert two is not None
    assert one.needs_s == pytest.approx(5.0, rel=0.05)
    assert two.needs_s == pytest.approx(2.5, rel=0.05)
    assert two.devices == 2


def test_a_point_is_not_divided() -> None:
    found = forecast(request(1, ops=3e9), [candidate(name) for name in "abcdef"], SETTINGS)
    assert found is not None
    assert found.needs_s == pytest.approx(3.0, rel=0.01)


def test_what_cannot_be_met_is_refused_with_what_could() -> None:
    said = verdict(request(), 1.0, candidate())
    assert said.why.startswith("the job needs about 5 s on the 1 device that fits")
    assert "its deadline is 1 s" in said.why
    assert said.hint == "could be met: a deadline of 5.5 s, or 200 of the 1,000 points"
    assert verdict(request(200), 1.05, candidate()).why == ""
    assert verdict(request(), 5.5, candidate()).why == ""


def test_queue_and_start_up_count() -> None:
    busy = candidate(busy=2, warm=0)
    assert verdict(request(1, ops=1.0), 1.0, busy).why
    cold = candidate(warm=0, start_s=3.0)
    assert verdict(request(1, ops=1.0), 2.0, cold).why
    assert not verdict(request(1, ops=1.0), 4.0, cold).why


def test_a_start_up_that_nobody_measured_refuses_nothing() -> None:
    said = verdict(request(1, ops=1.0), 0.1, candidate(warm=0))
    assert (said.why, bool(said.doubt)) == ("", True)
    warming = candidate(state="warming", rate=None)
    assert "taken on trust" in verdict(request(), 1.0, warming).doubt


@pytest.mark.parametrize("rate", [None, float("nan"), -1.0])
def test_nothing_is_refused_on_a_guess(rate: float | None) -> None:
    said = verdict(request(), 1.0, candidate(), candidate("new", rate=rate))
    assert said.why == ""
    assert "taken on trust" in said.doubt


def test_a_canary_is_believed_with_some_slack() -> None:
    assert "taken on trust" in verdict(request(), 2.0, candidate(tried=True)).doubt
    assert verdict(request(), 1.0, candidate(tried=True)).why


def test_without_devices_deadline_or_end_there_is_no_verdict() -> None:
    assert verdict(request(), 1.0) == verdict(request(), 0.0, candidate())
    assert verdict(request(0), 1e-9, candidate()) == verdict(request(), 1.0)
    assert verdict(request(), float("nan"), candidate()).why == ""


def test_no_more_slots_count_than_a_job_may_hold() -> None:
    found = forecast(request(slots=1), [candidate("a"), candidate("b", rate=2e9)], SETTINGS)
    assert found is not None
    assert found.needs_s == pytest.approx(5.0, rel=0.05)


@pytest.mark.parametrize(("points", "slots"), [(1, 1), (5, 1), (6, 2), (1_000_000, 8)])
def test_a_job_asks_for_as_many_runners_as_it_keeps_busy(points: int, slots: int) -> None:
    assert useful_slots(request(points, slots=8), [candidate()], SETTINGS) == slots


def test_without_devices_a_job_asks_for_what_it_wished() -> None:
    assert useful_slots(request(slots=3), [], SETTINGS) == 3


def test_a_hot_device_may_cool_but_is_no_faster_than_it_was_measured() -> None:
    found = forecast(request(), [candidate(state="hot")], SETTINGS)
    assert found is not None
    assert found.needs_s == pytest.approx(20.0, rel=0.05)
    assert found.hopeful_s == pytest.approx(5.0, rel=0.05)
