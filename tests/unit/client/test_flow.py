from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from qallow_agent.base.errors import BadParameter, KernelFailed, UsageError
from qallow_agent.client.flow import Flow
from qallow_agent.client.results import Result
from qallow_agent.client.stream import MOST_AHEAD_BYTES


def rows(*xs: Any) -> Iterator[dict[str, Any]]:
    return ({"x": x} for x in xs)


def endless() -> Iterator[dict[str, Any]]:
    number = 0
    while True:
        yield {"x": number}
        number += 1


def test_results_come_in_order_and_know_their_frame(lab: Any) -> None:
    flow = Flow(rows(*range(10)), lab.window(fixed=7))
    assert [(each.index, each.where) for each in flow] == [(n, "here") for n in range(10)]
    assert lab.given[3] == {"x": 3, "fixed": 7}


def test_an_endless_source_is_drawn_no_further_than_the_bound(lab: Any) -> None:
    flow = Flow(endless(), lab.window(ahead=4))
    assert lab.started == []
    for taken in range(1, 20):
        next(flow)
        assert len(lab.started) - taken < 4


def test_with_a_bound_of_one_a_frame_may_depend_on_the_result_before(lab: Any) -> None:
    seen: list[int] = []
    frames = ({"x": sum(seen)} for _ in range(4))
    seen.extend(result.index + 1 for result in Flow(frames, lab.window(ahead=1)))
    flow = Flow(({"x": sum(seen)} for _ in range(3)), lab.window(ahead=1))
    for result in flow:
        seen.append(10)
        assert result.index < 3
    assert [given["x"] for given in lab.given[4:]] == [10, 20, 30]


@pytest.mark.parametrize("where", ["inputs", "results"])
def test_large_arrays_are_bounded_by_their_bytes(lab: Any, where: str) -> None:
    half = MOST_AHEAD_BYTES // 2
    frames: Iterator[Mapping[str, Any]] = ({"x": "waits"} for _ in range(100))
    if where == "inputs":
        frames = ({"x": "waits", "bytes": half} for _ in range(100))
    window = lab.window(ahead=50)
    if where == "results":
        window._result_bytes = half
    Flow(frames, window).fill()
    assert len(lab.started) == 2


def test_a_failed_frame_is_raised_in_its_turn_and_ends_the_flow(lab: Any) -> None:
    flow = Flow(rows(0, 1, "fails", "waits", "waits"), lab.window(ahead=5)).fill()
    assert [next(flow).index, next(flow).index] == [0, 1]
    with pytest.raises(KernelFailed, match="frame 2: no luck"):
        next(flow)
    assert list(flow) == []
    assert len(lab.given_up) == 2


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        ({"x": "bad"}, BadParameter, "frame 2: x is bad"),
        (3.5, UsageError, "frame 2: it is a float, not a mapping"),
        ({"fixed": 1}, UsageError, "frame 2: fixed is both in the frame and fixed"),
    ],
)
def test_a_wrong_frame_is_raised_after_the_results_before_it(
    lab: Any, wrong: Any, kind: type[Exception], says: str
) -> None:
    flow = Flow(iter([{"x": 0}, {"x": 1}, wrong, {"x": 3}]), lab.window(fixed=7))
    found: list[Result] = []
    with pytest.raises(kind, match=says):
        found.extend(flow)
    assert [each.index for each in found] == [0, 1]


def test_an_error_of_the_source_comes_after_the_results_before_it(lab: Any) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield {"x": 0}
        raise OSError("the camera is gone")

    flow = Flow(broken(), lab.window())
    assert next(flow).index == 0
    with pytest.raises(OSError, match="camera"):
        next(flow)
    assert list(flow) == []


def test_unordered_whatever_is_done_comes_first(lab: Any) -> None:
    flow = Flow(rows("waits", 1, 2), lab.window(ordered=False))
    assert [next(flow).index, next(flow).index] == [1, 2]
    lab.finish(lab.started[0])
    assert [each.index for each in flow] == [0]


def test_closing_or_dropping_cancels_what_is_under_way(lab: Any) -> None:
    with Flow(rows("waits", "waits"), lab.window()).fill() as flow:
        assert len(lab.started) == 2
    assert list(flow) == []
    dropped = Flow(rows("waits"), lab.window()).fill()
    del dropped
    assert len(lab.given_up) == 3
    Flow(rows("waits"), lab.window()).fill().let_go()
    assert len(lab.given_up) == 3


def test_a_deadline_is_a_timeout_and_cancels(lab: Any) -> None:
    flow = Flow(rows("waits"), lab.window(), until_s=0.0)
    with pytest.raises(TimeoutError):
        next(flow)
    assert len(lab.given_up) == 1


def test_a_bound_below_one_is_refused(lab: Any) -> None:
    with pytest.raises(UsageError, match="ahead = 0"):
        lab.window(ahead=0)
