"""``explain``: what a node says of jobs, nodes and orders, asked of a simulated mesh."""

from typing import Any

import pytest

from qallow_agent.base.errors import BadParameter, JobNotFound, UnknownKernel, UsageError
from qallow_agent.base.message import Report
from qallow_agent.jobs.messages import JobOptions, SubmitJob
from qallow_agent.node.commands import Explain
from qallow_agent.testing.effort import Order
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Simulation

SECONDS_OF_A_POINT = 0.02


@pytest.fixture(scope="module")
def mesh() -> Simulation:
    simulation = Simulation()
    simulation.add("b", craft=Craft(point_s=10 * SECONDS_OF_A_POINT))
    simulation.add("ill", craft=Craft(sick=True))
    simulation.mesh(["a", "b", "ill"])
    simulation.settle()
    simulation.run(5.0)
    return simulation


def ask(mesh: Simulation, **query: Any) -> dict[str, Any]:
    answer = mesh.ask("a", Explain(**query))
    assert isinstance(answer, Report)
    assert answer.schema == answer.document["schema"] == "qallow.explain/v1"
    return answer.document


def order(points: int = 100, slots: int = 2, **options: Any) -> SubmitJob:
    return SubmitJob("harmonic", points, {}, slots, JobOptions(**options))


def test_a_job_is_explained_while_it_runs_and_after(mesh: Simulation) -> None:
    client = mesh.submit("a", Order(points=200, slots=2))
    mesh.run(0.5)
    living = ask(mesh, subject=client.job)
    (decision,) = living["decisions"]
    assert living["state"] == "running"
    assert [each["where"] for each in decision["verdicts"] if each["slots"]] == ["a/cpu0"]
    by_name = {each["where"]: each for each in decision["verdicts"]}
    assert "times the best" in by_name["b/cpu0"]["change"]
    assert by_name["ill/cpu0"]["score"] is None
    assert "is lost" in by_name["ill/cpu0"]["why"]
    assert [each["what"] for each in living["passages"]] == ["granted", "granted"]
    assert {each["where"] for each in living["passages"]} == {"a/cpu0"}
    mesh.settle()
    over = ask(mesh, subject=client.job)
    assert over["state"] == "succeeded"
    assert over["decisions"] == living["decisions"]


def test_a_lost_executor_is_part_of_the_story(mesh: Simulation) -> None:
    client = mesh.submit("b", Order(points=600, slots=4, options=JobOptions(device="a/cpu0")))
    mesh.run(1.0)
    yard = mesh.boxes["a"].running().yard
    yard.crash(next(iter(yard.runners)))
    mesh.settle()
    answer = mesh.ask("b", Explain(client.job or ""))
    assert isinstance(answer, Report)
    lost = [each for each in answer.document["passages"] if each["what"] == "lost"]
    assert lost[0]["where"] == "a/cpu0"
    assert "SIGKILL" in lost[0]["why"]


def test_a_node_is_explained_by_name_and_by_id(mesh: Simulation) -> None:
    by_name = ask(mesh, subject="ill")
    assert by_name == ask(mesh, subject=mesh.boxes["ill"].id)
    (device,) = by_name["devices"]
    assert device["state"] == "lost"
    assert "0.78 is not 0.79" in device["why"]
    (own,) = ask(mesh, subject="a")["devices"]
    assert own["canary"] == "every kernel gave its known answer"
    assert set(own["rates"]) == {"elasticity", "harmonic"}


def test_an_order_is_explained_without_being_placed(mesh: Simulation) -> None:
    jobs = len(mesh.clients)
    document = ask(mesh, order=order(points=100, slots=8))
    assert document["needs_s"] == pytest.approx(1.0, rel=0.4)
    (decision,) = document["decisions"]
    assert sum(each["slots"] for each in decision["verdicts"]) == 4
    assert len(mesh.clients) == jobs


def test_a_hopeless_deadline_is_said_to_be_so(mesh: Simulation) -> None:
    document = ask(mesh, order=order(points=10**6, slots=8, deadline_s=1.0))
    assert "its deadline is 1 s" in document["refused"]
    assert document["hint"].startswith("could be met: a deadline of")


def test_what_nothing_can_run_is_said_to_be_so(mesh: Simulation) -> None:
    document = ask(mesh, order=order(device="gpu"))
    assert "is cpu and gpu is wanted" in document["decisions"][0]["reason"]
    assert document["needs_s"] is None


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"subject": "job-none"}, JobNotFound),
        ({"subject": "nobody"}, JobNotFound),
        ({}, UsageError),
        ({"order": SubmitJob("unheard-of", 1, {}, 1)}, UnknownKernel),
        ({"order": SubmitJob("harmonic", 1, {"ticks": -1}, 1)}, BadParameter),
    ],
)
def test_what_cannot_be_explained_says_why(
    mesh: Simulation, query: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        ask(mesh, **query)
