"""What CPython's own tests demand of executors and futures, demanded of ours as well.

Source: Lib/test/test_concurrent_futures of CPython 3.11 to 3.14. Tests with the ``contract`` run
against the standard library's executor too, so that none of them asks for what is not the rule.
"""

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from typing import Any

import numpy as np
import pytest

from qallow_agent.base.errors import JobCancelled, KernelFailed, RemoteTraceback, UsageError
from qallow_agent.client.executor import Executor
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

RAISES = 1
LONG_S = 20.0
A_WHILE_S = 1.0
"""Cancelling what runs costs its runner; tests that need not do so let it end."""


@pytest.fixture(scope="module")
def lone(spawn_shared: Callable[..., AgentProcess]) -> AgentProcess:
    """Return an agent that gives a runner to the next job soon after a task of the one before."""
    return spawn_shared("standard", "jobs.release_grace_s=0.1")


@pytest.fixture
def pool(lone: AgentProcess) -> Iterator[Executor]:
    made = Executor(lone.socket)
    yield made
    made.shutdown(wait=True, cancel_futures=True)


@pytest.fixture
def busy(pool: Executor, eventually: Callable[..., Any]) -> Any:
    """Return a future of the pool that runs, and does so for a while."""
    future = pool.submit("moody", mood=12, seconds=A_WHILE_S)
    eventually(future.running)
    return future


