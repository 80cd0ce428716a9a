"""Policies through the command line, with real agents: set, spread, paused, restarted, refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

Eventually = Callable[..., Any]
EVIDENCE = '["n", "cpu0", "job-1", 1795000000000, [{}]]'
ITEM = '["{}", {}, "{}", 1795000000000, "test", "measured", ""]'


def evidence(c3: int) -> str:
    """Return a placement on a healthy box where others use some of the CPUs."""
    items = [
        ITEM.format(signal, value, unit)
        for signal, value, unit in (
            ("s1", 900_000, "ratio"),
            ("s2", 40_000_000, "celsius"),
            ("c1.cpu", 0, "ratio"),
            ("c3", c3, "ratio"),
            ("h.fresh", 2_000_000, "count"),
        )
    ]
    return EVIDENCE.format(", ".join(items))


def test_a_mesh_s_policy_is_set_once_and_reaches_everybody(
    spawn: Callable[..., AgentProcess], eventually: Eventually, tmp_path: Path
) -> None:
    first = spawn("first")
    first.wait_ready()
    second = spawn("second", join=first.ask("invite")["token"])
    second.wait_ready()
    file = tmp_path / "mesh.toml"
    file.write_text(first.run_cli("policy", "show", "--toml").stdout)
    assert first.ask("policy", "validate", file)["valid"] is True
    file.write_text(file.read_text().replace("threshold = 2.900", "threshold = 2.950"))
    assert first.ask("policy", "set", file)["version"] == 1

    def adopted() -> bool:
        return bool(second.ask("policy", "show")["version"] == 1)

    eventually(adopted, within_s=20)
    shown = second.ask("policy", "show")
    assert shown["threshold"] == {"value": 2.95, "from": "mesh v1"}
    refused = second.run_cli("policy", "set", file)
    assert refused.returncode == 77
    assert "fix: set it on first" in refused.stderr


def test_what_an_owner_sets_survives_a_restart(
    spawn: Callable[..., AgentProcess], tmp_path: Path
) -> None:
    agent = spawn("owned")
    agent.wait_ready()
    own = tmp_path / "own.toml"
    own.write_text("threshold = 2.95\n[ramps]\nc3 = { bad = 0.3, good = 0.1 }\n")
    agent.ask("policy", "set", "--local", own)
    agent.ask("policy", "set", "--preset", "field")
    agent.ask("policy", "override", "c5", "--for", "2h", "--why", "demo")
    agent.ask("pause", "--why", "a call")
    agent.ask("stop")
    agent.wait_ended()
    agent.start().wait_ready()
    shown = agent.ask("policy", "show")
    assert shown["threshold"] == {"value": 2.95, "from": "owner"}
    own.write_text(agent.run_cli("policy", "show", "--toml", "--local").stdout)
    assert "c3 = { bad = 0.3, good = 0.1 }" in own.read_text()
    assert agent.ask("policy", "validate", "--local", own)["valid"] is True
    assert shown["preset"] == {"name": "field", "wanted": "field", "from": "owner"}
    by_name = {each["signal"]: each for each in shown["signals"]}
    assert by_name["c3"]["from"] == "owner"
    assert by_name["c5"]["state"] == "overridden"
    text = agent.run_cli("status").stdout
    assert "paused until resumed: a call; end it: qallow-agent resume" in text
    assert "c5 does not count until" in text
    assert "c5" in agent.run_cli("policy", "show").stdout
    assert agent.ask("resume")["pause"] is None
    assert agent.ask("policy", "override", "c5", "--end")["overrides"] == []
    assert agent.run_cli("policy", "set", "--local", "").returncode == 0
    assert agent.ask("policy", "show")["threshold"]["from"] == "built-in"


def test_recorded_evidence_says_what_a_policy_would_change(
    lone: AgentProcess, tmp_path: Path
) -> None:
    recorded = tmp_path / "decisions.jsonl"
    lines = [evidence(c3) for c3 in (0, 200_000, 260_000, 490_000)]
    recorded.write_text("\n".join([*lines[:3], "", json.dumps({"evidence": json.loads(lines[3])})]))
    file = tmp_path / "mesh.toml"
    file.write_text("[ramps]\nc3 = { bad = 0.3, good = 0.1 }\n")
    words = ("policy", "test", file, "--replay", recorded, "--preset", "desktop")
    found = lone.ask(*words)
    assert (found["count"], found["changed"]) == (4, 2)
    assert found["before"] == {"admitted": 3, "deferred": 0, "refused": 1, "refused_share": 0.25}
    assert found["after"]["refused"] == 3
    assert [each["line"] for each in found["changes"]] == [2, 3]
    assert found["changes"][0]["culprits"] == ["c3"]
    assert "refused then  75.0%" in lone.run_cli(*words).stdout
    recorded.write_text("[1]\n")
    refused = lone.run_cli(*words)
    assert refused.returncode == 78
    assert "decisions.jsonl, line 1" in refused.stderr


def test_what_a_node_judged_by_can_be_recorded_and_replayed(
    spawn: Callable[..., AgentProcess], tmp_path: Path
) -> None:
    agent = spawn("alone")
    agent.wait_ready()
    file, recorded = tmp_path / "mesh.toml", tmp_path / "decisions.jsonl"
    file.write_text(agent.run_cli("policy", "show", "--toml").stdout)
    document = agent.ask("policy", "record", recorded, "--for", "3s")
    lines = recorded.read_text().splitlines()
    assert document["placements"] == len(lines) >= 1
    outcome = agent.ask("policy", "test", file, "--replay", recorded)
    assert (outcome["count"], outcome["changed"]) == (len(lines), 0)
    nowhere = agent.run_cli("policy", "record", tmp_path / "no" / "file", "--for", "1s")
    assert nowhere.returncode == 1
    assert "cannot write" in nowhere.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["policy", "set"], 2, "takes one of"),
        (["policy", "set", "no.toml"], 78, "cannot be read"),
        (["policy", "set", "--preset", "boat"], 2, "boat"),
        (["policy", "override", "c3"], 2, "needs an end"),
        (["policy", "override", "c3", "--for", "25h"], 2, "cannot last"),
        (["policy", "override", "c8", "--for", "1h"], 2, "cannot be overridden"),
        (["policy", "override", "zz", "--for", "1h"], 2, "cannot be overridden"),
        (["policy", "override", "c3", "--for", "soon"], 2, "soon"),
        (["policy", "validate", "no.toml"], 78, "cannot be read"),
        (["policy", "test", "no.toml"], 2, "replay"),
        (["pause", "--for", "1e999h"], 2, "nobody can pause"),
        (["pause", "--why", "x" * 300], 2, "reason"),
    ],
)
def test_wrong_inputs_are_refused_with_a_fix(
    lone: AgentProcess, complains: Callable[..., None], words: list[str], code: int, said: str
) -> None:
    complains(lone.run_cli(*words), code, said)
