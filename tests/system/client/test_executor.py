"""One contract for the standard library's executor and ours."""

import time
from concurrent.futures import ALL_COMPLETED, CancelledError, as_completed, wait
from typing import Any

import pytest

from qallow_agent.base.errors import UsageError
from qallow_agent.client.executor import Executor
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

RAISES = 1


def test_submitting_gives_a_future_of_the_result(contract: Any) -> None:
    future = contract.pool.submit(contract.task, mood=12)
    assert contract.value(future.result(30)) == 12
    assert (future.done(), future.cancelled(), future.cancel()) == (True, False, False)
    assert future.exception(0) is None


def test_an_exception_is_raised_by_the_result(contract: Any) -> None:
    future = contract.pool.submit(contract.task, mood=RAISES)
    with pytest.raises(Exception, match="in a bad mood"):
        future.result(30)
    assert future.exception(0) is not None


def test_waiting_times_out_without_ending_the_work(contract: Any) -> None:
    future = contract.pool.submit(contract.task, mood=12, seconds=1.0)
    with pytest.raises(TimeoutError):
        future.result(0.05)
    assert contract.value(future.result(30)) == 12


def test_callbacks_are_called_with_the_future(contract: Any) -> None:
    seen: list[Any] = []
    future = contract.pool.submit(contract.task, mood=12)
    future.add_done_callback(seen.append)
    wait([future], 30)
    future.add_done_callback(seen.append)
    assert seen == [future, future]


def test_wait_and_as_completed_see_every_future(contract: Any) -> None:
    futures = [contract.pool.submit(contract.task, mood=10 + number) for number in range(10)]
    assert wait(futures, 30, ALL_COMPLETED).not_done == set()
    found = {contract.value(future.result()) for future in as_completed(futures, 5)}
    assert found == set(range(10, 20))


def test_a_cancelled_future_is_over_for_everybody(contract: Any) -> None:
    contract.pool.submit(contract.task, mood=12, seconds=0.5)
    future = contract.pool.submit(contract.task, mood=13)
    assert future.cancel()
    assert wait([future], 5).done == {future}
    with pytest.raises(CancelledError):
        future.result(0)


def test_map_gives_results_in_order(contract: Any) -> None:
    results = contract.pool.map(contract.task, range(10, 40), timeout=30)
    assert [contract.value(result) for result in results] == list(range(10, 40))


def test_map_takes_several_iterables_up_to_the_shortest(contract: Any) -> None:
    results = contract.pool.map(contract.task, [10, 11, 12], [0.0, 0.01], chunksize=2)
    assert [contract.value(result) for result in results] == [10, 11]


def test_map_raises_the_first_exception_in_its_turn(contract: Any) -> None:
    results = contract.pool.map(contract.task, [10, RAISES, 11])
    assert contract.value(next(results)) == 10
    with pytest.raises(Exception, match="in a bad mood"):
        next(results)


def test_map_times_out(contract: Any) -> None:
    results = contract.pool.map(contract.task, [10], [1.0], timeout=0.1)
    with pytest.raises(TimeoutError):
        next(results)


def test_leaving_the_block_waits_for_everything(contract: Any) -> None:
    with contract.pool as pool:
        futures = [pool.submit(contract.task, mood=10 + n, seconds=0.02) for n in range(10)]
    assert all(future.done() for future in futures)
    assert [contract.value(future.result(0)) for future in futures] == list(range(10, 20))


def test_after_shutdown_nothing_is_taken(contract: Any) -> None:
    future = contract.pool.submit(contract.task, mood=12, seconds=0.1)
    contract.pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        contract.pool.submit(contract.task, mood=13)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        contract.pool.map(contract.task, [13])
    assert contract.value(future.result(30)) == 12
    contract.pool.shutdown()


def test_shutdown_may_cancel_what_has_not_begun(contract: Any) -> None:
    first = contract.pool.submit(contract.task, mood=12, seconds=0.5)
    end_s = time.monotonic() + 30
    while not first.running() and time.monotonic() < end_s:
        time.sleep(0.005)
    rest = [contract.pool.submit(contract.task, mood=13, seconds=1.0) for _ in range(5)]
    contract.pool.shutdown(wait=True, cancel_futures=True)
    assert contract.value(first.result(0)) == 12
    assert rest[-1].cancelled()


def test_options_hold_for_everything_and_unknown_ones_are_refused(lone: AgentProcess) -> None:
    with Executor(lone.socket, device="cpu", deadline="30s") as pool:
        assert float(pool.submit("moody", mood=12).result(30).value) == 12
        axes = pool.map("moody", {"mood": [10, 11]})
        assert [float(result.value) for result in axes] == [10, 11]
        rows = pool.map("moody", [{"mood": 10}, {"seconds": 0.0}])
        assert [float(result.value) for result in rows] == [10, 0]
    with pytest.raises(UsageError, match="devise"):
        Executor(lone.socket, devise="cpu")


def test_values_of_a_kernel_that_only_the_agent_knows_need_names(lone: AgentProcess) -> None:
    with Executor(lone.socket) as pool:
        with pytest.raises(UsageError, match="moody"):
            pool.submit("moody", 12)
        assert float(pool.submit("moody", mood=12).result(30).value) == 12
        with pytest.raises(UsageError, match="iterate"):
            pool.map("moody")
