"""One evaluation after the other through a real agent and real runners."""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, as_completed, wait

import numpy as np
import pytest

from qallow_agent.base.errors import (
    BadParameter,
    DeadlineExceeded,
    JobCancelled,
    JobRejected,
    KernelFailed,
    NoDevice,
    UnknownKernel,
    UsageError,
)
from qallow_agent.client.session import Mesh, connect
from qallow_agent.kernels.backends import load_backend
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

RAISES, CRASHES = 1, 2


def test_a_result_is_what_the_reference_computes_bit_by_bit(mesh: Mesh) -> None:
    result = mesh.submit("harmonic", pockets=32, ticks=50, coupling=0.001).result(60)
    kernel = load_catalog().get("harmonic")
    assert load_backend(kernel, "reference")
    wanted = run_task(kernel, "reference", {"pockets": 32, "ticks": 50, "coupling": 0.001}, {}, {})
    assert {name: array.tobytes() for name, array in result.values.items()} == {
        name: array.tobytes() for name, array in wanted.items()
    }
    assert result.where == "lone/cpu0"
    assert result.avg_coherence.shape == wanted["avg_coherence"].shape


def test_many_small_evaluations_share_one_job_and_one_parcel(mesh: Mesh) -> None:
    futures = [mesh.submit("moody", mood=10 + number) for number in range(2_000)]
    assert [int(future.result(30).value) for future in futures] == list(range(10, 2_010))
    assert len({future.job for future in futures}) == 1


def test_futures_work_with_wait_and_as_completed(mesh: Mesh) -> None:
    futures = [mesh.submit("moody", mood=10 + number) for number in range(20)]
    assert not wait(futures, 30).not_done
    values = {int(future.result(0).value) for future in as_completed(futures, 30)}
    assert values == set(range(10, 30))


def test_arrays_travel_both_ways(mesh: Mesh) -> None:
    data = np.arange(1 << 20, dtype="f4")
    assert float(mesh.submit("total", data=data).result(30).value) == float(data.sum())
    assert float(mesh.submit("total", data=data[::2]).result(30).value) == float(data[::2].sum())


def test_an_exception_of_a_kernel_brings_its_traceback(mesh: Mesh) -> None:
    with pytest.raises(KernelFailed, match="in a bad mood") as caught:
        mesh.submit("moody", mood=RAISES).result(30)
    assert "kernels_with_moods.py" in str(caught.value.__cause__)


def test_a_task_that_kills_its_runners_fails_alone(mesh: Mesh) -> None:
    poison = mesh.submit("moody", mood=CRASHES)
    others = [mesh.submit("moody", mood=10 + number) for number in range(20)]
    with pytest.raises(KernelFailed, match="SIGSEGV"):
        poison.result(60)
    assert [int(future.result(60).value) for future in others] == list(range(10, 30))


def test_a_wrong_parameter_of_a_known_kernel_is_refused_before_it_is_sent(mesh: Mesh) -> None:
    with pytest.raises(BadParameter, match="pockts") as caught:
        mesh.submit("harmonic", pockts=3)
    assert "pockets" in caught.value.hint


def test_what_only_the_agent_knows_is_refused_by_the_agent(mesh: Mesh) -> None:
    with pytest.raises(BadParameter, match="mod"):
        mesh.submit("moody", mod=3).result(10)
    with pytest.raises(UnknownKernel, match="harmonik"):
        mesh.submit("harmonik").result(10)


def test_what_can_never_run_is_refused_at_once_with_the_reason(mesh: Mesh) -> None:
    with pytest.raises(NoDevice, match="lone/cpu0 is cpu"):
        mesh.submit("harmonic", device="gpu").result(10)


def test_what_cannot_start_says_why_when_its_time_is_up(mesh: Mesh) -> None:
    with pytest.raises(NoDevice, match="no runner within"):
        mesh.submit("harmonic", device="elsewhere/cpu0", start_within="300ms").result(10)


def test_each_evaluation_has_its_own_deadline(mesh: Mesh) -> None:
    late = mesh.submit("moody", mood=10, seconds=20.0, deadline="300ms")
    with pytest.raises(DeadlineExceeded):
        late.result(10)


def test_a_deadline_that_cannot_be_met_is_refused_before_anything_runs(mesh: Mesh) -> None:
    began_s = time.monotonic()
    sweep = mesh.map(
        "harmonic", {"coupling": [0.001] * 100_000}, pockets=32, ticks=100_000, deadline="2s"
    )
    with pytest.raises(DeadlineExceeded, match="the job needs about") as refused:
        next(sweep)
    assert refused.value.hint.startswith("could be met: a deadline of")
    assert refused.value.retryable
    one = mesh.submit_alone("harmonic", pockets=32, ticks=1_000_000, deadline="1ms")
    with pytest.raises(DeadlineExceeded, match="on the 1 device that fits"):
        one.result(10)
    assert time.monotonic() - began_s < 10


def test_a_deadline_of_one_evaluation_alone_is_kept(mesh: Mesh) -> None:
    assert int(mesh.submit_alone("moody", mood=10, deadline="20s").result(30).value) == 10


def test_cancelling_what_runs_frees_its_runner(mesh: Mesh) -> None:
    future = mesh.submit("moody", mood=10, seconds=50.0)
    end_s = time.monotonic() + 30
    while not future.running() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert future.running()
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(0)
    assert int(mesh.submit("moody", mood=11).result(30).value) == 11


def test_the_same_key_is_the_same_job_and_finds_its_result_again(
    mesh: Mesh, lone: AgentProcess
) -> None:
    key = f"key-{time.time_ns()}"
    first = mesh.submit("moody", mood=21, idempotency_key=key)
    assert int(first.result(30).value) == 21
    with connect(lone.socket) as other:
        second = other.submit("moody", mood=21, idempotency_key=key)
        assert int(second.result(30).value) == 21
        assert second.job == first.job
        with pytest.raises(JobRejected, match="other parameters"):
            other.submit("moody", mood=22, idempotency_key=key).result(30)


def test_a_retained_result_can_be_fetched_by_its_name(
    mesh: Mesh, lone: AgentProcess, tmp_path: object
) -> None:
    future = mesh.submit("harmonic", pockets=4, ticks=5, retain=True)
    wanted = future.result(30)
    job = future.job
    mesh.close()
    done = lone.run_cli("result", job, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "results.npz") as archive:
        assert archive["avg_coherence"].tobytes() == wanted.avg_coherence.tobytes()


def test_a_killed_runner_costs_nothing_but_a_moment(
    mesh: Mesh, lone: AgentProcess, kill_runners: Callable[[AgentProcess], int]
) -> None:
    futures = [mesh.submit("moody", mood=10 + number, seconds=0.02) for number in range(50)]
    futures[5].result(30)
    assert kill_runners(lone) >= 1
    assert [int(future.result(30).value) for future in futures] == list(range(10, 60))


def test_closing_cancels_what_is_not_done_and_takes_no_more(lone: AgentProcess) -> None:
    mesh = connect(lone.socket)
    future = mesh.submit("moody", mood=10, seconds=50.0)
    assert future.job
    mesh.close()
    with pytest.raises(JobCancelled):
        future.result(5)
    with pytest.raises(UsageError, match="closed"):
        mesh.submit("moody")
    mesh.close()


def test_a_forgotten_connection_lives_as_long_as_its_futures(lone: AgentProcess) -> None:
    assert int(connect(lone.socket).submit("moody", mood=33).result(30).value) == 33
