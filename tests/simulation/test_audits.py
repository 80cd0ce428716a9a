"""Machines that pass their canaries and lie, in a mesh of complete nodes."""

from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.message import Report
from qallow_agent.ethics.settings import EthicsSettings
from qallow_agent.jobs.messages import JobOptions, JobState
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.node.commands import GetDevices, GetStatus
from qallow_agent.testing.chaos import Chaos
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.effort import Order
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Simulation

JOBS = JobSettings(
    lost_retry_s=2, quarantine_pause_s=1, quarantine_canaries=2, quarantine_audits=10
)


def lying(
    tools: SimpleNamespace, names: str, lies: dict[str, float], *, share: float = 0.2, seed: int = 0
) -> Simulation:
    """Return a settled mesh in which some machines lie."""
    plan = tools.plan(seed)
    rooms = replace(
        plan.rooms, jobs=JOBS, ethics=EthicsSettings(audit_share=share, audit_task_s=1.0)
    )
    simulation = Simulation(replace(plan, rooms=rooms))
    for name in names:
        simulation.add(name, craft=Craft(point_s=0.002, lies=lies.get(name, 0.0)))
    simulation.mesh(list(names))
    simulation.settle()
    simulation.run(3.0)
    return simulation


def order(points: int, verify: int = 1, **options: Any) -> Order:
    wanted = JobOptions(verify=verify, start_s=60.0, **options)
    return Order(points=points, slots=6, options=wanted, audits=verify < 2)


def done(simulation: Simulation, client: VirtualClient, within_s: float = 300.0) -> VirtualClient:
    simulation.until(lambda: client.over, within_s)
    return client


def states(simulation: Simulation, asked: str) -> dict[str, str]:
    answer = simulation.ask(asked, GetDevices())
    assert isinstance(answer, Report)
    return {row["name"]: row["state"] for row in answer.document["devices"]}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_three_devices_deliver_no_lie_and_put_the_liar_into_quarantine(
    tools: SimpleNamespace, seed: int
) -> None:
    simulation = lying(tools, "abcd", {"d": 0.3}, seed=seed)
    client = done(simulation, simulation.submit("a", order(3_000, verify=3)))
    assert client.state is JobState.SUCCEEDED
    assert (client.effort.done, client.effort.lies) == (3_000, 0)
    simulation.run(2.0)
    assert states(simulation, "a")["d"] == "quarantined"


def test_two_devices_call_a_third_only_where_they_differ(tools: SimpleNamespace) -> None:
    simulation = lying(tools, "abc", {"c": 0.05})
    client = done(simulation, simulation.submit("a", order(3_000, verify=2)))
    assert client.state is JobState.SUCCEEDED
    assert (client.effort.done, client.effort.lies) == (3_000, 0)


def test_more_devices_than_there_are_is_refused_at_once(tools: SimpleNamespace) -> None:
    simulation = lying(tools, "ab", {})
    client = done(simulation, simulation.submit("a", order(10, verify=3)), 5.0)
    assert client.state is JobState.FAILED
    assert "verify=3 runs each task on 3 different devices" in client.error
    assert "2 can run harmonic: a/cpu0, b/cpu0" in client.error


def test_the_executor_of_a_replica_may_die(tools: SimpleNamespace) -> None:
    simulation = lying(tools, "abcd", {})
    client = simulation.submit("a", order(4_000, verify=2))
    simulation.run(2.0)
    simulation.boxes["c"].kill()
    done(simulation, client)
    assert client.state is JobState.SUCCEEDED
    assert client.effort.done == 4_000


def test_audits_in_the_background_find_a_liar_and_copies_bring_it_back(
    tools: SimpleNamespace,
) -> None:
    simulation = lying(tools, "abcd", {"d": 0.3})
    craft = simulation.boxes["d"].craft
    client = simulation.submit("a", order(20_000))
    simulation.until(lambda: states(simulation, "a").get("d") == "quarantined", 60.0)
    done(simulation, client)
    craft.lies = 0.0
    for _ in range(12):
        done(simulation, simulation.submit("a", order(6_000)))
        if states(simulation, "a")["d"] == "ok":
            break
    assert states(simulation, "a")["d"] == "ok"


def test_a_desk_leaves_a_liar_alone_whose_own_node_does_not_mind(tools: SimpleNamespace) -> None:
    simulation = lying(tools, "abcd", {"d": 1.0})
    rooms = simulation.boxes["d"].running().node.rooms
    rooms.bench._hearings.hear = lambda *_: []  # type: ignore[method-assign]
    simulation.submit("a", order(20_000))
    simulation.run(20.0)
    answer = simulation.ask("a", GetStatus())
    assert isinstance(answer, Report)
    problems = [each for each in answer.document["problems"] if each["name"] == "d"]
    assert "gets no work from here" in problems[0]["what"]
    assert "agreement 0." in problems[0]["what"]
    assert problems[0]["fix"]
    later = done(simulation, simulation.submit("a", order(3_000)))
    assert "d/cpu0" not in later.effort.dispatcher.share
    assert later.effort.lies == 0


@pytest.mark.parametrize("seed", range(4))
def test_whatever_else_fails_verified_work_ends_and_delivers_no_lie(
    tools: SimpleNamespace, seed: int
) -> None:
    simulation = lying(tools, "abcde", {"e": 0.2}, seed=seed)
    clients = [
        simulation.submit(name, order(4_000, verify=verify, retries=100))
        for name, verify in (("a", 2), ("b", 3), ("c", 1))
    ]
    Chaos(simulation, Random(seed)).torment(20.0)
    simulation.settle()
    assert all(client.over for client in clients)
    assert all(client.effort.lies == 0 for client in clients[:2])
