import pickle
import threading
from concurrent.futures import FIRST_COMPLETED, CancelledError, as_completed, wait

import pytest

from qallow_agent.base.errors import DeviceLost, KernelFailed, RemoteTraceback
from qallow_agent.client.arguments import Arguments
from qallow_agent.client.futures import JobFuture, copy_of, remote_error
from qallow_agent.client.results import Block, Result
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.jobs.work import Piece


class Paper:
    """A connection that only remembers what it was told."""

    def __init__(self) -> None:
        self.dropped: list[JobFuture] = []

    def find_job(self, future: JobFuture) -> str:
        return f"job of {future.kernel}"

    def check_process(self) -> None:
        """This process is the right one."""

    def give_up(self, future: JobFuture) -> None:
        self.dropped.append(future)
        future.confirm_cancelled()


def future() -> JobFuture:
    return JobFuture("k", Arguments({}), JobOptions(), None, Paper())


def result() -> Result:
    return Result(Block([], []))


def test_wait_and_as_completed_take_them_for_what_they_are() -> None:
    one, two, three = future(), future(), future()
    one.settle(result())
    assert wait([one, two], return_when=FIRST_COMPLETED).done == {one}
    timer = threading.Timer(0.01, lambda: (two.settle(None, KernelFailed("x")), three.cancel()))
    timer.start()
    assert set(as_completed([one, two, three], timeout=5)) == {one, two, three}
    timer.join()


def test_cancelling_ends_it_for_those_that_wait() -> None:
    mine = future()
    assert mine.cancel()
    assert mine.cancel()
    assert (mine.cancelled(), mine.done()) == (True, True)
    with pytest.raises(CancelledError):
        mine.result(0)


def test_what_is_over_cannot_be_cancelled() -> None:
    mine = future()
    mine.settle(result())
    assert not mine.cancel()
    assert mine._connection.dropped == []


def test_a_result_that_comes_after_the_cancellation_changes_nothing() -> None:
    mine = future()
    mine.cancel()
    mine.settle(result())
    mine.settle(None, KernelFailed("late"))
    assert mine.cancelled()


def test_it_runs_while_a_runner_has_it() -> None:
    mine = future()
    assert not mine.running()
    mine.piece = Piece(0, 0, 1, None, mine)
    mine.piece.flying = 1
    assert mine.running()
    mine.settle(result())
    assert not mine.running()


def test_its_job_is_known_by_the_connection() -> None:
    assert future().job == "job of k"


def test_a_remote_traceback_is_the_cause() -> None:
    error = remote_error("kernel-failed", "no luck", "a hint", "Traceback: line 1\n")
    assert isinstance(error, KernelFailed)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "line 1" in str(error.__cause__)
    assert remote_error("device-lost", "gone").retryable
    assert remote_error("", "why").code == "job-failed"


def test_copies_are_equal_but_not_the_same() -> None:
    error = remote_error("device-lost", "gone", "wait", "trace")
    copy = copy_of(error)
    assert copy is not error
    assert isinstance(copy, DeviceLost)
    assert (copy.message, copy.hint, copy.retryable) == ("gone", "wait", True)
    assert copy.__cause__ is error.__cause__


def test_futures_do_not_leave_their_process() -> None:
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(future())


def test_a_remote_traceback_survives_pickling() -> None:
    error = remote_error("kernel-failed", "no luck", "a hint", "Traceback: line 1\n")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), again.hint) == (KernelFailed, "no luck", "a hint")
    assert isinstance(again.__cause__, RemoteTraceback)
    assert again.__cause__.text == "Traceback: line 1\n"


def test_a_cause_that_is_no_remote_traceback_stays_behind() -> None:
    error = KernelFailed("no luck")
    error.__cause__ = OSError(lambda: "does not pickle")
    assert pickle.loads(pickle.dumps(error)).__cause__ is None  # noqa: S301 - our own bytes
