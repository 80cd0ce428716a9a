"""Joules in a mesh: executors with and without meters, jobs that move, an executor that dies."""

from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.message import Report
from qallow_agent.jobs.messages import JobOptions, JobState, ListJobs
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.effort import Order
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Simulation

IDLE_W, BUSY_W = 20.0, 15.0


def metered(tools: SimpleNamespace, names: str, *, without: str = "", seed: int = 0) -> Simulation:
    """Return a settled mesh whose boxes have meters, but for some."""
    simulation = Simulation(tools.plan(seed))
    for name in names:
        watts = {} if name in without else {"idle_w": IDLE_W, "busy_w": BUSY_W}
        simulation.add(name, craft=Craft(**watts))
    simulation.mesh(list(names))
    simulation.settle()
    simulation.run(3.0)
    return simulation


def order(points: int, device: str = "any", **options: Any) -> Order:
    return Order(points=points, slots=6, options=JobOptions(device=device, start_s=60.0, **options))


def row(simulation: Simulation, client: VirtualClient) -> dict[str, Any]:
    answer = simulation.ask(client.box.name, ListJobs(client.job))
    assert isinstance(answer, Report)
    (found,) = answer.document["jobs"]
    return found


def finished(simulation: Simulation, client: VirtualClient) -> dict[str, Any]:
    simulation.until(lambda: client.over, 300.0)
    simulation.run(25.0)
    return row(simulation, client)


def worked_j(simulation: Simulation, names: str) -> float:
    """Return what runners really drew on top of idling."""
    return sum(simulation.boxes[name].running().yard.worked_s() * BUSY_W for name in names)


def test_a_job_is_charged_what_its_runners_really_drew(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "abc")
    before_j = worked_j(simulation, "abc")
    client = simulation.submit("a", order(3000))
    found = finished(simulation, client)
    assert client.state is JobState.SUCCEEDED
    energy = found["energy"]
    drawn_j = worked_j(simulation, "abc") - before_j
    assert drawn_j > 500
    assert found["energy_settled"]
    assert energy["provenance"] == "measured"
    assert energy["net_j"] == pytest.approx(drawn_j, rel=0.02)
    assert energy["low_j"] <= drawn_j <= energy["high_j"]
    assert energy["gross_j"] > energy["net_j"]


def test_two_jobs_at_a_time_add_up_to_what_the_devices_drew(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "ab")
    before_j = worked_j(simulation, "ab")
    clients = [simulation.submit(name, order(2000)) for name in "ab"]
    rows = [finished(simulation, client) for client in clients]
    assert all(each["energy_settled"] for each in rows)
    drawn_j = worked_j(simulation, "ab") - before_j
    assert sum(each["energy"]["net_j"] for each in rows) == pytest.approx(drawn_j, rel=0.02)
    assert {each["energy"]["provenance"] for each in rows} == {"estimated"}


def test_where_no_meter_is_the_joules_are_unknown_and_the_reason_is_given(
    tools: SimpleNamespace,
) -> None:
    simulation = metered(tools, "ab", without="ab")
    found = finished(simulation, simulation.submit("a", order(500)))
    assert found["energy"]["gross_j"] is None
    assert found["energy"]["provenance"] == "unknown"
    assert "has no energy meter" in found["energy"]["why"]
    assert found["energy_settled"]


def test_what_an_executor_had_not_told_when_it_died_is_unknown_and_the_rest_is_kept(
    tools: SimpleNamespace,
) -> None:
    simulation = metered(tools, "abc")
    client = simulation.submit("a", order(6000))
    simulation.run(10.0)
    lost = [lease for lease in row(simulation, client)["leases"] if lease == "c/cpu0"]
    assert lost
    simulation.boxes["c"].kill()
    found = finished(simulation, client)
    assert client.state is JobState.SUCCEEDED
    assert not found["energy_settled"]
    assert found["energy"]["provenance"] == "unknown"
    assert "c/cpu0 has not told all" in found["energy"]["why"]
    assert found["energy"]["high_j"] is None
    assert found["energy"]["low_j"] > worked_j(simulation, "ab") * 0.9


def test_a_job_whose_executor_comes_back_is_charged_for_both_lives(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "ab", seed=3)
    client = simulation.submit("a", order(8000, device="b/cpu0"))
    simulation.run(10.0)
    simulation.boxes["b"].kill()
    simulation.run(30.0)
    simulation.boxes["b"].boot()
    found = finished(simulation, client)
    assert client.state is JobState.SUCCEEDED
    first_life_j = 8.0 * BUSY_W
    assert found["energy"]["net_j"] > worked_j(simulation, "b") * 0.95 + first_life_j
    assert found["energy"]["provenance"] == "unknown"


def test_devices_learn_how_many_joules_an_op_takes_and_tell_the_mesh(
    tools: SimpleNamespace,
) -> None:
    simulation = metered(tools, "ab", without="a")
    finished(simulation, simulation.submit("a", order(2000, device="b/cpu0")))
    b = simulation.boxes["b"].id
    advert = simulation.boxes["a"].node.rooms.adverts.snapshot()[b]
    # A point takes 20 ms; two runners share what the device draws at rest.
    spec = simulation.boxes["a"].node.rooms.catalog.get("harmonic").spec
    point_ops = spec.cost(spec.validate({})).ops
    expected_j = 0.02 * (BUSY_W + IDLE_W / 2) / point_ops
    assert advert.devices[0].joules["harmonic"] == pytest.approx(expected_j, rel=0.1)


def test_the_sums_of_a_desk_are_what_its_jobs_were_charged(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "ab")
    rows = [finished(simulation, simulation.submit("a", order(1000))) for _ in range(2)]
    sums = simulation.boxes["a"].node.rooms.meters.sums
    charged_j = sum(each["energy"]["gross_j"] for each in rows)
    assert sum(each.joules.gross_j for each in sums.work(0.0)) == pytest.approx(charged_j)
    drawn_j = sum(each.drawn_j for each in sums.devices(0.0))
    idle_j = sum(each.idle_j for each in sums.devices(0.0))
    assert drawn_j > idle_j > 0
