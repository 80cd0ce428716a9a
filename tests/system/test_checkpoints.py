"""Long runs whose executor is killed: they go on from a state that was kept, to the bit."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Report
from qallow_agent.client.control import ControlLink
from qallow_agent.jobs.messages import ListJobs
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

Eventually = Callable[..., Any]
TICKS = 6_000_000
"""Some seconds of a small ring."""

LONG = ("run", "harmonic", "--set", f"ticks={TICKS}", "--set", "pockets=8", "--json")


@pytest.fixture
def box(spawn: Callable[..., AgentProcess], able: Callable[..., None]) -> AgentProcess:
    """Return an agent whose device works."""
    agent = spawn("box")
    able(agent)
    return agent


def start(agent: AgentProcess, *words: object) -> tuple[subprocess.Popen[str], str]:
    process = agent.start_cli(*LONG, *words)
    assert process.stderr is not None
    return process, process.stderr.readline().split()[1]


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    values: dict[str, Any] = json.loads(out)["values"]
    return values


def row(agent: AgentProcess, job: str) -> dict[str, Any]:
    with ControlLink(agent.socket) as link:
        report = link.ask(ListJobs(JobId(job)))
    assert isinstance(report, Report)
    return dict(report.document["jobs"][0])


def kept(agent: AgentProcess, job: str) -> list[int]:
    return [each["epoch"] for each in row(agent, job)["checkpoints"]]


def kill_runner(agent: AgentProcess) -> None:
    """Kill the one runner that works, as an out-of-memory killer would."""
    nursery = psutil.Process(agent.pid).children()[0]
    busy = max(nursery.children(), key=lambda each: sum(each.cpu_times()[:2]))
    busy.kill()


def steps(agent: AgentProcess, job: str, what: str) -> list[dict[str, Any]]:
    document = json.loads(agent.run_cli("explain", job, "--graph", "--json").stdout)
    return [node for node in document["nodes"] if node["kind"] == what]


def test_a_killed_run_goes_on_from_its_last_state(
    box: AgentProcess, eventually: Eventually
) -> None:
    process, job = start(box, "--retain", "--checkpoint-every", 100_000)
    eventually(lambda: len(kept(box, job)) > 2, 30, "states are kept")
    kill_runner(box)
    found = finish(process)
    (resumed,) = steps(box, job, "resumed")
    assert 0 < resumed["tick"] < TICKS
    assert row(box, job)["rerun"] == 1
    undisturbed, _ = start(box)
    assert finish(undisturbed) == found


def test_a_run_is_rolled_back_and_replayed_to_the_same_bits(
    box: AgentProcess, eventually: Eventually, complains: Callable[..., None], tmp_path: Path
) -> None:
    process, job = start(box, "--retain", "--checkpoint-every", 100_000)
    finish(process)
    epochs = kept(box, job)
    assert 2 < len(epochs) <= 16
    assert epochs == sorted(epochs)
    replayed = box.run_cli("result", job, "--at-epoch", epochs[-1], "-o", tmp_path, "--json")
    assert replayed.returncode == 0, replayed.stderr
    document = json.loads(replayed.stdout)
    assert document["identical"] is True
    assert document["tick"] == 100_000 * epochs[-1]
    with np.load(tmp_path / "results.npz") as results:
        assert results["tick"].tolist() == [TICKS]
    shown = box.run_cli("result", job, "--at-epoch", epochs[0], "--state", "--json")
    assert json.loads(shown.stdout)["parameters"]["pockets"] == 8
    wrong = box.run_cli("result", job, "--at-epoch", epochs[-1] + 1)
    complains(wrong, 2, "no checkpoint of epoch", f"there are: {epochs[0]}")
    said = box.run_cli("result", job, "--at-epoch", epochs[-1])
    assert "bit-identical to the job's result" in said.stderr
    damaged = next(box.state_dir.rglob(f"*epoch-{epochs[-1]:015d}-*"))
    box.kill()
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    box.start().wait_ready()
    eventually(lambda: "a checkpoint is damaged" in box.log, 10)
    assert kept(box, job) == epochs[:-1]
    older = box.run_cli("result", job, "--at-epoch", epochs[-2], within_s=60)
    assert "bit-identical" in older.stderr, older.stderr


def test_the_run_of_a_vanished_client_goes_on_for_the_next_one(
    box: AgentProcess, eventually: Eventually
) -> None:
    words = ("--key", "mine", "--checkpoint-every", 100_000)
    process, job = start(box, *words)
    eventually(lambda: len(kept(box, job)) > 2, 30, "states are kept")
    process.kill()
    process.communicate()
    again, same = start(box, *words)
    finish(again)
    assert same == job
    # It may go on twice: a runner that is still at the task of the first client gives way.
    resumed = steps(box, job, "resumed")
    assert resumed
    assert all(each["tick"] > 0 for each in resumed)


def test_a_killed_machine_leaves_its_run_to_another(
    box: AgentProcess, spawn: Callable[..., AgentProcess], able: Callable[..., None],
    eventually: Eventually, tmp_path: Path,
) -> None:  # fmt: skip
    worker = spawn("worker", join=box.invite())
    able(box, 2)
    process, job = start(box, "--device", "worker/cpu0", "--checkpoint-every", 100_000)
    eventually(lambda: len(kept(box, job)) > 1, 30, "states are kept")
    assert row(box, job)["leases"] == ["worker/cpu0"]
    worker.kill()
    eventually(lambda: row(box, job)["leases"] == [], 30, "the lease is lost")
    worker.start().wait_ready()
    found = finish(process)
    assert steps(box, job, "resumed")
    assert steps(box, job, "lost")
    drawn = tmp_path / "graph.svg"
    assert box.run_cli("explain", job, "-o", drawn).returncode == 0
    assert "resumed from epoch" in drawn.read_text()
    undisturbed, _ = start(box, "--device", "box/cpu0")
    assert finish(undisturbed) == found
