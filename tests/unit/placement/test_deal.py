"""The deal: different devices first where each task runs on several."""

import random
from typing import Any

import pytest

from qallow_agent.placement.request import Candidate, Decision, Request
from qallow_agent.placement.router import choose
from qallow_agent.placement.settings import PlacementSettings

HASH = "a" * 64


def candidate(node: str, device: str = "cpu0", **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "node": node, "node_name": node, "device": device, "kind": "cpu", "state": "ok",
        "slots": 8, "busy": 0, "memory_bytes": 8 << 30, "kernels": {"harmonic": HASH},
        "rate": 1e9,
    }  # fmt: skip
    return Candidate(**{**fields, **changes})


def decide(slots: int, places: int, *candidates: Candidate, held: tuple[str, ...] = ()) -> Decision:
    wanted = Request("harmonic", HASH, slots, points=100, places=places, held=held)
    return choose(wanted, candidates, PlacementSettings(), random.Random(3))


def dealt(decision: Decision) -> dict[str, int]:
    return {f"{each.node}/{each.device}": each.slots for each in decision.choices}


@pytest.mark.parametrize("slots", [3, 4, 20])
def test_each_of_the_places_gets_a_slot_before_any_gets_a_second(slots: int) -> None:
    given = [candidate("fast", rate=1e12), candidate("slow", rate=1e6), candidate("b")]
    found = dealt(decide(slots, 3, *given))
    assert set(found) == {"fast/cpu0", "slow/cpu0", "b/cpu0"}
    assert sum(found.values()) == slots


def test_other_nodes_go_before_other_devices_of_a_node() -> None:
    given = [candidate("a", rate=1e12), candidate("a", "cpu1", rate=1e12), candidate("b", rate=1e6)]
    assert set(dealt(decide(2, 2, *given))) == {"a/cpu0", "b/cpu0"}


def test_devices_of_one_node_do_when_there_is_no_other() -> None:
    given = [candidate("a"), candidate("a", "cpu1")]
    assert set(dealt(decide(2, 2, *given))) == {"a/cpu0", "a/cpu1"}


def test_what_is_held_counts_and_is_not_asked_for_the_missing_place() -> None:
    given = [candidate("a", rate=1e12), candidate("b")]
    assert dealt(decide(1, 2, *given, held=("a/cpu0",))) == {"b/cpu0": 1}


def test_slots_are_kept_back_for_places_that_cannot_be_had_now() -> None:
    assert dealt(decide(4, 3, candidate("a"), candidate("b"))).keys() == {"a/cpu0", "b/cpu0"}
    assert sum(dealt(decide(4, 3, candidate("a"), candidate("b"))).values()) == 3
    assert dealt(decide(1, 2, candidate("a"), held=("a/cpu0",))) == {}


def test_a_busy_place_is_queued_at_when_it_is_needed() -> None:
    given = [candidate("a"), candidate("b", busy=8)]
    assert dealt(decide(2, 2, *given)) == {"a/cpu0": 1, "b/cpu0": 1}


def test_plain_work_is_dealt_as_ever() -> None:
    assert dealt(decide(1, 1, candidate("fast", rate=1e12), candidate("slow", rate=1e6))) == {
        "fast/cpu0": 1
    }
