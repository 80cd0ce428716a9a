"""Governance: what a simulated node makes of its readings, its owner's word and its peers."""

from typing import Any

import pytest

from qallow_agent.base.message import Report
from qallow_agent.ethics.audits import Audit
from qallow_agent.ethics.gate import Admission, Running
from qallow_agent.ethics.messages import (
    OverridePolicy,
    PauseWork,
    ResumeWork,
    SetOwnerPolicy,
)
from qallow_agent.ethics.owner import OwnerPolicy, encode_owner
from qallow_agent.ethics.records import RECORD_BYTES, job_hash, unpack
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.node.commands import Explain, GetStatus
from qallow_agent.testing.effort import Order
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Plan, Simulation


def mesh(names: str = "ab", **craft: Any) -> Simulation:
    simulation = Simulation(Plan(craft=Craft(margin_c=40.0, **craft)))
    simulation.mesh(list(names))
    simulation.settle()
    simulation.run(3.0)
    return simulation


def status(simulation: Simulation, name: str) -> dict[str, Any]:
    answer = simulation.ask(name, GetStatus())
    assert isinstance(answer, Report)
    return answer.document


def explained(simulation: Simulation, name: str, subject: str) -> dict[str, Any]:
    answer = simulation.ask(name, Explain(subject))
    assert isinstance(answer, Report)
    return answer.document


def decisions(simulation: Simulation, name: str) -> list[Any]:
    """Return the records in a node's own log."""
    log = simulation.boxes[name].node.rooms.ledger
    simulation.run(2.0)
    found = []
    for index in range(log.size):
        leaf = parse_leaf(log.entry(index))
        if leaf.kind is LeafKind.DECISIONS:
            body = leaf.body[8:]
            found += [
                unpack(body[at : at + RECORD_BYTES]) for at in range(0, len(body), RECORD_BYTES)
            ]
    return found


def test_a_box_that_is_well_is_open_and_says_what_it_cannot_measure() -> None:
    simulation = mesh()
    own = status(simulation, "a")["admission"]
    assert (own["state"], own["e"], own["culprits"]) == ("open", 2970, ["s0", "", ""])
    assert status(simulation, "a")["closed"] == []
    signals = explained(simulation, "a", "a")["devices"][0]["signals"]
    by_name = {each["signal"]: each for each in signals}
    assert by_name["s2"]["shown"] == "40 C"
    assert by_name["h4"]["thousandths"] == 1000
    assert by_name["c3"]["why"] == "does not apply under this policy"


def test_a_node_that_never_had_peers_is_solo_and_open() -> None:
    simulation = mesh("a")
    assert status(simulation, "a")["admission"]["solo"]
    assert status(simulation, "a")["admission"]["h"] == 1000


def test_a_pause_ends_all_leases_within_its_step_and_kills_what_runs() -> None:
    simulation = mesh()
    simulation.submit("a", Order(points=2000))
    simulation.run(3.0)
    b = simulation.boxes["b"]
    assert len(b.node.rooms.bench.leases()) == 2
    simulation.ask("b", PauseWork(why="backup"))
    assert len(b.node.rooms.bench.leases()) == 0
    assert b.node.governance.judged["cpu0"].verdict.running is Running.STOP
    simulation.run(0.5)
    assert not any(runner.busy() for runner in b.running().yard.runners.values())
    (shut,) = status(simulation, "a")["closed"]
    assert (shut["name"], shut["state"]) == ("b", "forbids")
    assert shut["what"] == "paused by the owner: backup"


def test_a_denied_job_fails_at_once_with_all_of_why_and_never_starts() -> None:
    simulation = mesh("a")
    simulation.ask("a", PauseWork(why="lunch"))
    client = simulation.submit("a", Order(points=20))
    simulation.run(1.0)
    assert client.over
    assert client.effort.done == 0
    record = explained(simulation, "a", str(client.job))
    assert record["state"] == "failed"
    refusal = record["refusal"]
    assert (refusal["code"], refusal["exit_code"], refusal["job"]) == ("stopped", 77, client.job)
    assert "qallow-agent resume" in refusal["text"]
    assert refusal["node"] == "a"


def test_work_goes_on_when_the_owner_resumes() -> None:
    simulation = mesh("a")
    client = simulation.submit("a", Order(points=400))
    simulation.run(1.0)
    simulation.ask("a", PauseWork())
    simulation.run(5.0)
    done = client.effort.done
    assert not client.over
    simulation.ask("a", ResumeWork())
    simulation.settle()
    assert client.effort.done == 400 > done


