"""Long runs whose executor is killed: they go on from a state that was kept, to the bit."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

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
