"""Admission for people: what a real agent says of its gate, and what a pause does to their work."""

import json
import subprocess
from collections.abc import Callable

import pytest

from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

Eventually = Callable[..., object]


@pytest.fixture(scope="module", autouse=True)
def ready(lone: AgentProcess, able: Callable[..., None]) -> None:
    able(lone)


@pytest.fixture
def paused(lone: AgentProcess, eventually: Eventually) -> object:
    said = lone.run_cli("pause", "--why", "a backup runs")
    assert said.returncode == 0, said.stderr
    yield said
    assert lone.run_cli("resume").returncode == 0

    def is_open() -> bool:
        document = json.loads(lone.run_cli("status", "--json").stdout)
        return bool(document["admission"]["state"] == "open")

    eventually(is_open)


def test_status_shows_the_score_and_explain_every_signal(lone: AgentProcess) -> None:
    status = lone.run_cli("status")
    assert "gate" in status.stdout
    assert "E 2." in status.stdout or "E 3." in status.stdout
    explained = lone.run_cli("explain", "lone")
    for word in ("SIGNAL", "h0", "c5", "PROVENANCE", "does not apply under this policy"):
        assert word in explained.stdout


@pytest.mark.usefixtures("paused")
def test_a_paused_node_says_so_and_runs_nothing(lone: AgentProcess) -> None:
    document = json.loads(lone.run_cli("status", "--json").stdout)
    (shut,) = document["closed"]
    assert (shut["state"], shut["what"]) == ("forbids", "paused by the owner: a backup runs")
    done = lone.run_cli("run", "moody", within_s=30)
    assert done.returncode == 77
    assert "paused by the owner" in done.stderr
    assert "qallow-agent resume" in done.stderr
    assert done.stdout == ""


@pytest.mark.usefixtures("paused")
def test_a_refusal_is_a_document_for_programs(lone: AgentProcess) -> None:
    done = lone.run_cli("map", "moody", "--sweep", "mood=5:9:5", "--json", within_s=30)
    assert done.returncode == 77
    problem = json.loads(done.stderr.splitlines()[-1])
    assert problem["code"] == "forbidden"
    assert problem["problem"]["type"] == "urn:qallow:stopped:c8"
    assert problem["problem"]["components"][0]["signal"] == "c8"


def test_work_runs_again_after_the_pause(lone: AgentProcess) -> None:
    done: subprocess.CompletedProcess[str] = lone.run_cli("run", "moody", within_s=60)
    assert done.returncode == 0, done.stderr