def test_a_hot_device_is_refused_with_the_signal_and_an_override_opens_it() -> None:
    simulation = mesh("a")
    simulation.boxes["a"].craft.margin_c = 5.0
    simulation.run(3.0)
    judged = simulation.boxes["a"].node.governance.judged["cpu0"]
    assert judged.verdict.admission is Admission.REFUSE
    assert judged.verdict.running is Running.THROTTLE
    assert judged.score.culprits[0] == "s2"
    client = simulation.submit("a", Order(points=20))
    simulation.run(1.0)
    assert client.error.startswith("no device can run harmonic now: a/cpu0 refuses new work")
    simulation.ask("a", OverridePolicy("s2", 600.0, "a test"))
    simulation.run(8.0)
    again = simulation.submit("a", Order(points=20))
    simulation.settle()
    assert again.effort.done == 20


def test_a_deferred_job_waits_says_why_and_starts_when_the_gate_opens() -> None:
    simulation = mesh("a")
    simulation.boxes["a"].craft.margin_c = 8.5
    simulation.run(3.0)
    client = simulation.submit("a", Order(points=20, options=JobOptions(start_s=60.0)))
    simulation.run(5.0)
    assert not client.over
    assert client.effort.done == 0
    simulation.boxes["a"].craft.margin_c = 30.0
    simulation.settle()
    assert client.effort.done == 20


def test_a_deferred_job_that_waited_long_enough_fails_with_the_refusal() -> None:
    simulation = mesh("a")
    simulation.boxes["a"].craft.margin_c = 8.5
    simulation.run(3.0)
    client = simulation.submit("a", Order(points=20, options=JobOptions(start_s=5.0)))
    simulation.run(7.0)
    refusal = explained(simulation, "a", str(client.job))["refusal"]
    assert (refusal["code"], refusal["exit_code"]) == ("deferred", 75)
    assert refusal["components"][0]["signal"] == "s2"


def test_jobs_go_where_the_gate_is_open() -> None:
    simulation = mesh()
    simulation.boxes["a"].craft.margin_c = 3.0
    simulation.run(3.0)
    client = simulation.submit("a", Order(points=100))
    simulation.settle()
    assert list(client.effort.dispatcher.share) == ["b/cpu0"]


def test_people_and_their_programs_count_on_a_desktop_only() -> None:
    simulation = mesh("a", others=0.9)
    assert status(simulation, "a")["admission"]["state"] == "open"
    simulation.boxes["a"].craft.desktop = True
    simulation.run(3.0)
    own = status(simulation, "a")["admission"]
    assert (own["state"], own["culprits"][1]) == ("refuses", "c3")


def test_a_busy_desktop_is_left_and_what_ran_there_goes_on_elsewhere() -> None:
    simulation = mesh(desktop=True)
    client = simulation.submit("a", Order(points=1000))
    simulation.run(3.0)
    simulation.boxes["b"].craft.others = 0.9
    simulation.run(2.0)
    assert len(simulation.boxes["b"].node.rooms.bench.leases()) == 0
    simulation.settle()
    assert client.effort.done == 1000


def test_decisions_are_logged_with_the_digest_of_their_evidence() -> None:
    simulation = mesh("a")
    good = simulation.submit("a", Order(points=20))
    simulation.settle()
    simulation.ask("a", PauseWork())
    bad = simulation.submit("a", Order(points=20))
    simulation.run(1.0)
    records = decisions(simulation, "a")
    verdicts = [(each.job, Admission(each.admission)) for each in records]
    assert (job_hash(str(good.job)), Admission.ADMIT) in verdicts
    assert (job_hash(""), Admission.REFUSE) in verdicts
    assert job_hash(str(bad.job)) not in [job for job, _ in verdicts]


@pytest.mark.parametrize("strict", [False, True])
def test_clocks_that_are_apart_close_gates_where_they_count(strict: bool) -> None:  # noqa: FBT001
    simulation = Simulation(Plan(strict_clocks=strict, clock_off_s=0.5, craft=Craft(margin_c=40.0)))
    simulation.mesh(["a", "b"])
    simulation.run(15.0)
    states = {status(simulation, name)["admission"]["state"] for name in "ab"}
    assert (states == {"open"}) is not strict


def test_a_partition_leaves_a_box_open_that_measures_enough() -> None:
    simulation = mesh()
    simulation.faults.partition(["a"], ["b"])
    simulation.run(40.0)
    own = status(simulation, "a")["admission"]
    assert (own["h"], own["culprits"][2], own["state"]) == (950, "h0", "open")