def program(lone: AgentProcess, text: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program with ``sys.argv[1]`` the socket; warnings are errors."""
    head = "import sys, atexit, qallow_agent as qa\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", head + text, lone.socket],
        capture_output=True, text=True, timeout=60, check=False, **more,
    )  # fmt: skip


# --- submit and map ------------------------------------------------------------------------------


def test_submit_needs_something_to_run(contract: Any) -> None:
    with pytest.raises(TypeError):
        contract.pool.submit()
    with pytest.raises(TypeError):
        contract.pool.submit(mood=12)


def test_a_function_is_refused_with_the_reason(pool: Executor) -> None:
    with pytest.raises(UsageError, match="is not the name of a kernel"):
        pool.submit(pow, base=2)  # type: ignore[arg-type]


def test_a_parameter_by_place_and_by_name_is_refused(pool: Executor, known: None) -> None:  # noqa: ARG001
    with pytest.raises(UsageError, match="mood is given twice"):
        pool.submit("moody", 12, mood=13)


def test_map_works_without_anybody_iterating(contract: Any) -> None:
    mark = time.time_ns()
    contract.pool.map(contract.task, [10, 11, 12], [0.0] * 3, [mark] * 3)
    contract.pool.shutdown(wait=True)
    assert contract.marked(mark)


def test_a_sweep_that_nobody_reads_is_done_all_the_same(lone: AgentProcess) -> None:
    before = {job["job"] for job in lone.ask("jobs")["jobs"]}
    pool = Executor(lone.socket)
    pool.map("moody", {"mood": range(10, 20)})
    pool.shutdown(wait=True)
    after = [job for job in lone.ask("jobs")["jobs"] if job["job"] not in before]
    assert [(job["state"], job["done"]) for job in after] == [("succeeded", 10)]


def test_a_sweep_larger_than_the_reader_may_be_behind_does_not_hold_up_shutdown(
    pool: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qallow_agent.client.stream.MOST_AHEAD_BYTES", 100)
    results = pool.map("moody", {"mood": range(10, 3_010)})
    pool.shutdown(wait=True)
    assert [int(result.value) for result in results] == list(range(10, 3_010))


def test_map_that_times_out_cancels_what_is_left(contract: Any) -> None:
    first = contract.pool.submit(contract.task, mood=12, seconds=0.3)
    mark = time.time_ns()
    results = contract.pool.map(contract.task, [13, 14], [1.0] * 2, [mark] * 2, timeout=0)
    with pytest.raises(TimeoutError):
        next(results)
    assert contract.value(first.result(30)) == 12
    with contextlib.suppress(TypeError):  # generators of the standard library end as well
        assert list(results) == []


def test_with_a_buffer_the_source_is_drawn_as_results_are_taken(pool: Executor) -> None:
    drawn = itertools.count()
    rows = ({"mood": 10 + number} for number in drawn)
    results = pool.map("moody", rows, buffersize=4)
    assert [int(next(results).value) for _ in range(20)] == list(range(10, 30))
    assert 20 <= next(drawn) <= 20 + 5
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", [{"buffersize": 0}, {"chunksize": 0}])
def test_sizes_below_one_are_refused(pool: Executor, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        pool.map("moody", {"mood": [12]}, **wrong)


def test_neither_future_nor_arguments_outlive_their_use(pool: Executor) -> None:
    data = np.arange(1000, dtype="f4")
    future = pool.submit("total", data=data)
    assert float(future.result(30).value) == float(data.sum())
    seen = [weakref.ref(data), weakref.ref(future)]
    pool.submit("moody", mood=12).result(30)  # whatever the last one was, is not kept either
    del data, future
    end_s = time.monotonic() + 10
    while any(each() is not None for each in seen) and time.monotonic() < end_s:
        gc.collect()
    assert [each() for each in seen] == [None, None]


# --- cancelling ----------------------------------------------------------------------------------


def test_what_waits_behind_another_can_be_cancelled(pool: Executor, busy: Any) -> None:
    waiting = pool.submit("moody", mood=13)
    assert waiting.cancel()
    assert (waiting.cancelled(), waiting.running(), waiting.done()) == (True, False, True)
    with pytest.raises(CancelledError):
        waiting.exception(5)
    assert int(busy.result(30).value) == 12


def test_unlike_a_thread_what_runs_can_be_cancelled_too(pool: Executor, busy: Any) -> None:
    assert (busy.running(), busy.done()) == (True, False)
    assert busy.cancel()
    assert busy.cancel()
    assert (busy.cancelled(), busy.running(), busy.done()) == (True, False, True)
    with pytest.raises(CancelledError):
        busy.result(0)
    assert int(pool.submit("moody", mood=13).result(30).value) == 13


def test_neither_result_nor_exception_wait_past_their_timeout(busy: Any) -> None:
    for ask in (busy.result, busy.exception):
        with pytest.raises(TimeoutError):
            ask(timeout=0)
        with pytest.raises(TimeoutError):
            ask(0.01)
    assert not busy.cancelled()


def test_a_waiting_thread_wakes_when_another_cancels(busy: Any) -> None:
    caught: list[BaseException] = []

    def waits() -> None:
        try:
            busy.result(30)
        except CancelledError as error:
            caught.append(error)

    thread = threading.Thread(target=waits)
    thread.start()
    busy.cancel()
    thread.join(10)
    assert len(caught) == 1


# --- wait and as_completed -----------------------------------------------------------------------


def test_wait_returns_with_the_first_one(contract: Any) -> None:
    quick = contract.pool.submit(contract.task, mood=12)
    quick.result(30)
    slow = contract.pool.submit(contract.task, mood=13, seconds=0.4)
    done, not_done = wait([quick, slow], 30, FIRST_COMPLETED)
    assert (done, not_done) == ({quick}, {slow})


def test_wait_returns_with_the_first_exception(contract: Any) -> None:
    fine = contract.pool.submit(contract.task, mood=12)
    bad = contract.pool.submit(contract.task, mood=RAISES)
    assert wait([fine], 30, FIRST_EXCEPTION).done == {fine}
    assert bad.exception(30) is not None
    slow = contract.pool.submit(contract.task, mood=13, seconds=0.4)
    done, not_done = wait([fine, bad, slow], 30, FIRST_EXCEPTION)
    assert (done, not_done) == ({fine, bad}, {slow})


def test_wait_gives_up_with_what_it_has(contract: Any) -> None:
    quick = contract.pool.submit(contract.task, mood=12)
    assert contract.value(quick.result(30)) == 12
    slow = contract.pool.submit(contract.task, mood=13, seconds=0.4)
    assert wait([quick, slow], 0.05) == ({quick}, {slow})


def test_as_completed_counts_what_is_unfinished_when_it_gives_up(contract: Any) -> None:
    quick = contract.pool.submit(contract.task, mood=12)
    quick.result(30)
    slow = contract.pool.submit(contract.task, mood=13, seconds=0.4)
    seen = []
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        seen.extend(as_completed([quick, slow, quick], timeout=0.05))
    assert seen in ([], [quick])


def test_futures_of_different_executors_are_waited_for_together(pool: Executor) -> None:
    with ThreadPoolExecutor(1) as threads:
        futures = [threads.submit(pow, 2, 8), pool.submit("moody", mood=12)]
        futures.append(threads.submit(int))
        assert set(as_completed(futures, 30)) == set(futures)
        assert wait(futures, 30).done == set(futures)


# --- callbacks -----------------------------------------------------------------------------------


def test_callbacks_come_in_order_and_one_that_raises_stops_no_other(
    contract: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    called = threading.Event()
    future = contract.pool.submit(contract.task, mood=12, seconds=0.2)
    future.add_done_callback(lambda _: seen.append(1))
    future.add_done_callback(lambda _: seen.append(1 // 0))
    future.add_done_callback(lambda _: (seen.append(3), called.set()))
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        assert called.wait(30)
    assert seen == [1, 3]
    assert "ZeroDivisionError" in caplog.text
    assert contract.value(contract.pool.submit(contract.task, mood=13).result(30)) == 13


def test_a_callback_is_told_of_a_cancellation_at_once(busy: Any) -> None:
    seen: list[bool] = []
    busy.add_done_callback(lambda future: seen.append(future.cancelled()))
    busy.cancel()
    assert seen == [True]


def test_a_callback_that_ends_its_thread_leaves_nobody_waiting(
    lone: AgentProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    pool = Executor(lone.socket)
    first = pool.submit("moody", mood=12, seconds=0.2)
    first.add_done_callback(lambda _: sys.exit("no more"))
    second = pool.submit("moody", mood=13, seconds=LONG_S)
    assert second.exception(30) is not None
    pool.shutdown()


# --- errors --------------------------------------------------------------------------------------


def test_an_error_crosses_processes_with_its_remote_traceback(pool: Executor) -> None:
    error = pool.submit("moody", mood=RAISES).exception(30)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert isinstance(again, KernelFailed)
    assert str(again) == str(error)
    assert isinstance(again.__cause__, RemoteTraceback)
    assert "kernels_with_moods.py" in str(again.__cause__)


def test_a_result_crosses_processes(pool: Executor) -> None:
    single = pool.submit("moody", mood=12).result(30)
    point = list(pool.map("moody", {"mood": range(10, 500)}))[400]
    for result in (single, point):
        data = pickle.dumps(result)
        again = pickle.loads(data)  # noqa: S301 - our own bytes
        assert len(data) < 1_000
        assert (again.index, again.where, again.seconds) == (
            result.index,
            result.where,
            pytest.approx(result.seconds),
        )
        assert again.values.keys() == result.values.keys()
        assert again.value.tobytes() == result.value.tobytes()


# --- shutdown and the end of the program ---------------------------------------------------------


def test_many_that_are_pending_are_done_before_shutdown_returns(contract: Any) -> None:
    futures = [contract.pool.submit(contract.task, mood=12, seconds=0.01) for _ in range(50)]
    contract.pool.shutdown()
    assert {contract.value(future.result(0)) for future in futures} == {12}


def test_shutdown_cancels_what_has_not_begun_and_finishes_what_has(contract: Any) -> None:
    futures = [contract.pool.submit(contract.task, mood=12, seconds=0.1) for _ in range(50)]
    wait(futures[:1], 30)
    contract.pool.shutdown(cancel_futures=True)
    cancelled = [future for future in futures if future.cancelled()]
    others = [future for future in futures if not future.cancelled()]
    assert len(cancelled) > 20
    assert others
    assert [future.exception(0) for future in others] == [None] * len(others)


def test_shutdown_that_cancels_ends_a_map_with_cancelled_error(pool: Executor) -> None:
    results = pool.map("moody", {"mood": range(10, 510)}, seconds=0.02)
    assert int(next(results).value) == 10
    pool.shutdown(wait=True, cancel_futures=True)
    with pytest.raises(CancelledError) as caught:
        list(results)
    assert isinstance(caught.value.__cause__, JobCancelled)


def test_shutdown_does_not_wait_for_what_was_cancelled(pool: Executor) -> None:
    future = pool.submit("moody", mood=12, seconds=60.0)
    future.cancel()
    ended = threading.Thread(target=pool.shutdown)
    ended.start()
    ended.join(LONG_S)
    assert not ended.is_alive()


def test_shutdown_may_be_called_twice_and_by_several(contract: Any) -> None:
    contract.pool.submit(contract.task, mood=12, seconds=0.1)
    threads = [threading.Thread(target=contract.pool.shutdown) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    contract.pool.shutdown()


def test_work_goes_on_when_the_executor_is_forgotten(lone: AgentProcess) -> None:
    pool = Executor(lone.socket)
    results = pool.map("moody", {"mood": range(10, 30)}, seconds=0.01)
    future = pool.submit("moody", mood=12)
    del pool
    gc.collect()
    assert [int(result.value) for result in results] == list(range(10, 30))
    assert int(future.result(30).value) == 12


PENDING = """
pool = qa.Executor(sys.argv[1])
future = pool.submit("moody", mood=12, seconds=0.5)
future.add_done_callback(lambda done: print(float(done.result().value), flush=True))
"""


@pytest.mark.parametrize("last", ["", "pool.shutdown(wait=False)", "del pool, future"])
def test_at_the_end_of_the_program_an_executor_finishes_its_work(
    lone: AgentProcess, last: str
) -> None:
    done = program(lone, PENDING + last)
    assert (done.returncode, done.stdout, done.stderr) == (0, "12.0\n", "")


STUBBORN = """
import os, signal, threading
pool = qa.Executor(sys.argv[1])
future = pool.submit("moody", mood=12, seconds=50.0)
print(future.job, flush=True)
timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
timer.daemon = True  # the interpreter waits for other threads first, and that is not ours
timer.start()
"""


def test_an_interrupt_at_the_end_of_the_program_cancels_the_rest(
    lone: AgentProcess, eventually: Callable[..., Any]
) -> None:
    done = program(lone, STUBBORN)
    assert "KeyboardInterrupt" in done.stderr

    def state() -> str:
        return str(lone.ask("jobs", done.stdout.strip())["jobs"][0]["state"])

    eventually(lambda: state() == "cancelled")


TOO_LATE = """
@atexit.register
def run_last():
    try:
        pool.submit("moody", mood=13)
    except RuntimeError as error:
        print(error)
pool = qa.Executor(sys.argv[1])
pool.submit("moody", mood=12).result()
"""


def test_after_the_end_of_the_program_nothing_is_taken(lone: AgentProcess) -> None:
    done = program(lone, TOO_LATE)
    assert done.stdout == "cannot schedule new futures after shutdown\n"
    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED = """
import os, signal, threading
pool = qa.Executor(sys.argv[1])
future = pool.submit("moody", mood=12, seconds=1.0)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    future.result()
except KeyboardInterrupt:
    print("interrupted", future.done(), float(future.result(30).value), flush=True)
"""


def test_an_interrupt_ends_the_wait_and_not_the_work(lone: AgentProcess) -> None:
    done = program(lone, INTERRUPTED)
    assert (done.stdout, done.stderr) == ("interrupted False 12.0\n", "")


# --- threads, forks, loops -----------------------------------------------------------------------


def test_any_thread_may_submit(pool: Executor) -> None:
    found: dict[int, list[int]] = {}

    def work(first: int) -> None:
        futures = [pool.submit("moody", mood=first + number) for number in range(100)]
        found[first] = [int(future.result(30).value) for future in futures]

    threads = [threading.Thread(target=work, args=(1_000 * number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wanted = {
        1_000 * number: list(range(1_000 * number, 1_000 * number + 100)) for number in range(1, 7)
    }
    assert found == wanted


def test_a_forked_child_does_not_wait_for_what_cannot_arrive(busy: Any) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            busy.result()
        except UsageError as error:
            os.write(writer, error.message.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        assert b"forked" in said.read()
    os.waitpid(child, 0)
    assert int(busy.result(30).value) == 12


def test_an_event_loop_runs_kernels_in_the_executor(pool: Executor, known: None) -> None:  # noqa: ARG001
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(pool, "moody", 12)  # type: ignore[arg-type]
        second = asyncio.wrap_future(pool.submit("moody", mood=13))
        assert [int(each.value) for each in await asyncio.gather(first, second)] == [12, 13]

    asyncio.run(main())
