"""Joules from a real counter through a real runner to what a person reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.node.commands import GetDevices
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

REST_W, CPU_SECOND_J = 20.0, 50.0
"""Of the board in tests/plugins/devices_with_meters.py."""


@pytest.fixture(scope="module")
def metered(spawn_shared: Callable[..., AgentProcess], able: Callable[..., None]) -> AgentProcess:
    agent = spawn_shared("metered", "devices.plugins=devices_with_meters:PLUGIN")
    able(agent, 2)
    return agent


def test_a_real_job_shows_measured_joules_from_the_counter_to_the_report(
    metered: AgentProcess,
    query: Callable[..., Any],
    eventually: Callable[..., Any],
    tmp_path: Path,
) -> None:
    def at_rest() -> bool:
        answer = metered.run_cli("energy", "report", "--json")
        boards = {row["device"]: row for row in json.loads(answer.stdout)["devices"]}
        return (boards["fpga0"]["idle_w"] or 1e9) < REST_W * 1.5

    eventually(at_rest, 40.0, "a board at rest")
    done = metered.run_cli(
        "map", "harmonic", "--sweep", "coupling=0.0001:0.005:8000", "--set", "pockets=64",
        "--set", "ticks=200", "--device", "metered/fpga0", "-o", tmp_path, within_s=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    energy = summary["energy"]
    assert energy["provenance"] == "measured", energy
    assert energy["pending"] == []
    assert energy["low_j"] <= energy["net_j"] < energy["gross_j"] <= energy["high_j"]
    # A runner that computes takes a CPU second a second, or less on a busy machine.
    most_j = summary["seconds"] * (CPU_SECOND_J + REST_W)
    assert 0.1 * most_j < energy["gross_j"] < 1.2 * most_j

    report = json.loads(metered.run_cli("energy", "report", "--by", "job", "--json").stdout)
    (row,) = [row for row in report["rows"] if row["job"] == summary["job"]]
    assert row["gross_j"] == pytest.approx(energy["gross_j"])
    kernels = json.loads(metered.run_cli("energy", "report", "--json").stdout)
    assert kernels["rows"][0]["joules_per_op"] > 0
    devices = query(metered, GetDevices())["devices"]
    learnt = {each["device"]: each["joules"] for each in devices}
    assert learnt["fpga0"]["harmonic"] > 0
    assert learnt["cpu0"] == {}


def test_a_budget_is_kept_to_by_the_only_device_that_measures(metered: AgentProcess) -> None:
    done = metered.run_cli(
        "map", "harmonic", "--sweep", "coupling=0.0001:0.005:200000", "--set", "pockets=64",
        "--set", "ticks=200", "--max-joules", "0.5", within_s=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "is estimated to take" in done.stderr
    assert "metered/fpga0" in done.stderr