def test_audits_in_which_a_device_dissented_lower_its_harmony() -> None:
    simulation = mesh("a")
    node = simulation.boxes["a"].node
    places = (f"{node.me.node}/cpu0", "b/cpu0", "c/cpu0")
    node.rooms.audits.book.add(
        Audit(places, (0, 1, 1), 1), int(simulation.boxes["a"].clocks.read().wall_s)
    )
    simulation.run(2.0)
    found = node.governance.judged["cpu0"].score
    assert found.culprits[2] == "h2"
    assert found.h == 654  # (0 + 20) / (1 + 20), on the ramp from 0.90 to 0.98


def test_data_goes_only_where_its_class_is_admitted() -> None:
    simulation = mesh("a")
    secret = JobOptions(data_class="secret", start_s=3.0)
    owner = OwnerPolicy(classes=("public",))
    simulation.ask("a", SetOwnerPolicy(encode_owner(owner)))
    client = simulation.submit("a", Order(points=20, options=secret))
    open_to_all = simulation.submit("a", Order(points=20))
    simulation.run(10.0)
    assert open_to_all.effort.done == 20
    assert client.effort.done == 0
    refusal = explained(simulation, "a", str(client.job))["refusal"]
    assert refusal["exit_code"] == 77
    assert refusal["components"][0]["signal"] == "c7"


def test_a_job_whose_data_may_be_nowhere_fails_at_once() -> None:
    simulation = mesh()
    owner = OwnerPolicy(classes=("public",))
    for name in "ab":
        simulation.ask(name, SetOwnerPolicy(encode_owner(owner)))
    secret = JobOptions(data_class="secret", start_s=60.0)
    client = simulation.submit("a", Order(points=20, options=secret))
    simulation.run(1.0)
    assert client.over
    refusal = explained(simulation, "a", str(client.job))["refusal"]
    assert (refusal["code"], refusal["exit_code"]) == ("stopped", 77)
    assert refusal["components"][0]["signal"] == "c7"


def test_a_job_goes_where_its_data_may_be_when_another_place_forbids_it() -> None:
    simulation = mesh()
    owner = OwnerPolicy(classes=("public",))
    simulation.ask("a", SetOwnerPolicy(encode_owner(owner)))
    secret = JobOptions(data_class="secret", start_s=60.0)
    client = simulation.submit("a", Order(points=100, options=secret))
    simulation.settle()
    assert list(client.effort.dispatcher.share) == ["b/cpu0"]


def test_a_refusal_says_where_the_ledger_holds_it() -> None:
    simulation = mesh("a")
    simulation.ask("a", PauseWork(why="lunch"))
    client = simulation.submit("a", Order(points=20))
    simulation.run(5.0)
    refusal = explained(simulation, "a", str(client.job))["refusal"]
    log = simulation.boxes["a"].node.rooms.ledger
    assert refusal["ledger"]["origin"] == log.origin
    leaf = parse_leaf(log.entry(refusal["ledger"]["index"]))
    (found,) = [unpack(leaf.body[at : at + RECORD_BYTES])
                for at in range(8, len(leaf.body), RECORD_BYTES)]  # fmt: skip
    assert (leaf.kind, Admission(found.admission)) == (LeafKind.DECISIONS, Admission.REFUSE)
    assert f"Logged as entry {refusal['ledger']['index']} of" in refusal["text"]


def test_devices_are_judged_again_only_when_there_is_news_of_logs() -> None:
    simulation = mesh("a")
    node, now = simulation.boxes["a"].node, simulation.boxes["a"].clocks.read()
    before = node.governance.judged["cpu0"]
    assert node.governance.doubted(now, anew=False) == []
    assert node.governance.judged["cpu0"] is before
    node.governance.doubted(now, anew=True)
    assert node.governance.judged["cpu0"] is not before


def test_neither_a_join_nor_a_death_closes_the_gates_of_others() -> None:
    simulation = mesh("abc")
    simulation.run(10.0)
    simulation.join("d", "a")
    states: dict[str, None] = {}

    def watch(seconds: int) -> None:
        for _ in range(seconds):
            simulation.run(1.0)
            states.update(dict.fromkeys(status(simulation, name)["admission"]["state"]
                                        for name in "abc"))  # fmt: skip

    watch(20)
    simulation.faults.kill("d")
    watch(20)
    assert list(states) == ["open"]
