from typing import Any

import pytest

from qallow_agent.base.message import Message, Report
from qallow_agent.node.commands import GetDevices, GetDiagnosis, GetPeers, GetStatus
from qallow_agent.testing.effort import Order
from qallow_agent.testing.simulation import Plan, Simulation


@pytest.fixture
def mesh() -> Simulation:
    simulation = Simulation(Plan(seed=11))
    simulation.mesh(["a", "b", "c"])
    simulation.run(5.0)
    return simulation


def ask(mesh: Simulation, question: Message) -> dict[str, Any]:
    answer = mesh.ask("a", question)
    assert isinstance(answer, Report)
    return answer.document


def test_a_healthy_mesh_says_so(mesh: Simulation) -> None:
    status = ask(mesh, GetStatus())
    assert (status["state"], status["problems"]) == ("ready", [])
    assert (status["members"]["alive"], status["members"]["known"]) == (3, 3)
    assert status["canaries"] == {"passed": 1, "failed": 0, "pending": 0}
    assert 0 < status["clock"]["bound_s"] < 1


def test_a_dead_member_is_a_problem_with_a_fix(mesh: Simulation) -> None:
    mesh.faults.kill("b")
    mesh.run(6.0)
    status = ask(mesh, GetStatus())
    assert status["state"] == "degraded"
    [problem] = status["problems"]
    assert (problem["name"], problem["what"]) == ("b", "is gone")
    assert problem["fix"]


def test_a_revoked_member_is_shown_as_revoked_and_is_no_problem(mesh: Simulation) -> None:
    mesh.revoke("a", "c")
    states = {peer["name"]: peer["state"] for peer in ask(mesh, GetPeers())["peers"]}
    assert states == {"a": "alive", "b": "alive", "c": "revoked"}
    mesh.run(10.0)
    assert ask(mesh, GetStatus())["problems"] == []


def test_peers_tell_roles_clock_and_age(mesh: Simulation) -> None:
    peers = {peer["name"]: peer for peer in ask(mesh, GetPeers())["peers"]}
    assert peers["a"]["self"]
    assert peers["b"]["roles"] == ["worker", "submitter"]
    assert peers["b"]["rtt_s"] > 0
    assert 0 < peers["b"]["bound_s"] < 0.01
    assert peers["b"]["age_s"] > 0
    assert peers["b"]["expires_s"] > 86_400


def test_devices_of_every_member_are_listed_with_what_is_busy(mesh: Simulation) -> None:
    mesh.submit("a", Order(points=100_000, slots=6))
    mesh.run(3.0)
    rows = ask(mesh, GetDevices())["devices"]
    assert {row["name"] for row in rows} == {"a", "b", "c"}
    assert all(row["state"] == "ok" for row in rows)
    assert any(row["busy"] for row in rows)
    assert ask(mesh, GetStatus())["work"]["jobs_running"] == 1


def test_a_diagnosis_names_ports_kernels_and_peers(mesh: Simulation) -> None:
    diagnosis = ask(mesh, GetDiagnosis())
    assert diagnosis["peers_alive"] == 2
    assert "harmonic" in diagnosis["kernels"]
    assert diagnosis["contact"]["stream_port"] > 0
    assert diagnosis["store"] == ""
