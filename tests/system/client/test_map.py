"""Sweeps through a real agent and real runners."""

import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest

from qallow_agent.base.errors import BadParameter, KernelFailed
from qallow_agent.client.session import Mesh
from qallow_agent.jobs.messages import JobProgress
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

RAISES, CRASHES = 1, 2


def test_a_sweep_gives_every_point_in_order_and_bit_by_bit(mesh: Mesh) -> None:
    eps = np.linspace(0.0001, 0.01, 500)
    results = list(mesh.map("elasticity", {"eps": eps}, ticks=20))
    assert [result.index for result in results] == list(range(500))
    kernel = load_catalog().get("elasticity")
    wanted = run_task(kernel, "reference", {"ticks": 20}, {"eps": eps}, {})
    for name, array in wanted.items():
        assert np.stack([result.values[name] for result in results]).tobytes() == array.tobytes()


def test_a_grid_counts_its_last_axis_fastest(mesh: Mesh) -> None:
    rows = [{"mood": mood} for mood in range(10, 40)]
    values = [int(result.value) for result in mesh.map("moody", iter(rows))]
    assert values == list(range(10, 40))
    fixed = list(mesh.map("moody", {"mood": [10, 11]}, seconds=0.0))
    assert [int(result.value) for result in fixed] == [10, 11]


def test_results_may_come_as_they_finish(mesh: Mesh) -> None:
    moods = list(range(10, 1_010))
    results = list(mesh.map("moody", {"mood": moods}, ordered=False))
    assert sorted(result.index for result in results) == list(range(1_000))
    assert all(int(result.value) == moods[result.index] for result in results)


def test_a_faulty_point_costs_no_other_its_result(mesh: Mesh) -> None:
    moods = [10] * 30 + [RAISES] + [11] * 30
    found: list[int] = []
    with pytest.raises(KernelFailed, match="bad mood"):
        found.extend(each.index for each in mesh.map("moody", {"mood": moods}, ordered=False))
    assert sorted(found) == [index for index in range(61) if index != 30]


def test_ordered_a_faulty_point_is_raised_in_its_turn(mesh: Mesh) -> None:
    results = mesh.map("moody", {"mood": [10, 11, RAISES, 12]})
    assert [int(next(results).value), int(next(results).value)] == [10, 11]
    with pytest.raises(KernelFailed):
        next(results)
    assert list(results) == []


def test_a_point_that_crashes_its_runner_is_found_out(mesh: Mesh) -> None:
    moods = [10] * 10 + [CRASHES] + [11] * 10
    found: list[int] = []
    with pytest.raises(KernelFailed, match="SIGSEGV"):
        found.extend(each.index for each in mesh.map("moody", {"mood": moods}, ordered=False))
    assert sorted(found) == [index for index in range(21) if index != 10]


def test_no_points_are_no_work(mesh: Mesh) -> None:
    results = mesh.map("moody", [])
    assert list(results) == []
    assert results.job == ""


def test_what_cannot_be_swept_is_refused_before_it_is_sent(mesh: Mesh) -> None:
    with pytest.raises(BadParameter, match="pockets"):
        mesh.map("harmonic", {"pockets": [4, 8]})


def test_progress_counts_up_to_the_end(mesh: Mesh) -> None:
    seen: list[JobProgress] = []
    grid = {"mood": range(10, 60)}
    results = mesh.map("moody", grid, seconds=0.02, on_progress=seen.append)
    assert len(list(results)) == 50
    counts = [progress.done for progress in seen]
    assert counts == sorted(counts)
    assert (counts[-1], seen[-1].share) == (50, {"lone/cpu0": 50})
    assert seen[-1].job == results.job


def test_closing_the_iterator_cancels_the_job(mesh: Mesh, lone: AgentProcess) -> None:
    results = mesh.map("moody", {"mood": range(10, 1_000)}, seconds=0.05)
    first = next(results)
    job = results.job
    results.close()
    assert first.index == 0
    assert list(results) == []
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        state = lone.ask("jobs", job)["jobs"][0]["state"]
        if state == "cancelled":
            break
    assert state == "cancelled"


def test_a_killed_runner_loses_no_point_and_doubles_none(
    mesh: Mesh, lone: AgentProcess, kill_runners: Callable[[AgentProcess], int]
) -> None:
    results = mesh.map("moody", {"mood": range(10, 110)}, seconds=0.01, ordered=False)
    found = [next(results)]
    assert kill_runners(lone) >= 1
    found += list(results)
    assert sorted(int(result.value) for result in found) == list(range(10, 110))


def test_a_retained_sweep_is_found_again_by_its_key(mesh: Mesh) -> None:
    key = f"key-{time.time_ns()}"
    grid = {"mood": range(10, 300)}
    first = list(mesh.map("moody", grid, idempotency_key=key))
    again = list(mesh.map("moody", grid, idempotency_key=key))
    assert [int(result.value) for result in first] == [int(result.value) for result in again]
    assert {result.where for result in again} == {"retained"}


def test_several_sweeps_and_single_evaluations_share_one_runner(mesh: Mesh) -> None:
    sweeps = [mesh.map("moody", {"mood": range(10, 60)}) for _ in range(3)]
    single = mesh.submit("moody", mood=77)
    for results in itertools.chain(sweeps):
        assert [int(result.value) for result in results] == list(range(10, 60))
    assert int(single.result(30).value) == 77


def test_a_reader_far_behind_still_gets_everything(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qallow_agent.client.stream.MOST_AHEAD_BYTES", 1_000)
    results = mesh.map("moody", {"mood": range(10, 5_010)})
    time.sleep(0.5)
    assert [int(result.value) for result in results] == list(range(10, 5_010))
