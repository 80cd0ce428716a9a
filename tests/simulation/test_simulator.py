"""The simulator itself: it does to agents what the real world does, and its laws have teeth."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from qallow_agent.base.errors import InvariantBroken, JoinRefused, PeerError, UsageError
from qallow_agent.base.machine import Lane, Persist, Reply, Send
from qallow_agent.base.message import Failure, Message
from qallow_agent.jobs.messages import JobState, LeaseRenew
from qallow_agent.mesh.trust.standing import NAME
from qallow_agent.mesh.wire.kinds import Incarnation
from qallow_agent.testing.laws import CALM_S
from qallow_agent.testing.runners import Craft


def events(simulation: object, name: str) -> list[str]:
    return [told.box for told in simulation.record.story if told.notice.event == name]  # type: ignore[attr-defined]


# --- the shell ------------------------------------------------------------------------------------


def test_what_depends_on_a_refused_write_is_not_said(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    box = simulation.boxes["a"]
    answers: list[Message] = []
    prefix = box.connect(lambda _, answer: answers.append(answer))
    sent: list[bytes] = []
    simulation.record.sent = lambda _, data: sent.append(data)
    simulation.faults.set_disk("a", full=True)
    box.running().shell._step(
        [
            Persist("jobs/x", b"1"),
            Send(simulation.boxes["b"].id, LeaseRenew(()), Lane.STREAM),
            Reply(f"{prefix}/1", Failure("ok", "stored")),
        ],
        "test",
        "",
    )
    assert [answer.code for answer in answers if isinstance(answer, Failure)] == ["storage-full"]
    assert sent == []
    assert "jobs/x" not in box.disk.files
    assert events(simulation, "store.failed") == ["a"]


def test_a_slow_disk_delays_what_comes_after_the_write(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    box = simulation.boxes["a"]
    answers: list[Message] = []
    prefix = box.connect(lambda _, answer: answers.append(answer))
    simulation.faults.set_disk("a", slow_s=0.5)
    effects = [Persist("jobs/x", b"1"), Reply(f"{prefix}/1", Failure("ok", "stored"))]
    box.running().shell._step(effects, "test", "")
    assert box.disk.files["jobs/x"] == b"1"
    assert answers == []
    simulation.run(0.51)
    assert len(answers) == 1


def test_a_box_that_is_killed_keeps_only_its_disk(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    box = simulation.boxes["b"]
    files, runners = dict(box.disk.files), list(simulation.network.runners)
    assert NAME in files
    assert any(address.startswith(box.address) for address in runners)
    simulation.faults.kill("b")
    assert box.disk.files == files
    assert not any(address.startswith(box.address) for address in simulation.network.runners)
    with pytest.raises(PeerError, match="no agent runs on b: killed"):
        box.running()
    simulation.faults.restart("b")
    simulation.settle()
    assert box.boots == 2


# --- the door -------------------------------------------------------------------------------------


def test_an_invite_is_good_for_one(tools: SimpleNamespace) -> None:
    simulation = tools.small("a")
    token = simulation.invite("a")
    simulation.join_with("b", token)
    with pytest.raises(JoinRefused, match="used up"):
        simulation.join_with("c", token)


def test_a_mangled_invite_is_named_as_such(tools: SimpleNamespace) -> None:
    simulation = tools.small("a")
    with pytest.raises(UsageError, match="checksum"):
        simulation.join_with("b", simulation.invite("a")[:-4] + "aaaa")


def test_a_host_that_is_gone_cannot_be_joined(tools: SimpleNamespace) -> None:
    simulation = tools.small("a")
    token = simulation.invite("a")
    simulation.faults.kill("a")
    with pytest.raises(PeerError, match="nobody listens there"):
        simulation.join_with("b", token)


# --- jobs -----------------------------------------------------------------------------------------


def test_work_goes_to_every_machine_and_every_point_has_one_outcome(tools: SimpleNamespace) -> None:
    simulation = tools.small("abc")
    client = simulation.submit("a", tools.order(points=600))
    simulation.settle()
    assert (client.state, client.effort.done, client.effort.failed) == (JobState.SUCCEEDED, 600, 0)
    assert sorted(client.effort.outcomes) == list(range(600))
    assert sorted(client.effort.dispatcher.share) == ["a/cpu0", "b/cpu0", "c/cpu0"]


def test_a_machine_that_computes_wrong_gets_no_work(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    simulation.add("c", craft=Craft(sick=True))
    simulation.join("c", "a")
    simulation.run(5.0)
    assert events(simulation, "device.lost") == ["c"]
    client = simulation.submit("a", tools.order(points=300))
    simulation.settle()
    assert "c/cpu0" not in client.effort.dispatcher.share


def test_a_kernel_that_nobody_knows_is_refused_at_once(tools: SimpleNamespace) -> None:
    simulation = tools.small("a")
    client = simulation.submit("a", tools.order(kernel="harmonik"))
    simulation.run(0.1)
    assert client.state is JobState.FAILED
    assert "no kernel is called 'harmonik'" in client.error


# --- the laws -------------------------------------------------------------------------------------


def test_a_living_member_declared_dead_in_calm_weather_breaks_a_law(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    simulation.run(CALM_S)
    with pytest.raises(InvariantBroken, match="a declares b dead, which lives"):
        simulation.laws.declared_dead("a", simulation.boxes["b"].id)


def test_a_death_in_bad_weather_breaks_none(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    simulation.run(CALM_S)
    simulation.network.weather.loss = 0.5
    simulation.laws.declared_dead("a", simulation.boxes["b"].id)


def test_a_clock_outside_of_its_bound_breaks_a_law(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    peer = simulation.boxes["b"].id
    clock = simulation.boxes["a"].node.rooms.sync._peers[peer].clock
    simulation.laws.after_step("a", "sync.echo", peer, thorough=False)
    clock._interval = clock._interval.moved(0.01)
    with pytest.raises(InvariantBroken, match="a has b's clock at"):
        simulation.laws.after_step("a", "sync.echo", peer, thorough=False)


def test_a_belief_that_goes_back_in_time_breaks_a_law(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    simulation.faults.restart("b")
    simulation.settle()
    table = simulation.boxes["a"].node.rooms.membership._table
    record = table.get(simulation.boxes["b"].id)
    table.put(replace(record, incarnation=Incarnation(1)))
    with pytest.raises(InvariantBroken, match="a takes b back in time"):
        simulation.laws.look_round()


def test_a_point_with_two_outcomes_breaks_a_law(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    client = simulation.submit("a", tools.order(points=600))
    simulation.run(1.0)
    client.effort.outcomes[599] = ""
    with pytest.raises(InvariantBroken, match=r"point 599 .* has two outcomes"):
        simulation.settle()


def test_a_job_that_never_ends_is_not_settled(tools: SimpleNamespace) -> None:
    simulation = tools.small("a")
    simulation.submit("a", tools.order(points=10, hang=(3,)))
    with pytest.raises(InvariantBroken, match=r"not settled within 20 s: .* still runs"):
        simulation.settle(20.0)


def test_a_box_that_is_cut_off_is_not_settled(tools: SimpleNamespace) -> None:
    simulation = tools.small("abc")
    simulation.faults.partition(("a", "b"), ("c",))
    simulation.run(20.0)
    with pytest.raises(InvariantBroken, match="misses c"):
        simulation.settle(30.0)
