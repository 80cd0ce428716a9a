"""A mesh's policy reaches every node, also one that was away; forged and older ones reach none."""

from typing import Any

import msgspec
import pytest

from qallow_agent.base.errors import NotAllowed, UsageError
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.message import Message, Report
from qallow_agent.ethics import messages as ethics
from qallow_agent.ethics.clauses import Grant
from qallow_agent.ethics.mesh_policy import MeshPolicy, built_in, encode_policy, sign_policy
from qallow_agent.ethics.owner import OwnerPolicy, encode_owner
from qallow_agent.jobs.messages import JobState
from qallow_agent.node.commands import CreateInvite, GetPeers, GetStatus
from qallow_agent.testing.effort import Order
from qallow_agent.testing.simulation import Plan, Simulation

SECONDS = 5.0


@pytest.fixture
def mesh() -> Simulation:
    simulation = Simulation(Plan(seed=5))
    simulation.mesh(["a", "b", "c"])
    simulation.run(SECONDS)
    return simulation


def ask(mesh: Simulation, name: str, message: Message) -> dict[str, Any]:
    answer = mesh.ask(name, message)
    assert isinstance(answer, Report)
    return answer.document


def set_policy(mesh: Simulation, name: str = "a", **fields: Any) -> dict[str, Any]:
    policy = msgspec.structs.replace(built_in(), **fields)
    return ask(mesh, name, ethics.SetPolicy(encode_policy(policy)))


def versions(mesh: Simulation, names: str = "abc") -> list[int]:
    return [mesh.boxes[name].node.rooms.charter.holds.mesh.version for name in names]


def digests(mesh: Simulation) -> set[bytes]:
    return {box.node.rooms.charter.digest for box in mesh.boxes.values()}


def forge(policy: MeshPolicy, key: SigningKey) -> ethics.PolicyDocument:
    return ethics.PolicyDocument(*sign_policy(policy, key))


def test_all_adopt_within_seconds_what_the_founder_sets(mesh: Simulation) -> None:
    assert len(digests(mesh)) == 1
    document = set_policy(mesh, threshold=2950)
    assert (document["version"], document["threshold"]) == (1, {"value": 2.95, "from": "mesh v1"})
    mesh.run(SECONDS)
    assert versions(mesh) == [1, 1, 1]
    assert len(digests(mesh)) == 1
    assert ask(mesh, "c", ethics.GetPolicy())["threshold"]["value"] == 2.95


def test_a_node_that_was_away_adopts_on_its_return_and_keeps_it(mesh: Simulation) -> None:
    mesh.faults.kill("c")
    mesh.run(SECONDS)
    set_policy(mesh, threshold=2950)
    set_policy(mesh, threshold=2960)
    mesh.run(SECONDS)
    mesh.faults.restart("c")
    mesh.run(2 * SECONDS)
    assert versions(mesh) == [2, 2, 2]
    mesh.faults.kill("c")
    mesh.faults.kill("a")
    mesh.faults.kill("b")
    mesh.faults.restart("c")
    mesh.run(0.5)
    assert versions(mesh, "c") == [2]


def test_a_newcomer_adopts_what_the_mesh_holds(mesh: Simulation) -> None:
    set_policy(mesh)
    mesh.run(SECONDS)
    mesh.join("d", "a")
    mesh.run(2 * SECONDS)
    assert versions(mesh, "abcd") == [1, 1, 1, 1]


def test_a_partition_that_heals_ends_with_one_policy(mesh: Simulation) -> None:
    mesh.faults.partition(["a"], ["b", "c"])
    mesh.run(1.0)
    set_policy(mesh, threshold=2950)
    mesh.run(SECONDS)
    assert versions(mesh) == [1, 0, 0]
    mesh.faults.heal()
    mesh.run(60.0)
    assert versions(mesh) == [1, 1, 1]


def test_forged_and_older_policies_reach_nobody(mesh: Simulation) -> None:
    set_policy(mesh, threshold=2950)
    set_policy(mesh, threshold=2960)
    mesh.run(SECONDS)
    held = digests(mesh)
    victim, liar = mesh.boxes["c"], mesh.boxes["b"].id
    key = mesh.boxes["a"].papers.keys().mesh
    assert key is not None
    for number, forger in ((9, SigningKey(bytes([7] * 32))), (1, key)):
        policy = msgspec.structs.replace(built_in(), version=number)
        victim.tell(liar, forge(policy, forger))
    mesh.run(SECONDS)
    assert digests(mesh) == held
    assert versions(mesh) == [2, 2, 2]


def test_only_the_founder_signs_and_others_are_told_who_can(mesh: Simulation) -> None:
    with pytest.raises(NotAllowed, match="mesh's key") as error:
        set_policy(mesh, "b")
    assert error.value.hint == "set it on a"
    assert versions(mesh) == [0, 0, 0]


def test_a_policy_says_who_may_submit_what_where(mesh: Simulation) -> None:
    grant = Grant(("submitter",), ("harmonic",), ("default",))
    set_policy(mesh, grants=(grant,))
    mesh.run(SECONDS)
    client = mesh.submit("b", Order(points=20))
    mesh.settle()
    assert client.state is JobState.SUCCEEDED
    refused = mesh.submit("b", Order(points=20, kernel="elasticity"))
    mesh.run(1.0)
    assert refused.state is JobState.FAILED
    assert "version 1) lets it submit only this: [[submit]] 1: harmonic in" in refused.error


def test_an_owner_keeps_kernels_from_its_own_node_only(mesh: Simulation) -> None:
    own = OwnerPolicy(grants=(Grant(("*",), ("elasticity",), ("*",)),))
    ask(mesh, "c", ethics.SetOwnerPolicy(encode_owner(own)))
    client = mesh.submit("b", Order(points=400, slots=6))
    mesh.settle()
    assert client.state is JobState.SUCCEEDED
    worked = {box for box in "abc" if mesh.boxes[box].running().yard.worked_s() > 0}
    assert "c" not in worked


def test_a_policy_says_who_may_administer_and_observe(mesh: Simulation) -> None:
    set_policy(mesh, administrators=("operator",), observers=("operator", "observer"))
    mesh.run(SECONDS)
    assert ask(mesh, "a", GetPeers())["peers"]
    with pytest.raises(NotAllowed, match=r"'observe'.*version 1"):
        mesh.ask("b", GetPeers())
    with pytest.raises(NotAllowed, match="'administer'"):
        mesh.ask("b", CreateInvite())
    assert ask(mesh, "b", GetStatus())["policy"]["version"] == 1


def test_a_pause_is_in_force_at_once_and_after_a_restart(mesh: Simulation) -> None:
    ask(mesh, "b", ethics.PauseWork(0.0, "a call"))
    assert ask(mesh, "b", GetStatus())["policy"]["pause"]["why"] == "a call"
    mesh.faults.kill("b")
    mesh.faults.restart("b")
    mesh.run(SECONDS)
    assert mesh.boxes["b"].node.rooms.charter.pause is not None
    assert ask(mesh, "b", ethics.ResumeWork())["pause"] is None


def test_an_override_ends_by_itself(mesh: Simulation) -> None:
    ask(mesh, "b", ethics.OverridePolicy("c3", 30.0, "demo"))
    [shown] = ask(mesh, "b", GetStatus())["policy"]["overrides"]
    assert (shown["signal"], shown["from"], shown["why"]) == ("c3", "owner", "demo")
    mesh.run(31.0)
    assert ask(mesh, "b", GetStatus())["policy"]["overrides"] == []
    with pytest.raises(UsageError):
        mesh.ask("b", ethics.OverridePolicy("c8", 30.0))
