"""Executors that die, freeze, drain or stand alone: nothing is lost and nothing counts twice."""

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Report
from qallow_agent.client.control import ControlLink
from qallow_agent.jobs.messages import ListJobs
from qallow_agent.node.commands import GetStatus
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

Eventually = Callable[..., Any]
Spawn = Callable[..., AgentProcess]
States = Callable[[AgentProcess], dict[str, str]]
BOTH = {"owner": "alive", "worker": "alive"}


@pytest.fixture(scope="module")
def pair(
    spawn_shared: Spawn, able: Callable[..., None]
) -> Iterator[tuple[AgentProcess, AgentProcess]]:
    """Return an owner of jobs and another executor, both with working devices."""
    owner = spawn_shared("owner")
    worker = spawn_shared("worker", join=owner.invite())
    able(owner, 2)
    yield owner, worker
    worker.kill()
    owner.kill()


@pytest.fixture(autouse=True)
def whole(
    pair: tuple[AgentProcess, AgentProcess],
    eventually: Eventually,
    able: Callable[..., None],
    states: States,
) -> None:
    """Begin each test with both agents alive and idle."""
    owner, worker = pair
    assert worker.process is not None
    if worker.process.poll() is not None:
        worker.start().wait_ready()
    eventually(lambda: states(owner) == BOTH, 15, "both are alive")
    able(owner, 2)


class Mapping:
    """A map over 400 moods under way, whose points sleep so that they leave the CPU alone."""

    points = 400

    def __init__(self, owner: AgentProcess, folder: Path, seconds: float = 0.02) -> None:
        self.owner = owner
        self.folder = folder
        words = ("map", "moody", "--sweep", f"mood=10:{9 + self.points}:{self.points}")
        self.process = owner.start_cli(
            *words, "--set", f"seconds={seconds}", "-o", folder, "--json"
        )
        assert self.process.stderr is not None
        self.job = self.process.stderr.readline().split()[1]

    def seen(self) -> dict[str, Any]:
        with ControlLink(self.owner.socket) as link:
            report = link.ask(ListJobs(JobId(self.job)))
        assert isinstance(report, Report)
        return dict(report.document["jobs"][0])

    def shared(self) -> bool:
        """Whether both executors have finished points."""
        return len(self.seen()["share"]) == 2

    def finish(self, within_s: float = 60.0) -> dict[str, Any]:
        """Check that every point has its own result, once, and return the summary."""
        try:
            out, err = self.process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        assert (self.process.returncode, "Traceback" in err) == (0, False), err
        summary: dict[str, Any] = json.loads(out)
        assert (summary["done"], summary["failed"]) == (self.points, 0)
        assert sum(summary["share"].values()) == self.points
        with np.load(self.folder / "results.npz") as results:
            moods = np.arange(10, 10 + self.points)
            assert np.array_equal(results["mood"], moods)
            assert np.array_equal(results["value"], moods.astype("f4"))
        return summary


def test_an_executor_killed_in_the_middle_loses_nothing_and_repeats_nothing(
    pair: tuple[AgentProcess, AgentProcess], eventually: Eventually, tmp_path: Path
) -> None:
    owner, worker = pair
    work = Mapping(owner, tmp_path / "out")
    eventually(work.shared, 30, "both have finished points")
    before = work.seen()
    worker.kill()
    killed_s = time.monotonic()
    eventually(
        lambda: work.seen()["share"]["owner/cpu0"] > before["share"]["owner/cpu0"] + 10,
        10,
        "the work goes on",
    )
    summary = work.finish()
    rest_s = (work.points - before["done"]) * 0.02
    assert time.monotonic() - killed_s < rest_s + 20, "it was re-run within a few seconds"
    assert set(summary["share"]) == {"owner/cpu0", "worker/cpu0"}


def test_an_executor_killed_with_all_the_work_is_replaced_within_seconds(
    pair: tuple[AgentProcess, AgentProcess],
    eventually: Eventually,
    tmp_path: Path,
    query: Callable[..., Any],
) -> None:
    owner, worker = pair
    words = ("run", "moody", "--set", "mood=5", "--set", "seconds=3", "--device", "cpu", "--json")
    running = [owner.start_cli(*words, "-o", tmp_path / name) for name in ("one", "two")]
    eventually(
        lambda: query(worker, GetStatus())["work"]["slots_busy"] == 1, 15, "the worker works"
    )
    worker.kill()
    where = set()
    for process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        where.add(json.loads(out)["where"])
    assert where == {"owner/cpu0"}


