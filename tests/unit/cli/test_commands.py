import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.base.ids import Sender
from qallow_agent.base.message import Done, Failure, Message, Report
from qallow_agent.cli.main import COMMANDS, main
from qallow_agent.cli.start import _invite_in
from qallow_agent.jobs.messages import JobCancel, ListJobs
from qallow_agent.node.commands import CreateInvite, GetDevices, GetPeers, GetStatus, LeaveMesh

Serve = Callable[[Callable[[Sender, Message], list[Message]]], Path]

STATUS: dict[str, Any] = {
    "node": "abcdefghijklmnopqrstuvwxyz",
    "name": "box1",
    "mesh": "zyxwvutsrqponmlkjihgfedcba",
    "mesh_name": "home",
    "release": "0.1.0",
    "state": "ready",
    "uptime_s": 200.0,
    "members": {"alive": 2, "suspect": 0, "dead": 1, "left": 0, "known": 3},
    "canaries": {"passed": 2, "failed": 0, "pending": 0},
    "clock": {"offset_s": 0.0001, "bound_s": 0.0005, "synchronized": True, "pace_s": 0.1},
    "work": {"jobs_running": 1, "leases": 2, "slots_busy": 1, "slots_total": 2},
    "problems": [],
    "memory_rss_bytes": 40 << 20,
}
PEERS = {
    "peers": [
        {"node": "abcdefghijklmnopqrstuvwxyz", "name": "box1", "state": "alive",
         "addresses": ["192.0.2.1:7946"], "age_s": 0.1, "rtt_s": None, "offset_s": None,
         "bound_s": None},
        {"node": "bbcdefghijklmnopqrstuvwxyz", "name": "a-box-with-a-very-long-name-indeed",
         "state": "dead", "addresses": ["[2001:db8::1234:5678:9abc]:7946"], "age_s": 93.0,
         "rtt_s": 0.00042, "offset_s": -0.0001, "bound_s": 0.0002},
    ]
}  # fmt: skip
DEVICES = {
    "devices": [
        {"node": "abc", "name": "box1", "device": "cpu0", "kind": "cpu", "model": "AMD EPYC 9R14",
         "state": "ok", "slots": 2, "busy": 1, "memory_bytes": 4 << 30, "why": ""},
        {"node": "abc", "name": "box1", "device": "cuda0", "kind": "cuda", "model": "H200",
         "state": "quarantined", "slots": 1, "busy": 0, "memory_bytes": 139 << 30,
         "why": "no CUDA kernels in this build"},
    ]
}  # fmt: skip


REPORTS = {
    GetStatus: Report("qallow.status/v1", STATUS),
    GetPeers: Report("qallow.peers/v1", PEERS),
    GetDevices: Report("qallow.devices/v1", DEVICES),
    CreateInvite: Report("qallow.invite/v1", {"token": "qj1-abc"}),
}


def answers(_: Sender, message: Message) -> list[Message]:
    if isinstance(message, ListJobs):
        job = {"job": "j-1", "kernel": "harmonic", "state": "running", "points": 10, "done": 4}
        return [Report("qallow.jobs/v1", {"jobs": [job] if message.job in (None, "j-1") else []})]
    if isinstance(message, JobCancel) and message.job == "j-gone":
        return [Failure("job-not-found", "no job 'j-gone'", "see jobs")]
    return [REPORTS.get(type(message), Done())]


def call(path: Path, *words: str) -> int:
    return main([*words, "--socket", str(path)])


