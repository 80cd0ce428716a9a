"""Validators in the hallway: how many must object, and by which policies one may have decided."""

from typing import Any

import pytest
from msgspec import structs

from qallow_agent.base.errors import WireError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant, Send
from qallow_agent.base.notice import Notice
from qallow_agent.ethics.mesh_policy import MeshPolicy, built_in
from qallow_agent.ledger.kinds import Assent, DecisionValidated, Judged, Objection
from qallow_agent.node.clerk import Batch
from qallow_agent.node.judges import AHEAD_S, BEHIND_S, Judges
from qallow_agent.node.validators import Validators, _Asked
from qallow_agent.testing.simulation import Simulation

DESK = NodeId("d" * 26)
PEER = NodeId("p" * 26)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    made = Simulation()
    made.mesh(["a"])
    made.settle()
    made.run(3.0)
    return made


def answers(node: Any, assents: int, objections: int) -> tuple[Validators, list[Any]]:
    """Return what follows when validators have said so much of one decision."""
    validators = Validators(node.me, node.rooms)
    judged = next(iter(node.governance.judged.values()))
    batch = Batch("job-1", judged.policy, judged.evidence.at_ms)
    validators._asked[0] = _Asked(DESK, batch, 10.0)
    names = [NodeId(f"{number}" * 26) for number in range(2, 2 + assents + objections)]
    signed = tuple(Assent("o", 0, name, b"s") for name in names[:assents])
    against = tuple(Objection("o", 0, name, "h1", "is off", b"s") for name in names[assents:])
    fact = Judged(0, tuple(names[:assents]), against, signed, 3)
    return validators, validators.judged(node.me.node, fact, Instant(10.25, 0))


@pytest.mark.parametrize(
    ("assents", "objections", "ends"),
    [(3, 0, 0), (2, 1, 0), (0, 1, 0), (1, 2, 1), (0, 2, 1), (0, 3, 1), (2, 2, 0), (0, 0, 0)],
)
def test_two_objections_that_outnumber_the_assents_end_the_lease(
    simulation: Simulation, assents: int, objections: int, ends: int
) -> None:
    validators, effects = answers(simulation.boxes["a"].node, assents, objections)
    found = validators.document()
    assert found["revoked"] == ends
    assert found["objected"] == int(objections > 0)
    assert (found["assents"], found["objections"]) == (assents, objections)
    assert any(isinstance(each, Notice) for each in effects) == (objections > 0)
    assert found["last_objection"] == ("h1: is off" if objections else "")


def test_the_desk_is_told_with_the_signatures(simulation: Simulation) -> None:
    validators, effects = answers(simulation.boxes["a"].node, 2, 1)
    (letter,) = [each for each in effects if isinstance(each, Send)]
    assert letter.to == DESK
    assert isinstance(letter.message, DecisionValidated)
    assert (len(letter.message.assents), len(letter.message.objections)) == (2, 1)
    assert validators.document()["took_s"] == 0.25


def test_words_of_a_validator_do_nothing_to_a_terminal(simulation: Simulation) -> None:
    node = simulation.boxes["a"].node
    validators, _ = answers(node, 0, 0)
    batch = Batch("job-1", next(iter(node.governance.judged.values())).policy, 0)
    validators._asked[0] = _Asked(DESK, batch, 10.0)
    rude = Objection("o", 0, PEER, "h1", "\x1b[2J gone", b"s")
    validators.judged(node.me.node, Judged(0, (), (rude,), (), 3), Instant(10.5, 0))
    assert validators.document()["last_objection"] == "h1: ?[2J gone"


def test_an_answer_to_nothing_that_was_asked_counts_for_nothing(simulation: Simulation) -> None:
    node = simulation.boxes["a"].node
    validators = Validators(node.me, node.rooms)
    assert validators.judged(node.me.node, Judged(99, (), ()), Instant(1.0, 0)) == []


# --- policies -------------------------------------------------------------------------------------


class Law:
    """A mesh's policy that a test changes."""

    def __init__(self, simulation: Simulation) -> None:
        self.judges = Judges(simulation.boxes["a"].node.rooms)
        self.mesh = self.version(5)
        self.judges.law = lambda: self.mesh
        self.judges.look(Instant(0.0, 0))

    def version(self, number: int) -> MeshPolicy:
        return structs.replace(built_in(), version=number)

    def lax(self, version: int, seconds: float) -> str:
        policy = self.version(version).policy("desktop")
        return self.judges._lax(PEER, policy, Instant(seconds, round(seconds * 1e9)))


def test_the_policy_before_is_right_for_ten_minutes(simulation: Simulation) -> None:
    law = Law(simulation)
    assert law.lax(5, 1.0) == ""
    law.mesh = law.version(6)
    assert law.lax(6, 2.0) == ""
    assert law.lax(5, 2.0) == ""
    assert law.lax(5, 1.0 + BEHIND_S) == ""
    assert law.lax(5, 3.0 + BEHIND_S) == "version is not the mesh's"


def test_a_later_policy_is_not_judged_at_first_and_refuted_when_it_never_comes(
    simulation: Simulation,
) -> None:
    law = Law(simulation)
    with pytest.raises(WireError, match="we have 5"):
        law.lax(7, 1.0)
    with pytest.raises(WireError):
        law.lax(7, 0.5 + AHEAD_S)
    assert law.lax(7, 1.5 + AHEAD_S) == "policy version 7 is unknown here"
    law.mesh = law.version(7)
    assert law.lax(7, 2.0 + AHEAD_S) == ""
