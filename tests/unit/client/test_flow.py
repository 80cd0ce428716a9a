from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from qallow_agent.base.errors import BadParameter, KernelFailed, UsageError
from qallow_agent.client.arguments import Arguments
from qallow_agent.client.flow import Flow
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.results import Block, Result
from qallow_agent.client.stream import MOST_AHEAD_BYTES
from qallow_agent.client.window import Window, open_window
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.jobs.parcels import ArrayHead


class Lab:
    """Starts evaluations; ``frames`` says of each whether it is done at once, fails or waits."""

    def __init__(self) -> None:
        self.started: list[JobFuture] = []
        self.given: list[dict[str, Any]] = []
        self.given_up: list[JobFuture] = []
        self.result_bytes = 1

    def submit(self, kernel: str, /, *, options: JobOptions, **params: Any) -> JobFuture:
        if params.get("x") == "bad":
            raise BadParameter("x is bad", hint="give a number")
        heads = (ArrayHead("a", "u1", (params["bytes"],)),) if "bytes" in params else ()
        future = JobFuture(kernel, Arguments({}, heads), options, None, self)
        self.started.append(future)
        self.given.append(params)
        if params.get("x") == "fails":
            future.settle(None, KernelFailed("no luck"))
        elif params.get("x") != "waits":
            self.finish(future)
        return future

    def finish(self, future: JobFuture) -> None:
        head = ArrayHead("y", "u1", (self.result_bytes,))
        future.settle(Result(Block([head], [bytes(self.result_bytes)], where="here")))

    def window(self, ahead: int | None = 4, *, ordered: bool = True, **given: Any) -> Window:
        return open_window(self.submit, "k", given, ahead, ordered=ordered)

    def find_job(self, future: JobFuture) -> str:
        return f"job of {future.kernel}"

    def check_process(self) -> None:
        """This process is the right one."""

    def give_up(self, future: JobFuture) -> None:
        self.given_up.append(future)
        future.confirm_cancelled()


def rows(*xs: Any) -> Iterator[dict[str, Any]]:
    return ({"x": x} for x in xs)


def endless() -> Iterator[dict[str, Any]]:
    number = 0
    while True:
        yield {"x": number}
        number += 1


def test_results_come_in_order_and_know_their_frame() -> None:
    lab = Lab()
    flow = Flow(rows(*range(10)), lab.window(fixed=7))
    assert [(each.index, each.where) for each in flow] == [(n, "here") for n in range(10)]
    assert lab.given[3] == {"x": 3, "fixed": 7}


def test_an_endless_source_is_drawn_no_further_than_the_bound() -> None:
    lab = Lab()
    flow = Flow(endless(), lab.window(ahead=4))
    assert lab.started == []
    for taken in range(1, 20):
        next(flow)
        assert len(lab.started) - taken < 4


def test_with_a_bound_of_one_a_frame_may_depend_on_the_result_before() -> None:
    lab = Lab()
    seen: list[int] = []
    frames = ({"x": sum(seen)} for _ in range(4))
    seen.extend(result.index + 1 for result in Flow(frames, lab.window(ahead=1)))
    flow = Flow(({"x": sum(seen)} for _ in range(3)), lab.window(ahead=1))
    for result in flow:
        seen.append(10)
        assert result.index < 3
    assert [given["x"] for given in lab.given[4:]] == [10, 20, 30]


@pytest.mark.parametrize("where", ["inputs", "results"])
def test_large_arrays_are_bounded_by_their_bytes(where: str) -> None:
    lab = Lab()
    half = MOST_AHEAD_BYTES // 2
    frames: Iterator[Mapping[str, Any]] = ({"x": "waits"} for _ in range(100))
    if where == "inputs":
        frames = ({"x": "waits", "bytes": half} for _ in range(100))
    window = lab.window(ahead=50)
    if where == "results":
        window._result_bytes = half
    Flow(frames, window).fill()
    assert len(lab.started) == 2


def test_a_failed_frame_is_raised_in_its_turn_and_ends_the_flow() -> None:
    lab = Lab()
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
    wrong: Any, kind: type[Exception], says: str
) -> None:
    flow = Flow(iter([{"x": 0}, {"x": 1}, wrong, {"x": 3}]), Lab().window(fixed=7))
    found: list[Result] = []
    with pytest.raises(kind, match=says):
        found.extend(flow)
    assert [each.index for each in found] == [0, 1]


def test_an_error_of_the_source_comes_after_the_results_before_it() -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield {"x": 0}
        raise OSError("the camera is gone")

    flow = Flow(broken(), Lab().window())
    assert next(flow).index == 0
    with pytest.raises(OSError, match="camera"):
        next(flow)
    assert list(flow) == []


def test_unordered_whatever_is_done_comes_first() -> None:
    lab = Lab()
    flow = Flow(rows("waits", 1, 2), lab.window(ordered=False))
    assert [next(flow).index, next(flow).index] == [1, 2]
    lab.finish(lab.started[0])
    assert [each.index for each in flow] == [0]


def test_closing_or_dropping_cancels_what_is_under_way() -> None:
    lab = Lab()
    with Flow(rows("waits", "waits"), lab.window()).fill() as flow:
        assert len(lab.started) == 2
    assert list(flow) == []
    dropped = Flow(rows("waits"), lab.window()).fill()
    del dropped
    assert len(lab.given_up) == 3
    Flow(rows("waits"), lab.window()).fill().let_go()
    assert len(lab.given_up) == 3


def test_a_deadline_is_a_timeout_and_cancels() -> None:
    lab = Lab()
    flow = Flow(rows("waits"), lab.window(), until_s=0.0)
    with pytest.raises(TimeoutError):
        next(flow)
    assert len(lab.given_up) == 1


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="ahead = 0"):
        Lab().window(ahead=0)
