"""The router: who may be chosen, who is, and why."""

import random
from typing import Any

import pytest

from qallow_agent.placement.request import Candidate, Decision, Request
from qallow_agent.placement.router import choose
from qallow_agent.placement.score import cost
from qallow_agent.placement.settings import PlacementSettings

HASH = "a" * 64
SETTINGS = PlacementSettings()


def candidate(node: str = "box", **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "node": node, "node_name": node, "device": "cpu0", "kind": "cpu", "state": "ok",
        "slots": 4, "busy": 0, "memory_bytes": 8 << 30, "kernels": {"harmonic": HASH},
        "rate": 1e9,
    }  # fmt: skip
    return Candidate(**{**fields, **changes})


def request(**changes: Any) -> Request:
    return Request(
        **{"kernel": "harmonic", "kernel_hash": HASH, "slots": 1, "points": 1000, "ops": 1e6}
        | changes
    )


def decide(wanted: Request, *candidates: Candidate, seed: int = 1) -> Decision:
    return choose(wanted, candidates, SETTINGS, random.Random(seed))


def slots(decision: Decision) -> dict[str, int]:
    return {each.node: each.slots for each in decision.choices}


def test_all_free_slots_are_used_when_wanted() -> None:
    decision = decide(request(slots=100), candidate("a"), candidate("b", slots=2, busy=1))
    assert slots(decision) == {"a": 4, "b": 1}


def test_slots_spread_in_proportion_to_free_capacity() -> None:
    given = [candidate(name, slots=100) for name in "ab"]
    dealt = slots(decide(request(slots=100), *given))
    assert 30 <= dealt["a"] <= 70


def test_many_owners_with_the_same_book_do_not_herd() -> None:
    given = [candidate(name) for name in "abcdefgh"]
    chosen = {next(iter(slots(decide(request(), *given, seed=seed)))) for seed in range(40)}
    assert len(chosen) >= 4


def test_a_much_faster_device_wins() -> None:
    given = (candidate("slow", rate=1e8), candidate("fast", rate=1e9))
    assert slots(decide(request(), *given)) == {"fast": 1}


def test_latency_prefers_what_is_near_and_throughput_does_not_care() -> None:
    near, far = candidate("near", rate=8e8), candidate("far", rate=1e9, rtt_s=0.05)
    assert slots(decide(request(prefer="latency"), near, far)) == {"near": 1}
    score = {each.node: cost(request(), each, 0, SETTINGS) for each in (near, far)}
    assert score["far"] < score["near"]


def test_a_warming_device_waits_for_work_behind_a_ready_one() -> None:
    given = (candidate("cold", state="warming"), candidate("ready"))
    assert slots(decide(request(prefer="latency"), *given)) == {"ready": 1}
    assert slots(decide(request(), candidate("cold", state="warming"))) == {"cold": 1}


def test_a_hot_device_is_trusted_with_less() -> None:
    assert slots(decide(request(), candidate("hot", state="hot"), candidate("cool"))) == {"cool": 1}


def test_energy_goes_by_joules_where_they_are_known() -> None:
    given = (
        candidate("thrifty", rate=1e8, joules_per_op=1e-9),
        candidate("thirsty", joules_per_op=1e-7),
        candidate("unknown", rate=1e12),
    )
    decision = decide(request(prefer="energy"), *given)
    assert slots(decision) == {"thrifty": 1}
    assert "joules unknown" in decision.explanation[-1].why


@pytest.mark.parametrize("rate", [None, 0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_senseless_rates_count_as_unknown(rate: float | None) -> None:
    assert cost(request(), candidate(rate=rate), 0, SETTINGS) == pytest.approx(0.01)


def test_busy_devices_are_queued_at_by_one_slot() -> None:
    decision = decide(request(slots=8), candidate("a", busy=4), candidate("b", busy=9))
    assert sum(slots(decision).values()) == 1


@pytest.mark.parametrize(
    ("changes", "why", "never"),
    [
        ({"kernels": {}}, "has no cpu backend of harmonic", True),
        ({"kernels": {"harmonic": "b" * 64}}, "has another version", True),
        ({"memory_bytes": 1 << 20}, "a task needs 1.0 GiB", True),
        ({"simulated": True}, "is simulated", True),
        ({"state": "lost", "why": "its canary failed"}, "is lost: its canary failed", False),
        ({"state": "quarantined"}, "is quarantined", False),
        ({"slots": 0}, "offers no slots", False),
    ],
)
def test_who_is_out_is_told_why_and_whether_for_good(
    changes: dict[str, Any], why: str, *, never: bool
) -> None:
    decision = decide(request(memory_bytes=1 << 30), candidate(**changes))
    assert decision.choices == ()
    assert why in decision.reason
    assert decision.hint
    assert decision.never is never
    assert decision.explanation[0].score is None


def test_what_refused_just_now_is_avoided() -> None:
    given = (candidate("a"), candidate("b"))
    assert slots(decide(request(avoid=("a/cpu0",)), *given)) == {"b": 1}
    nobody = decide(request(avoid=("a/cpu0", "b/cpu0")), *given)
    assert not nobody.never
    assert "just now" in nobody.reason


@pytest.mark.parametrize("wish", ["any", "cpu", "box/cpu0"])
def test_a_device_answers_to_its_kind_and_its_name(wish: str) -> None:
    assert decide(request(device=wish), candidate()).choices


def test_a_gpu_is_any_gpu() -> None:
    given = candidate("rig", device="gpu0", kind="cuda")
    assert decide(request(device="gpu"), given, candidate()).choices[0].node == "rig"


def test_a_kind_nobody_has_can_never_run() -> None:
    decision = decide(request(device="gpu"), candidate())
    assert decision.never
    assert "is cpu and gpu is wanted" in decision.reason


def test_a_named_device_that_is_not_known_yet_is_waited_for() -> None:
    assert not decide(request(device="later/cpu0"), candidate()).never


def test_a_simulated_device_is_chosen_only_by_name() -> None:
    fake = candidate(simulated=True, device="fpga0", kind="fpga")
    assert decide(request(device="fpga"), fake).choices == ()
    assert decide(request(device="box/fpga0"), fake).choices


def test_an_empty_book_is_no_refusal_for_good() -> None:
    decision = decide(request())
    assert not decision.never
    assert "no member advertises" in decision.reason


def test_an_array_larger_than_any_device_is_refused_with_both_sizes() -> None:
    decision = decide(request(memory_bytes=1 << 40), candidate("a"), candidate("b"))
    assert decision.never
    assert "7.2 GiB" in decision.reason
    assert "1.0 TiB" in decision.reason


def test_a_long_list_of_refusals_is_cut_short() -> None:
    decision = decide(request(), *(candidate(str(number), kernels={}) for number in range(9)))
    assert decision.reason.endswith("; and 6 more")


def test_a_device_that_is_not_the_named_one_says_so() -> None:
    decision = decide(request(device="box9/cpu0"), candidate())
    assert "is not box9/cpu0" in decision.reason
