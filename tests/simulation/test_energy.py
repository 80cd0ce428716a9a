"""Joules in a mesh: executors with and without meters, jobs that move, an executor that dies."""

from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.message import Report
from qallow_agent.jobs.messages import JobOptions, JobState, ListJobs
from qallow_agent.node.commands import GetEnergy
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.effort import Order
from qallow_agent.testing.premises import simulated_catalog
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Simulation

IDLE_W, BUSY_W = 20.0, 15.0
SPEC = simulated_catalog().entry("harmonic").kernel.spec
OPS = SPEC.demand(SPEC.validate({})).ops
"""Of one point."""


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
    assert energy["pending"] == []
    assert energy["provenance"] == "measured"
    assert energy["net_j"] == pytest.approx(drawn_j, rel=0.02)
    assert energy["low_j"] <= drawn_j <= energy["high_j"]
    assert energy["gross_j"] > energy["net_j"]


def test_two_jobs_at_a_time_add_up_to_what_the_devices_drew(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "ab")
    before_j = worked_j(simulation, "ab")
    clients = [simulation.submit(name, order(2000)) for name in "ab"]
    rows = [finished(simulation, client) for client in clients]
    assert all(each["energy"]["pending"] == [] for each in rows)
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
    assert found["energy"]["pending"] == []


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
    assert found["energy"]["pending"] == ["c/cpu0"]
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
    expected_j = 0.02 * (BUSY_W + IDLE_W / 2) / OPS
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


def bill(simulation: Simulation, name: str, by: str, since_s: float = 0.0) -> dict[str, Any]:
    answer = simulation.ask(name, GetEnergy(by, since_s))  # type: ignore[arg-type]
    assert isinstance(answer, Report)
    assert answer.schema == "qallow.energy/v1"
    return answer.document


def test_the_bill_is_the_same_sum_by_job_kernel_node_and_day(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "abc", without="c")
    for device in ("b/cpu0", "c/cpu0"):
        finished(simulation, simulation.submit("a", order(1000, device=device)))
    bills = {by: bill(simulation, "a", by) for by in ("job", "kernel", "node", "day")}
    sums = {by: sum(row["gross_j"] or 0.0 for row in each["rows"]) for by, each in bills.items()}
    assert sums["kernel"] > 300.0
    assert sums == pytest.approx(dict.fromkeys(sums, sums["kernel"]))
    rows = {row["node"]: row for row in bills["node"]["rows"]}
    assert (rows["b"]["provenance"], rows["c"]["provenance"]) == ("measured", "unknown")
    assert rows["c"]["gross_j"] is None
    assert rows["c"]["unknown_s"] == pytest.approx(20.0, rel=0.1)
    (kernel,) = bills["kernel"]["rows"]
    assert (kernel["kernel"], kernel["op"]) == ("harmonic", "float32 operation")
    assert kernel["joules_per_op"] == pytest.approx(rows["b"]["gross_j"] / 1000 / OPS, rel=0.02)


def test_the_bill_shows_what_devices_drew_and_how_much_of_it_nobody_used(
    tools: SimpleNamespace,
) -> None:
    simulation = metered(tools, "ab", without="b")
    simulation.run(60.0)
    (device,) = bill(simulation, "a", "kernel")["devices"]
    assert device["idle_share"] == 1.0
    assert device["idle_w"] == pytest.approx(IDLE_W, rel=1e-3)
    (blind,) = bill(simulation, "b", "kernel")["devices"]
    assert (blind["drawn_j"], blind["provenance"]) == (None, "unknown")
    assert bill(simulation, "a", "kernel", since_s=4e9)["devices"][0]["drawn_j"] is None


def test_the_bill_survives_a_restart_of_the_desk(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "ab")
    finished(simulation, simulation.submit("a", order(1000)))
    before = [bill(simulation, "a", by)["rows"] for by in ("kernel", "job")]
    simulation.stop("a")
    simulation.run(3.0)
    simulation.boxes["a"].boot()
    simulation.run(5.0)
    assert [bill(simulation, "a", by)["rows"] for by in ("kernel", "job")] == before


def test_a_budget_is_refused_where_nobody_measures(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "ab", without="ab")
    client = simulation.submit("a", order(100, max_joules=50.0))
    simulation.until(lambda: client.over, 5.0)
    assert "no device of the mesh measures energy" in client.error


def test_a_job_beyond_its_budget_is_stopped_with_both_numbers(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "ab")
    client = simulation.submit("a", order(20_000, max_joules=400.0))
    simulation.until(lambda: client.over, 60.0)
    simulation.run(10.0)
    assert client.state is JobState.FAILED
    assert "400 J were allowed" in client.error
    found = row(simulation, client)
    assert found["code"] == "budget"
    # What ran until the figures came in: about four seconds of two boxes.
    assert 400.0 < found["energy"]["gross_j"] < 400.0 + 6 * 2 * (IDLE_W + 2 * BUSY_W)


def test_a_budget_below_the_estimate_is_refused_before_anything_runs(
    tools: SimpleNamespace,
) -> None:
    simulation = metered(tools, "ab", without="a")
    finished(simulation, simulation.submit("a", order(2000)))
    drawn_j = worked_j(simulation, "ab")
    client = simulation.submit("a", order(1_000_000, max_joules=5.0))
    simulation.until(lambda: client.over, 5.0)
    assert "is estimated to take" in client.error
    assert "b/cpu0" in client.error
    assert worked_j(simulation, "ab") == drawn_j


def test_work_that_prefers_energy_goes_where_an_op_takes_the_least(
    tools: SimpleNamespace,
) -> None:
    simulation = metered(tools, "abc")
    for name, watts in (("a", 90.0), ("b", 15.0), ("c", 60.0)):
        simulation.boxes[name].craft.busy_w = watts
    for name in "abc":
        finished(simulation, simulation.submit("a", order(1000, device=f"{name}/cpu0")))
    client = simulation.submit("a", Order(points=200, slots=2, options=JobOptions(prefer="energy")))
    simulation.until(lambda: client.over, 60.0)
    assert set(client.effort.dispatcher.share) == {"b/cpu0"}
