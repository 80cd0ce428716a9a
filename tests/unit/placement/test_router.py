"""The router: who may be chosen, who is, and why."""

import random
from typing import Any

import pytest

from qallow_agent.placement.cost import gather
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


def price(wanted: Request, one: Candidate) -> float:
    return cost(wanted, one, 0, gather([one]), SETTINGS)


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
    near = candidate("near", rate=8e8, warm=1)
    far = candidate("far", rate=1e9, rtt_s=0.05, warm=1)
    assert slots(decide(request(prefer="latency"), near, far)) == {"near": 1}
    score = {each.node: price(request(), each) for each in (near, far)}
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
    assert price(request(points=0), candidate(rate=rate, warm=1)) == pytest.approx(0.01)


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


def test_a_device_that_a_known_node_does_not_have_is_refused_at_once() -> None:
    decision = decide(request(device="box/gpu7"), candidate())
    assert decision.never
    assert "box/cpu0 is not box/gpu7" in decision.reason


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


def test_a_device_that_never_ran_the_kernel_is_judged_by_others_of_its_model() -> None:
    known = [candidate(name, rate=4e9, model="A") for name in "abc"]
    other = candidate("d", rate=1e7, model="B")
    new, strange = candidate("new", rate=None, model="A"), candidate("odd", rate=None, model="C")
    why = {each.label: each.why for each in decide(request(), *known, other, new, strange)
           .explanation}  # fmt: skip
    assert "4e+09 ops/s a slot (as others of its model)" in why["new/cpu0"]
    assert "(as others of its kind)" in why["odd/cpu0"]
    assert "(assumed)" in decide(request(), new).explanation[0].why


def test_one_liar_moves_no_estimate() -> None:
    honest = [candidate(name, rate=1e9, model="A") for name in "abc"]
    liar = candidate("liar", rate=9e17, model="A")
    new = candidate("new", rate=None, model="A")
    verdicts = {each.label: each for each in decide(request(), *honest, liar, new).explanation}
    assert "1e+09 ops/s" in verdicts["new/cpu0"].why


def test_a_warm_runner_is_worth_its_start_to_a_short_job() -> None:
    given = (candidate("cold"), candidate("warm", warm=1, rate=5e8))
    assert slots(decide(request(points=1), *given)) == {"warm": 1}
    decision = decide(request(points=1), candidate("cold"))
    assert decision.choices[0].cold
    assert "500 ms to start a runner (assumed)" in decision.choices[0].why
    known = decide(request(points=1), candidate("cold", start_s=0.05)).choices[0]
    assert "50 ms to start a runner (measured)" in known.why


def test_a_slow_link_costs_what_it_carries() -> None:
    given = (
        candidate("far", rate=2e9, rtt_s=0.01, bandwidth_bytes=1e6),
        candidate("near", rate=1e9),
    )
    assert slots(decide(request(transfer_bytes=10_000_000), *given)) == {"near": 1}
    assert slots(decide(request(ops=1e9), *given)) == {"far": 1}
    far = decide(request(transfer_bytes=10**6), given[0]).choices[0]
    assert "1 s of transfer (measured)" in far.why


def test_memory_promised_to_others_is_waited_for() -> None:
    full = candidate(reserved_bytes=8 << 30)
    decision = decide(request(memory_bytes=1 << 30), full)
    assert not decision.never
    assert "has 0 B of 8.0 GiB not promised to leases" in decision.reason


def test_every_verdict_says_what_would_change_it() -> None:
    given = (
        candidate("best", rate=1e12), candidate("slow", rate=1e6),
        candidate("busy", rate=1e12, busy=4), candidate("ill", state="lost"),
        candidate("old", kernels={"harmonic": "b" * 64}), candidate("tiny", memory_bytes=1),
    )  # fmt: skip
    decision = decide(request(memory_bytes=1 << 20), *given)
    change = {each.label.partition("/")[0]: each.change for each in decision.explanation}
    assert change.pop("best") == ""
    assert "times the best" in change["slow"]
    assert "once one is free" in change["busy"]
    assert "known-answer run" in change["ill"]
    assert "same release" in change["old"]
    assert "smaller" in change["tiny"]
    assert [each.slots for each in decision.explanation if each.slots] == [1]


def test_memory_that_other_programs_use_is_waited_for() -> None:
    full = candidate(available_bytes=float(1 << 20))
    decision = decide(request(memory_bytes=1 << 30), full)
    assert not decision.never
    assert "has 1.0 MiB available now, a task needs 1.0 GiB" in decision.reason
    assert decide(request(memory_bytes=1 << 20), full).choices
    for senseless in (None, float("nan"), -1.0):
        assert decide(request(memory_bytes=1 << 30), candidate(available_bytes=senseless)).choices


def test_closed_devices_are_not_chosen_while_an_open_one_is_there() -> None:
    shut = candidate("a", gate="defers", gate_why="it is hot", gate_fix="wait", e=2800)
    decision = decide(request(slots=8), shut, candidate("b", e=2950))
    assert slots(decision) == {"b": 4}
    assert (decision.denied, decision.closed) == ("", "")


@pytest.mark.parametrize(
    ("gates", "denied"),
    [
        (("refuses",), "refuses"),
        (("forbids", "forbids"), "forbids"),
        (("forbids", "refuses"), "refuses"),
        (("forbids", "defers"), ""),
    ],
)
def test_a_job_is_denied_only_when_every_gate_says_no(gates: tuple[str, ...], denied: str) -> None:
    shut = [
        candidate(f"n{place}", gate=gate, gate_why="why", gate_fix="do this", e=2500 + place)
        for place, gate in enumerate(gates)
    ]
    decision = decide(request(), *shut, candidate("z", kernels={}))
    assert decision.choices == ()
    assert decision.denied == denied
    assert decision.closed == f"n{len(gates) - 1}/cpu0"
    assert decision.hint == "do this"
    assert not decision.never


def test_a_device_that_is_only_busy_elsewhere_keeps_a_job_waiting() -> None:
    shut = candidate("a", gate="refuses", gate_why="why", e=2500)
    decision = decide(request(), shut, candidate("b", state="quarantined"))
    assert decision.denied == ""
