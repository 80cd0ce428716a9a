import random

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId
from qallow_agent.mesh.trust.knocks import CANDIDATES, Knocks
from qallow_agent.mesh.trust.settings import TrustSettings

HERE, THERE = Contact(("a",), 1, 2), Contact(("b",), 1, 2)
SETTINGS = TrustSettings(knocks_in_flight=2, knock_tries=2)
KEY = bytes(32)


def knocks(*nodes: str) -> Knocks:
    made = Knocks(SETTINGS, random.Random(1))
    for node in nodes:
        made.hear(NodeId(node), HERE, KEY, 0.0)
    return made


def due(made: Knocks, now_s: float) -> list[str]:
    return [candidate.node for candidate in made.due(now_s)]


def test_candidates_take_turns_in_the_order_they_are_due() -> None:
    made = knocks("c", "a", "b")
    assert due(made, 0.0) == ["a", "b"]
    made.settle(NodeId("a"))
    assert due(made, 0.0) == ["c"]


def test_with_all_hands_busy_the_next_deadline_is_when_one_counts_as_lost() -> None:
    made = knocks("a", "b", "c")
    due(made, 0.0)
    assert made.next_deadline() == SETTINGS.knock_timeout_s + 1.0


def test_the_failure_of_somebody_forgotten_is_nothing() -> None:
    made = knocks()
    made.fail(NodeId("a"), 0.0)
    assert made.next_deadline() is None


def test_a_new_contact_is_tried_at_once_whatever_the_backoff() -> None:
    made = knocks("a")
    due(made, 0.0)
    made.fail(NodeId("a"), 0.0)
    assert due(made, 0.1) == []
    made.hear(NodeId("a"), THERE, KEY, 0.1)
    assert due(made, 0.1) == ["a"]


def test_the_backoff_is_bounded() -> None:
    made = knocks("a")
    for _ in range(2000):
        made.fail(NodeId("a"), 0.0)
    assert made._candidates[NodeId("a")].due_s <= 1.25 * SETTINGS.knock_backoff_max_s


def test_hearsay_beyond_the_bound_waits_unless_somebody_rests() -> None:
    made = knocks(*(f"n{index:04}" for index in range(CANDIDATES)))
    made.hear(NodeId("late"), HERE, KEY, 0.0)
    assert NodeId("late") not in made._candidates
    for _ in range(SETTINGS.knock_tries):
        made.fail(NodeId("n0007"), 0.0)
    made.hear(NodeId("late"), HERE, KEY, 0.0)
    assert NodeId("late") in made._candidates
    assert NodeId("n0007") not in made._candidates
    assert len(made._candidates) == CANDIDATES
