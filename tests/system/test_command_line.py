"""What every command promises: one JSON document with a schema, exit codes, no stray colour."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.cli.main import COMMANDS
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

Eventually = Callable[..., Any]

DOCUMENTS = {
    "status": (["status"], "qallow.status/v1"),
    "doctor": (["doctor"], "qallow.doctor/v1"),
    "invite": (["invite"], "qallow.invite/v1"),
    "peers": (["peers"], "qallow.peers/v1"),
    "devices": (["devices"], "qallow.devices/v1"),
    "run": (["run", "moody"], "qallow.run/v1"),
    "map": (["map", "moody", "--sweep", "mood=5:9:5"], "qallow.map/v1"),
    "jobs": (["jobs"], "qallow.jobs/v1"),
    "energy": (["energy", "report"], "qallow.energy/v1"),
    "ledger": (["ledger", "tail"], "qallow.ledger/v1"),
    "explain": (["explain", "--kernel", "moody"], "qallow.explain/v1"),
    "kernels": (["kernels", "ls"], "qallow.kernels/v1"),
    "kernels info": (["kernels", "info", "harmonic"], "qallow.kernel/v1"),
    "kernels test": (["kernels", "test", "elasticity"], "qallow.kernels.test/v1"),
    "kernels bench": (
        ["kernels", "bench", "elasticity", "--seconds", "0.01"],
        "qallow.kernels.bench/v1",
    ),
    "policy": (["policy", "show"], "qallow.policy/v1"),
    "policy override": (["policy", "override", "c3", "--for", "1s"], "qallow.policy/v1"),
    "policy preset": (["policy", "set", "--preset", "auto"], "qallow.policy/v1"),
    "pause": (["pause", "--for", "1ms"], "qallow.pause/v1"),
    "resume": (["resume"], "qallow.pause/v1"),
    "config": (["config", "show"], "qallow.config/v1"),
    "config explain": (["config", "explain", "jobs.lease_ttl_s"], "qallow.setting/v1"),
    "config validate": (["config", "validate"], "qallow.validation/v1"),
}


@pytest.fixture(scope="module", autouse=True)
def ready(lone: AgentProcess, able: Callable[..., None]) -> None:
    able(lone)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_json_is_one_document_with_its_schema(lone: AgentProcess, name: str) -> None:
    words, schema = DOCUMENTS[name]
    done = lone.run_cli(*words, "--json", within_s=60)
    document = json.loads(done.stdout)
    assert next(iter(document)) == "schema"
    assert document["schema"] == schema
    assert "Traceback" not in done.stderr


def test_commands_that_end_an_agent_or_a_job_print_documents_too(
    spawn: Callable[..., AgentProcess], able: Callable[..., None], tmp_path: Path
) -> None:
    agent = spawn("brief")
    able(agent)
    assert agent.wait_ready()["schema"] == "qallow.start/v1"
    job = agent.ask("run", "moody", "--retain")["job"]
    assert agent.ask("result", job, "-o", tmp_path / "out")["schema"] == "qallow.result/v1"
    background = agent.ask(
        "map", "moody", "--sweep", "mood=10:2009:2000", "--set", "seconds=0.05", "--detach",
        "-o", tmp_path / "later",
    )  # fmt: skip
    assert background["schema"] == "qallow.detached/v1"
    told = agent.ask("receipt", "show", job, "-o", tmp_path / "job.receipt")
    assert told["schema"] == "qallow.receipt/v1"
    words = ("receipt", "verify", tmp_path / "job.receipt", "--node", told["receipt"]["node"])
    assert agent.ask(*words)["schema"] == "qallow.verified/v1"
    assert agent.ask("cancel", background["job"])["schema"] == "qallow.cancel/v1"
    assert agent.ask("stop")["schema"] == "qallow.stop/v1"
    assert agent.wait_ended() == 0
    agent.start().wait_ready()
    assert agent.ask("leave", "--yes")["schema"] == "qallow.leave/v1"
    assert agent.wait_ended() == 0


def test_every_command_is_covered_here() -> None:
    ended = {"start", "stop", "leave", "revoke", "result", "cancel", "receipt"}
    assert {name.split()[0] for name in DOCUMENTS} | ended == set(COMMANDS)


def test_an_error_is_one_json_document_too(lone: AgentProcess) -> None:
    done = lone.run_cli("run", "harmonc", "--json")
    document = json.loads(done.stderr)
    assert (done.returncode, done.stdout) == (2, "")
    assert document["schema"] == "qallow.error/v1"
    assert document["code"] == "unknown-kernel"
    assert "harmonic" in document["hint"]


def on_a_terminal(agent: AgentProcess, *words: str, **variables: str) -> str:
    """Return what a command writes when its outputs are a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "qallow_agent.cli.main", *words],
        env=agent.command_environment() | {"TERM": "xterm"} | variables,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        parts = []
        with suppress(OSError):  # the last reader of a terminal whose writers are gone
            while part := os.read(leader, 65536):
                parts.append(part)
        os.close(leader)
        process.wait(20)
    return b"".join(parts).decode()


