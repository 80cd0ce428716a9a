"""Each signal, bad alone on a living node: the refusal names it first and says what helps."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from qallow_agent.base.message import Report
from qallow_agent.base.reading import Reading
from qallow_agent.ethics import messages as ethics
from qallow_agent.ethics.audits import Audit
from qallow_agent.ethics.mesh_policy import built_in, encode_policy
from qallow_agent.ethics.settings import EthicsSettings
from qallow_agent.jobs.messages import JobOptions, JobState
from qallow_agent.mesh.wire.kinds import LiveSet
from qallow_agent.node.commands import Explain
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.effort import Order
from qallow_agent.testing.premises import default_rooms
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Plan, Simulation

WATTS = {"idle_w": 20.0, "busy_w": 15.0}
ROOMY = {"power_limit": Reading(300.0, "watts", "simulated"),
         "power": Reading(20.0, "watts", "simulated")}  # fmt: skip


def ratio(value: float) -> Reading:
    return Reading(value, "ratio", "simulated")


def mesh(names: str = "ab", *, rooms: Any = None, **craft: Any) -> Simulation:
    plan = Plan(rooms=rooms or default_rooms(), craft=Craft(margin_c=40.0, **craft))
    simulation = Simulation(plan)
    simulation.mesh(list(names))
    simulation.settle()
    simulation.run(3.0)
    return simulation


def refusal_of(simulation: Simulation, client: VirtualClient) -> dict[str, Any]:
    """Return the refusal that ``run`` and ``explain`` print of a job."""
    assert client.state is JobState.FAILED
    answer = simulation.ask(client.box.name, Explain(str(client.job)))
    assert isinstance(answer, Report)
    found: dict[str, Any] = answer.document["refusal"]
    return found


def named_first(refusal: dict[str, Any], signal: str) -> None:
    """Check that a refusal names a signal first, and gives a way out of it."""
    first = refusal["components"][0]
    assert first["signal"] == signal
    told = re.findall(r"^  [SCH] \d\.\d{3}  (.*)", refusal["text"], re.MULTILINE)
    assert told[0].startswith(f"{signal} {first['name']}: ")
    assert refusal["targets"][0]["signal"] == signal
    kinds = [each["kind"] for each in refusal["fixes"]]
    assert "act" in kinds or "elsewhere" in kinds
    assert refusal["exit_code"] == 75


@dataclass
class Felt:
    """What is bad about a box, and what kind of box it is."""

    craft: dict[str, Any]
    box: dict[str, Any] = field(default_factory=dict)
    order: dict[str, Any] = field(default_factory=dict)


def board(**readings: float) -> dict[str, Any]:
    return {"readings": ROOMY | {name: ratio(value) for name, value in readings.items()}}


PEOPLE = {"desktop": True}
GPU = {"desktop": True, "kind": "cuda"}
SENSED: dict[str, Felt] = {
    "s1": Felt({"readings": ROOMY | {"power": Reading(298.0, "watts", "simulated")}}),
    "s2": Felt({"margin_c": 4.0}),
    "s4.charge": Felt(
        {"machine": {"battery": Reading(0.25, "ratio", "power_supply (discharging)")}}, PEOPLE
    ),
    "c1.cpu": Felt({"felt": {"pressure_cpu": ratio(0.3)}}, PEOPLE),
    "c1.io": Felt({"felt": {"pressure_io": ratio(0.3)}}, PEOPLE),
    "c1.memory": Felt({"felt": {"pressure_memory": ratio(0.08)}}, PEOPLE),
    "c2": Felt({"felt": {"input_age": Reading(20.0, "seconds", "simulated")}}, GPU),
    "c3": Felt({"others": 0.45}, PEOPLE),
    "c4.use": Felt(board(foreign_utilization=0.4), GPU),
    "c4.memory": Felt(
        {
            "readings": ROOMY
            | {
                "memory_available": Reading(0.4e9, "bytes", "simulated"),
                "foreign_memory": Reading(8e9, "bytes", "simulated"),
            }
        },
        GPU,
    ),
    "c5": Felt({"felt": {"lateness": Reading(0.4, "seconds", "simulated")}}),
}


@pytest.mark.parametrize("signal", SENSED)
def test_what_a_sensor_says_is_bad_alone_is_named_first(signal: str) -> None:
    bad = SENSED[signal]
    simulation = mesh("a", **bad.box)
    craft = simulation.boxes["a"].craft
    good = simulation.submit("a", Order(points=10))
    simulation.settle()
    assert good.state is JobState.SUCCEEDED
    for name, value in bad.craft.items():
        setattr(craft, name, value)
    simulation.run(11.0)
    client = simulation.submit("a", Order(points=10, options=JobOptions(start_s=5.0)))
    simulation.run(7.0)
    named_first(refusal_of(simulation, client), signal)


def off_clocks(simulation: Simulation) -> None:
    simulation.run(12.0)


def dissent(simulation: Simulation) -> None:
    box = simulation.boxes["a"]
    places = (f"{box.id}/cpu0", "x/cpu0", "y/cpu0")
    box.node.rooms.audits.book.add(Audit(places, (0, 1, 1), 1), int(box.clocks.read().wall_s))
    simulation.run(2.0)


def strange_views(simulation: Simulation) -> None:
    strangers = b"".join(bytes([number]) * 8 for number in range(1, 9))
    simulation.boxes["a"].tell(simulation.boxes["b"].id, LiveSet(strangers, 60.0))
    simulation.run(1.2)


@pytest.mark.parametrize(
    ("signal", "worsen"), [("h1", off_clocks), ("h2", dissent), ("h4", strange_views)]
)
def test_disharmony_alone_is_named_first(signal: str, worsen: Callable[[Simulation], None]) -> None:
    strict = signal == "h1"
    simulation = Simulation(Plan(strict_clocks=strict, craft=Craft(margin_c=40.0)))
    simulation.mesh(["a", "b"])
    simulation.run(8.0)
    worsen(simulation)
    options = JobOptions(device="a/cpu0", start_s=0.5)
    client = simulation.submit("a", Order(points=10, options=options))
    simulation.run(1.0)
    named_first(refusal_of(simulation, client), signal)


# --- what only a job's own placement has ----------------------------------------------------------


def worked(simulation: Simulation, device: str, points: int = 400) -> VirtualClient:
    client = simulation.submit(
        "a", Order(points=points, slots=2, options=JobOptions(device=device))
    )
    simulation.until(lambda: client.over, 300.0)
    assert client.state is JobState.SUCCEEDED
    simulation.run(15.0)
    return client


def thirsty_pair() -> Simulation:
    """Return two boxes that know what harmonic takes: ``b`` ten times as much as ``a``."""
    simulation = Simulation(Plan())
    simulation.add("a", craft=Craft(margin_c=40.0, idle_w=2.0, busy_w=5.0))
    simulation.add("b", craft=Craft(margin_c=40.0, idle_w=20.0, busy_w=80.0))
    simulation.mesh(["a", "b"])
    simulation.settle()
    simulation.run(3.0)
    for device in ("a/cpu0", "b/cpu0"):
        worked(simulation, device)
    return simulation


def test_a_wasteful_place_refuses_what_a_frugal_one_could_do_as_soon() -> None:
    simulation = thirsty_pair()
    options = JobOptions(device="b/cpu0", start_s=5.0)
    client = simulation.submit("a", Order(points=20, slots=1, options=options))
    simulation.run(7.0)
    refusal = refusal_of(simulation, client)
    named_first(refusal, "s3")
    assert "on a/cpu0" in refusal["text"]
    assert worked(simulation, "any", 40).effort.dispatcher.share.keys() == {"a/cpu0"}


def test_a_wasteful_place_is_taken_while_the_frugal_one_is_full() -> None:
    simulation = thirsty_pair()
    simulation.submit("a", Order(points=4000, slots=2, options=JobOptions(device="a/cpu0")))
    simulation.run(5.0)
    client = simulation.submit("a", Order(points=20, slots=1, options=JobOptions(device="b/cpu0")))
    simulation.run(15.0)
    assert client.state is JobState.SUCCEEDED


def test_an_audited_job_may_need_the_wasteful_place_too() -> None:
    simulation = thirsty_pair()
    client = simulation.submit("a", Order(points=20, slots=2, options=JobOptions(verify=2)))
    simulation.until(lambda: client.over, 60.0)
    assert client.state is JobState.SUCCEEDED


def budgeted(joules: float) -> Simulation:
    rooms = default_rooms()
    own = EthicsSettings(budget_joules=joules)
    return mesh("a", rooms=replace(rooms, ethics=own), **WATTS)


def test_a_job_that_would_overdraw_the_budget_is_refused_and_a_smaller_one_is_not() -> None:
    simulation = budgeted(50_000.0)
    worked(simulation, "any")
    options = JobOptions(start_s=3.0)
    large = simulation.submit("a", Order(points=200_000, slots=2, options=options))
    simulation.run(5.0)
    refusal = refusal_of(simulation, large)
    named_first(refusal, "s4")
    assert "left" in refusal["text"]
    assert worked(simulation, "any", 40).state is JobState.SUCCEEDED


def test_a_spent_budget_closes_the_device_until_the_next_window() -> None:
    simulation = budgeted(1_500.0)
    simulation.run(100.0)
    judged = simulation.boxes["a"].node.governance.judged["cpu0"]
    assert judged.score.culprits[0] == "s4"
    assert judged.refusal is not None


def test_a_budget_goes_on_where_it_was_when_the_agent_starts_again() -> None:
    simulation = budgeted(50_000.0)
    simulation.run(90.0)
    left_j = simulation.boxes["a"].node.rooms.meters.budget.left_j(
        simulation.boxes["a"].clocks.read()
    )
    simulation.faults.kill("a")
    simulation.faults.restart("a")
    simulation.run(1.0)
    box = simulation.boxes["a"]
    again_j = box.node.rooms.meters.budget.left_j(box.clocks.read())
    assert left_j is not None
    assert again_j is not None
    assert again_j < 50_000.0
    assert again_j == pytest.approx(left_j, abs=70 * WATTS["idle_w"])


@pytest.mark.parametrize("dear", [True, False])
def test_a_dear_hour_of_the_schedule_puts_work_off(dear: bool) -> None:  # noqa: FBT001
    simulation = mesh("a")
    hour = int(simulation.boxes["a"].clocks.read().wall_s // 3600) % 24
    prices = [500_000] * 24
    prices[hour if dear else (hour + 12) % 24] = 1_000_000
    policy = encode_policy(msgspec.structs.replace(built_in(), prices=tuple(prices)))
    simulation.ask("a", ethics.SetPolicy(policy))
    simulation.run(3.0)
    client = simulation.submit("a", Order(points=10, options=JobOptions(start_s=3.0)))
    simulation.run(6.0)
    if dear:
        named_first(refusal_of(simulation, client), "s5")
    else:
        assert client.state is JobState.SUCCEEDED


def test_a_device_that_heats_up_is_judged_by_what_it_will_reach() -> None:
    simulation = mesh("a")
    craft = simulation.boxes["a"].craft
    for margin_c in (20.0, 18.0, 16.0, 14.0, 13.0, 12.0):
        craft.margin_c = margin_c
        simulation.run(1.0)
    client = simulation.submit("a", Order(points=10, options=JobOptions(start_s=0.5)))
    simulation.run(1.0)
    judged = simulation.boxes["a"].node.governance.judged["cpu0"]
    assert judged.refusal is None
    refusal = refusal_of(simulation, client)
    named_first(refusal, "s2")
    assert "taken to go on so" in " ".join(refusal["text"].split())