def test_the_owners_runner_killed_in_the_middle_loses_nothing(
    pair: tuple[AgentProcess, AgentProcess], eventually: Eventually, tmp_path: Path
) -> None:
    owner, _ = pair
    work = Mapping(owner, tmp_path / "out")
    eventually(work.shared, 30, "both have finished points")
    nursery = psutil.Process(owner.pid).children()[0]
    for runner in nursery.children():
        runner.kill()
    assert set(work.finish()["share"]) == {"owner/cpu0", "worker/cpu0"}
    assert owner.ask("status")["state"] == "ready"


def test_the_owners_nursery_killed_in_the_middle_loses_nothing(
    pair: tuple[AgentProcess, AgentProcess], eventually: Eventually, tmp_path: Path
) -> None:
    owner, _ = pair
    work = Mapping(owner, tmp_path / "out")
    eventually(work.shared, 30, "both have finished points")
    psutil.Process(owner.pid).children()[0].kill()
    work.finish()
    eventually(lambda: owner.ask("status")["state"] == "ready", 30, "the owner is well again")


def test_an_executor_frozen_for_three_seconds_keeps_its_work(
    pair: tuple[AgentProcess, AgentProcess],
    eventually: Eventually,
    tmp_path: Path,
    states: States,
) -> None:
    owner, worker = pair
    work = Mapping(owner, tmp_path / "out")
    eventually(work.shared, 30, "both have finished points")
    mark = len(owner.log)
    worker.signal(signal.SIGSTOP)
    end_s = time.monotonic() + 3
    while time.monotonic() < end_s:
        assert states(owner)["worker"] != "dead"
    worker.signal(signal.SIGCONT)
    work.finish()
    assert '"member.dead"' not in owner.log[mark:]


def test_sigterm_lets_a_running_task_finish_and_says_goodbye(
    pair: tuple[AgentProcess, AgentProcess], eventually: Eventually, states: States
) -> None:
    owner, worker = pair
    mark = worker.pid
    words = ("run", "moody", "--set", "mood=5", "--set", "seconds=2", "--set", f"mark={mark}")
    process = owner.start_cli(*words, "--device", "worker/cpu0", "--json")
    made = f"qallow-scratch-*/*/qallow-mood-{mark}"
    eventually(lambda: any(Path(tempfile.gettempdir()).glob(made)), 15, "the task runs")
    worker.signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["where"] == "worker/cpu0"
    assert worker.wait_ended(15) == 0
    eventually(lambda: states(owner)["worker"] == "left", 5, "the worker has left")
    assert '"agent.draining"' in worker.log


def test_an_agent_that_stops_in_the_middle_of_a_map_hands_its_work_over(
    pair: tuple[AgentProcess, AgentProcess], eventually: Eventually, tmp_path: Path
) -> None:
    owner, worker = pair
    work = Mapping(owner, tmp_path / "out")
    eventually(work.shared, 30, "both have finished points")
    assert worker.stop(15) == 0
    assert work.finish()["share"]["worker/cpu0"] > 0


def test_an_agent_that_is_killed_leaves_no_process_behind(
    pair: tuple[AgentProcess, AgentProcess], eventually: Eventually, tmp_path: Path
) -> None:
    owner, worker = pair
    work = Mapping(owner, tmp_path / "out")
    eventually(work.shared, 30, "both have finished points")
    family = psutil.Process(worker.pid).children(recursive=True)
    assert len(family) > 1
    worker.kill()
    eventually(lambda: not any(map(_lives, family)), 10, "its runners are gone too")
    work.finish()


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_cold_restart_offline_serves_local_work(
    pair: tuple[AgentProcess, AgentProcess],
) -> None:
    owner, worker = pair
    owner.kill()
    node = worker.ask("status")["node"]
    worker.kill()
    began_s = time.monotonic()
    assert worker.start().wait_ready()["node"] == node
    document = worker.ask("run", "harmonic", "--set", "ticks=10")
    assert document["where"] == "worker/cpu0"
    assert time.monotonic() - began_s < 20, "local work within ten seconds, on a busy box twenty"
    owner.start().wait_ready()


def test_jobs_of_an_agent_that_restarts_are_not_left_running(
    pair: tuple[AgentProcess, AgentProcess], eventually: Eventually, tmp_path: Path
) -> None:
    owner, _ = pair
    work = Mapping(owner, tmp_path / "out")
    eventually(lambda: work.seen()["done"] > 0, 30, "points are done")
    owner.kill()
    _, err = work.process.communicate(timeout=30)
    assert work.process.returncode in {69, 75}, err
    assert "Traceback" not in err
    assert json.loads(err.splitlines()[-1])["hint"]
    owner.start().wait_ready()
    job = work.seen()
    assert job["state"] == "failed"
    assert "restart" in job["error"]