def test_status_of_a_healthy_node_exits_with_zero(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(serve(answers), "status") == 0
    out = capsys.readouterr().out
    assert "2 alive of 3 known (1 dead)" in out
    assert "offset 100 us, at most 500 us off" in out


def test_status_shows_what_audits_say_once_there_are_some(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "mesh entropy 0.000000: not enough evidence (7 of 1,000 audits)"
    audited = STATUS | {"audits": {"audits": 7, "text": text}}
    assert call(serve(lambda _, __: [Report("qallow.status/v1", audited)]), "status") == 0
    assert f"audits    {text}" in capsys.readouterr().out


def test_status_shows_what_validators_say_and_how_coherent_the_mesh_is(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    told = STATUS | {
        "validators": {"validated": 41, "objected": 1, "judged": 9, "last_objection": "h1: off"},
        "coherence": {
            "coherence": 750_000,
            "decoherence": 250_000,
            "text": "not enough evidence: 12 of 1,000 audits",
        },
    }
    assert call(serve(lambda _, __: [Report("qallow.status/v1", told)]), "status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "validators  41 decisions validated, 1 objected to, 9 of others judged" in lines
    assert "objection   h1: off" in lines
    wanted = "0.750, decoherence 0.250; not enough evidence: 12 of 1,000 audits"
    assert f"coherence   {wanted}" in lines


def test_a_problem_makes_status_degraded_and_names_the_fix(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"node": "b", "name": "box2", "what": "silent for 9 s", "fix": "is it on?"}
    ill = STATUS | {"problems": [problem]}
    assert call(serve(lambda _, __: [Report("qallow.status/v1", ill)]), "status") == 1
    out = capsys.readouterr().out
    assert "box2: silent for 9 s" in out
    assert "fix: is it on?" in out


def test_status_without_an_agent_is_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "none", "status", "--json") == 2
    assert json.loads(capsys.readouterr().out)["state"] == "down"


def test_other_commands_without_an_agent_exit_with_69(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "none", "peers") == 69
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error:" in captured.err
    assert "fix:" in captured.err


def test_an_error_is_one_json_document_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(tmp_path / "none", "peers", "--json")
    document = json.loads(capsys.readouterr().err)
    assert (document["schema"], document["code"]) == ("qallow.error/v1", "agent-unreachable")


@pytest.mark.parametrize("command", ["peers", "devices", "jobs"])
def test_tables_fit_eighty_columns(
    serve: Serve, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert call(serve(answers), command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert max(len(line) for line in lines) <= 80


@pytest.mark.parametrize("command", ["status", "peers", "devices", "invite", "jobs"])
def test_json_is_one_document_with_its_schema(
    serve: Serve, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert call(serve(answers), command, "--json") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == f"qallow.{command}/v1"


def test_a_device_that_is_not_used_says_why(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    call(serve(answers), "devices")
    assert "no CUDA kernels in this build" in capsys.readouterr().err


def test_an_invite_prints_only_the_command_on_stdout(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Message] = []

    def answer(sender: Sender, message: Message) -> list[Message]:
        asked.append(message)
        return answers(sender, message)

    words = ("invite", "--role", "observer", "--uses", "3", "--ttl", "2h", "--host", "h.example")
    assert call(serve(answer), *words) == 0
    assert capsys.readouterr().out == "qallow-agent start --join qj1-abc\n"
    assert asked[0] == CreateInvite(("observer",), "default", 3, 7200.0, ("h.example",))


def test_leaving_needs_a_yes(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Message] = []

    def answer(sender: Sender, message: Message) -> list[Message]:
        asked.append(message)
        return answers(sender, message)

    assert call(serve(answer), "leave") == 2
    assert asked == []
    assert "--yes" in capsys.readouterr().err
    assert LeaveMesh() not in asked


def test_stopping_an_agent_that_stays_is_said_at_the_deadline(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(serve(answers), "stop", "--timeout", "50ms") == 75
    assert "still finishing" in capsys.readouterr().err


def test_cancelling_says_what_was_cancelled(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    path = serve(answers)
    assert call(path, "cancel", "j-1") == 0
    assert capsys.readouterr().out == "cancelled j-1\n"
    assert call(path, "cancel", "j-gone") == 2
    assert "no job 'j-gone'" in capsys.readouterr().err


def test_an_unknown_job_is_refused(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    path = serve(answers)
    assert call(path, "jobs", "j-1") == 0
    assert call(path, "jobs", "j-2") == 2
    assert "no job 'j-2'" in capsys.readouterr().err


def test_a_mistyped_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statsu"]) == 2
    assert "Did you mean 'status'?" in capsys.readouterr().err


def test_a_bad_duration_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--timeout", "soon"]) == 2
    assert "is not a duration" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: qallow-agent" in out
    assert "Example: " in out or "Commands:" in out


def test_a_wrong_configuration_exits_with_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "validate", "--set", "node.nmae=x"]) == 78
    assert "did you mean node.name?" in capsys.readouterr().err


def test_config_explain_names_the_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QALLOW_MESH__SYNC__PEERS", "3")
    assert main(["config", "explain", "mesh.sync.peers", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["value"], document["source"]) == (3, "env QALLOW_MESH__SYNC__PEERS")
    assert main(["config", "explain", "mesh.sync.peer"]) == 2


def test_config_show_marks_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--changed", "--set", "node.name=ada"]) == 0
    assert 'name = "ada"  # --set' in capsys.readouterr().out


def test_a_token_is_taken_from_one_place_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    assert main(["start", "--join", "qj1-x", "--join-file", "y"]) == 2
    assert main(["start", "--join-file", str(empty)]) == 2
    assert main(["start", "--join-file", str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert "exclude each other" in err
    assert "holds no invite" in err
    assert "cannot be read" in err


@pytest.mark.parametrize("words", [[], ["--help"], ["status", "--help"], ["start", "--help"]])
def test_the_command_line_starts_without_heavy_libraries(words: list[str]) -> None:
    program = (
        f"import sys, qallow_agent.cli.main as cli; cli.main({words!r})\n"
        "heavy = 'numba numpy pynvml zmq cryptography asyncio'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=15
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_usage_error_is_an_error_and_a_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "harmonic", "--devce", "cpu"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: No such option '--devce'")
    assert second == "  fix: see 'qallow-agent run --help'"
    assert main(["run", "--json"]) == 2
    document = json.loads(capsys.readouterr().err)
    assert (document["schema"], document["code"]) == ("qallow.error/v1", "usage")


@pytest.mark.parametrize("wish", ["box2", "CPU", "nonsense", "/cpu0", "box2/"])
def test_a_device_that_cannot_be_one_is_a_usage_error(
    wish: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "harmonic", "--device", wish]) == 2
    assert "nor node/device" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_output_is_no_bug() -> None:
    words = [sys.executable, "-m", "qallow_agent.cli.main", "config", "show"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=15
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: the output cannot be written: No space left on device",
        "  fix: free space, or print elsewhere",
    ]


def test_moments_and_states_of_a_job_are_for_people(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    job = {"job": "j-1", "points": 3_000_000, "done": 997_901, "submitted_s": 1.75e9,
           "leases": [], "result_bytes": 0, "retained": False}  # fmt: skip
    path = serve(lambda _, __: [Report("qallow.jobs/v1", {"jobs": [job]})])
    assert call(path, "jobs", "j-1") == 0
    out = capsys.readouterr().out
    assert "submitted     2025-06-1" in out
    assert "retained      no" in out
    assert "leases" not in out
    assert call(path, "jobs") == 0
    assert "33%" in capsys.readouterr().out


def test_config_changed_is_what_somebody_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("QALLOW_SOCKET", raising=False)
    assert main(["config", "validate"]) == 0
    assert "every setting has its default" in capsys.readouterr().err
    assert main(["config", "show", "--changed", "--set", "node.log_level=debug", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["settings"]) == ["node.log_level"]


def test_the_whole_line_of_an_invite_is_a_token_too() -> None:
    assert _invite_in("qallow-agent start --join qj1-abc\n") == "qj1-abc"
    assert _invite_in(" qj1-abc ") == "qj1-abc"
    assert _invite_in("hello") == "hello"
    assert _invite_in("") == ""
