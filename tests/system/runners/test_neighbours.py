"""Whatever a kernel does to its runner, the runner beside it goes on giving results."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from qallow_agent.jobs.local import RunnerExited
from qallow_agent.jobs.parcels import TaskHead


@pytest.fixture(scope="module")
def street(make_world: Callable[..., Any]) -> Any:
    """Return one yard with tight limits for all tests here."""
    return make_world(
        stop_s=2.0,
        memory_bytes=256 << 20,
        file_bytes=8 << 20,
        scratch_bytes=32 << 20,
        open_files=128,
        processes=32,
        busy_s=0.05,
    )


@pytest.fixture(scope="module")
def neighbour(street: Any) -> Iterator[Any]:
    """Return a submitter whose runner stands beside those that misbehave, from first to last."""
    submitter = street.submitter("echo")
    yield submitter
    submitter.close()


@pytest.fixture
def guilty(street: Any, neighbour: Any) -> Iterator[Callable[[str], Any]]:
    """Return a maker of submitters; after each test the neighbour must still be served."""
    made: list[Any] = []

    def make(kernel: str) -> Any:
        made.append(street.submitter(kernel))
        return made[-1]

    yield make
    serves(neighbour)
    for submitter in made:
        submitter.close()
        street.yard.stop(submitter.runner, kill=True)
    street.pump(lambda: street.yard.runners() == (neighbour.runner,))
    assert not street.heard(RunnerExited, neighbour.runner)


def serves(neighbour: Any) -> None:
    neighbour.send(*(TaskHead(number, 1, 1, {"value": 2.0}) for number in range(20)))
    results = neighbour.results(20)
    assert all(result.fault is None for result in results.values())


@pytest.mark.parametrize(
    ("kernel", "end"),
    [
        ("crashes", "killed by SIGSEGV"),
        ("aborts", "killed by SIGABRT"),
        ("quits", "exited with status 3"),
        ("floods", "killed: its temporary files take more than 32.0 MiB"),
    ],
)
def test_a_runner_that_ends_is_blamed_on_its_task_alone(
    street: Any, neighbour: Any, guilty: Callable[[str], Any], kernel: str, end: str
) -> None:
    submitter = guilty(kernel)
    submitter.post(7)
    serves(neighbour)
    exited = street.await_exit(submitter.runner)
    assert exited.reason == f"{end} while running task 7"
    assert (exited.lease, exited.task) == (submitter.lease, 7)


def test_a_kernel_that_closes_every_descriptor_ends_only_its_runner(
    street: Any, guilty: Callable[[str], Any]
) -> None:
    submitter = guilty("closes")
    submitter.post(7)
    exited = street.await_exit(submitter.runner)
    assert exited.task in {7, None}, "libzmq gives up when its descriptors vanish, at any moment"


@pytest.mark.parametrize("kernel", ["hangs", "pauses"])
def test_an_endless_loop_holds_up_nobody_and_can_be_ended(
    street: Any, neighbour: Any, guilty: Callable[[str], Any], kernel: str
) -> None:
    submitter = guilty(kernel)
    submitter.post(7)
    street.await_busy(submitter.runner, 7)
    serves(neighbour)
    street.yard.stop(submitter.runner, kill=True)
    assert street.await_exit(submitter.runner).task == 7


@pytest.mark.parametrize(
    ("kernel", "code", "word"),
    [
        ("eats", "device-memory", "runners.memory_bytes"),
        ("leaks", "device-memory", "runners.memory_bytes"),
        ("opens", "kernel-failed", "Too many open files"),
        ("fills", "kernel-failed", "File too large"),
    ],
)
def test_a_kernel_that_takes_too_much_is_told_which_limit_it_met(
    guilty: Callable[[str], Any], kernel: str, code: str, word: str
) -> None:
    submitter = guilty(kernel)
    submitter.post(7)
    fault = submitter.results(1)[7].fault
    assert fault.code == code
    assert word in fault.message + fault.hint


def user_of(pid: int) -> int:
    return psutil.Process(pid).uids().real


def test_threads_without_end_fail_only_their_task(
    guilty: Callable[[str], Any], neighbour: Any
) -> None:
    submitter = guilty("threads")
    if user_of(submitter.ready.pid) == 0:
        pytest.skip("root is held to no number of processes here")
    submitter.post(7)
    fault = submitter.results(1)[7].fault
    assert "start new thread" in fault.message
    serves(neighbour)


def test_a_fork_bomb_is_held_and_all_of_it_ends_with_its_runner(
    street: Any, neighbour: Any, guilty: Callable[[str], Any]
) -> None:
    submitter = guilty("multiplies")
    if user_of(submitter.ready.pid) == 0:
        pytest.skip("root is held to no number of processes here")
    submitter.post(7)
    street.await_busy(submitter.runner, 7)
    street.pump(lambda: len(family(submitter)) > 8)
    serves(neighbour)
    everyone = family(submitter)
    street.yard.stop(submitter.runner, kill=True)
    assert street.await_exit(submitter.runner).task == 7
    street.pump(lambda: not any(map(alive, everyone)))
    street.pump(lambda: not family(submitter))


def family(submitter: Any) -> list[int]:
    """Return every process of a runner's session, itself included."""
    return [pid for pid in psutil.pids() if session(pid) == submitter.ready.pid]


def session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_a_job_bends_in_its_process_is_straight_for_the_next(
    guilty: Callable[[str], Any],
) -> None:
    submitter = guilty("bends")
    submitter.post(7)
    assert submitter.results(1)[7].fault is None
    submitter.lease = "lease-of-the-next-job"
    submitter.allow("stands")
    submitter.post(8)
    [frame] = submitter.arrays()
    assert frame == bytes(4)