def test_colour_is_for_terminals_without_no_color(lone: AgentProcess) -> None:
    assert "\x1b[" in on_a_terminal(lone, "status")
    assert "\x1b[" not in on_a_terminal(lone, "status", NO_COLOR="1")
    assert "\x1b[" not in on_a_terminal(lone, "run", "harmonc", NO_COLOR="1")
    assert "\x1b[" not in lone.run_cli("status").stdout
    assert "\x1b[" in lone.run_cli("--color", "always", "status").stdout


def test_tables_fit_eighty_columns(lone: AgentProcess) -> None:
    for words in (["peers"], ["devices"], ["jobs"], ["kernels", "ls"], ["status"]):
        lines = lone.run_cli(*words, COLUMNS="80").stdout.splitlines()
        assert lines
        assert max(map(len, lines)) <= 80, words


def test_doctor_fails_only_when_something_is_wrong(
    lone: AgentProcess, qallow: Callable[..., Any], tmp_path: Path
) -> None:
    well = lone.run_cli("doctor", "--set", f"node.state_dir={lone.state_dir}")
    assert well.returncode == 0, well.stdout
    assert "0 failures" in well.stdout
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    key = state / "node.key"
    key.write_text("ab" * 32)
    key.chmod(0o644)
    ill = qallow("doctor", "--set", f"node.state_dir={state}", within_s=60)
    assert ill.returncode == 1
    assert f"chmod 600 {key}" in ill.stdout
    ill = qallow("doctor", "--set", "no.such.key=1", within_s=60)
    assert ill.returncode == 1
    assert "no.such.key" in ill.stdout


def test_doctor_is_stricter_when_asked(qallow: Callable[..., Any], tmp_path: Path) -> None:
    words = ("doctor", "--set", f"node.state_dir={tmp_path / 'none'}")
    assert qallow(*words, within_s=60).returncode == 0
    strict = qallow(*words, "--strict", within_s=60)
    assert strict.returncode == 1, "that no agent runs is a warning"


def test_status_says_whether_an_agent_is_well_degraded_or_down(
    lone: AgentProcess, tmp_path: Path
) -> None:
    assert lone.run_cli("status").returncode == 0
    down = lone.run_cli("status", "--json", "--socket", tmp_path / "none")
    assert (down.returncode, json.loads(down.stdout)["state"]) == (2, "down")


def test_an_agent_that_does_not_answer_is_given_up_in_time(
    spawn: Callable[..., AgentProcess], complains: Callable[..., None]
) -> None:
    agent = spawn("frozen")
    agent.signal(signal.SIGSTOP)
    late = agent.run_cli("peers", "--timeout", "1s", within_s=10)
    complains(late, 69, "did not answer within 1 s", "--timeout")
