"""The score: ramps, minima, ceilings, stops, ages."""

import pytest

from qallow_agent.ethics.evidence import Evidence, Item
from qallow_agent.ethics.examples import START_MS, comfortable, example
from qallow_agent.ethics.policy import Override, Policy, Ramp, preset
from qallow_agent.ethics.score import Score, ramp, score
from qallow_agent.ethics.signals import SCORED, TABLE, Signal

DESKTOP = preset("desktop")
BLIND_S = ("s1", "s2", "s.power", "s.temperature")
BLIND_C = ("c1.cpu", "c1.io", "c1.memory", "c5")
RAMPED = [each for each in SCORED if each.role == "signal"]


def judged(evidence: Evidence, policy: Policy = DESKTOP, now_ms: int = START_MS) -> Score:
    return score(evidence, policy, now_ms)


def test_a_box_that_is_well_scores_three_and_has_no_culprit() -> None:
    found = judged(comfortable())
    assert (found.e, found.culprits, found.stops) == (3000, ("", "", ""), ())


@pytest.mark.parametrize("signal", RAMPED, ids=lambda each: each.id)
@pytest.mark.parametrize(
    ("share", "least", "most"), [(0, 0, 0), (500, 495, 505), (1000, 1000, 1000)]
)
def test_each_signal_alone_sets_its_component(
    signal: Signal, share: int, least: int, most: int
) -> None:
    value = (signal.bad + (signal.good - signal.bad) * share // 1000) / 1_000_000
    found = judged(comfortable({signal.id: value}))
    assert least <= found.component(signal.component) <= most
    assert found.e == 2000 + found.component(signal.component)
    assert "".join(found.culprits) == ("" if share == 1000 else signal.id)


@pytest.mark.parametrize(
    ("ends", "value", "wanted"),
    [
        ((0, 100), -5, 0), ((0, 100), 0, 0), ((0, 100), 1, 10), ((0, 100), 99, 990),
        ((0, 100), 100, 1000), ((0, 100), 10**18, 1000), ((400, 100), 400, 0),
        ((400, 100), 399, 3), ((400, 100), 250, 500), ((400, 100), 100, 1000),
        ((400, 100), -(10**18), 1000), ((0, 3), 1, 333), ((3, 0), 2, 333),
    ],
)  # fmt: skip
def test_a_ramp_rounds_down_and_saturates(ends: tuple[int, int], value: int, wanted: int) -> None:
    assert ramp(value, Ramp(*ends)) == wanted


def test_a_component_is_the_least_of_its_signals_and_ties_go_to_the_first() -> None:
    found = judged(comfortable({"c3": 0.3, "c5": 0.0410, "c1.io": 0.34}))
    assert (found.c, found.culprits[1]) == (200, "c1.io")
    assert (found.mark("c5").thousandths, found.mark("c3").thousandths) == (200, 800)


@pytest.mark.parametrize(
    ("without", "changed", "wanted", "why"),
    [
        ((), {}, 1000, ""),
        (("s1", "s.power"), {}, 970, "no measured reading of power"),
        (("s2", "s.temperature"), {}, 970, "no measured reading of temperature"),
        (("s1",), {}, 1000, ""),
        (BLIND_S, {}, 950, "no reading of power and none of temperature"),
        ((), dict.fromkeys(BLIND_S), 950, "no reading of power and none of temperature"),
    ],
)
def test_the_ceiling_of_s_follows_what_is_measured(
    without: tuple[str, ...], changed: dict[str, float | None], wanted: int, why: str
) -> None:
    found = judged(comfortable(changed, without=without))
    assert (found.s, found.mark("s0").why) == (wanted, why)
    assert found.culprits[0] == ("s0" if wanted < 1000 else "")


def test_an_estimate_of_power_is_half_a_measurement() -> None:
    estimate = Item("s1", 350_000, "ratio", START_MS, "model", "estimated", "a model of this CPU")
    evidence = comfortable(without=("s1", "s.power"))
    found = judged(Evidence("n", "d", "j", START_MS, (estimate, *evidence.items)))
    assert (found.s, found.culprits[0]) == (970, "s0")
    assert found.mark("s1").why == "a model of this CPU"


@pytest.mark.parametrize("kept", BLIND_C)
def test_any_pressure_or_the_wake_up_probe_lifts_the_ceiling_of_c(kept: str) -> None:
    blind = tuple(each for each in BLIND_C if each != kept)
    assert judged(comfortable(without=BLIND_C)).c == 950
    assert judged(comfortable(without=blind)).c == 1000


@pytest.mark.parametrize(
    ("known", "fresh", "wanted"), [(4, 1, 1000), (4, 0, 950), (0, 0, 1000), (None, None, 950)]
)
def test_the_ceiling_of_h_follows_word_from_peers(
    known: float | None, fresh: float | None, wanted: int
) -> None:
    found = judged(comfortable({"h.known": known, "h.fresh": fresh}))
    assert (found.h, found.solo) == (wanted, known == 0)


def test_a_node_blind_in_two_components_passes_and_one_blind_in_all_is_refused() -> None:
    two = comfortable(without=(*BLIND_S, *BLIND_C))
    assert judged(two).e == 2900
    three = comfortable({"h.fresh": 0}, without=(*BLIND_S, *BLIND_C))
    assert (judged(three).e, judged(three).culprits) == (2850, ("s0", "c0", "h0"))


@pytest.mark.parametrize("age_ms", [3_000, 3_001, -1_000, -1_001])
def test_a_sensor_counts_for_three_seconds(age_ms: int) -> None:
    evidence = Evidence("n", "d", "j", 0, (example("s1", 0.0, START_MS - age_ms),))
    mark = judged(evidence).mark("s1")
    fresh = age_ms in {3_000, -1_000}
    assert mark.thousandths == (0 if fresh else None)
    assert fresh or mark.why in {"3.0 s old", "1.0 s in the future"}


def test_a_canary_counts_for_a_minute_and_a_pause_until_it_is_lifted() -> None:
    old = (example("c5", 0.02, START_MS - 60_000), example("c8", 0, START_MS - 10**9))
    found = judged(Evidence("n", "d", "j", 0, old))
    assert (found.mark("c5").thousandths, found.stops) == (666, ("c8",))
    assert score(Evidence("n", "d", "j", 0, old), DESKTOP, START_MS + 1).mark("c5").value is None


@pytest.mark.parametrize(
    ("signal", "value"),
    [("c6", 0), ("c7", 0), ("c8", 0), ("h3", 0), ("h5", 0), ("s2.shutdown", 1)],
)
def test_a_stop_makes_its_component_nothing_and_goes_before_any_score(
    signal: str, value: int
) -> None:
    low = {"s1": 0.0, "c3": 0.9, "h1": 1.0}
    found = judged(comfortable({**low, signal: value}))
    component = signal[0]
    assert found.component(component) == 0
    assert found.culprits["sch".index(component)] == signal
    assert found.stops == (signal,)


@pytest.mark.parametrize("signal", ["c6", "c7", "c8", "h3"])
def test_what_may_be_forbidden_is_forbidden_when_nobody_knows(signal: str) -> None:
    assert judged(comfortable({signal: None})).stops == (signal,)


@pytest.mark.parametrize("signal", ["h5", "s2.shutdown", "s1", "h1"])
def test_what_is_only_unknown_stops_nothing(signal: str) -> None:
    found = judged(comfortable({signal: None}))
    assert (found.stops, found.e) == ((), 3000)


def test_the_previous_policy_counts_a_little_less() -> None:
    found = judged(comfortable({"h3": 0.97}))
    assert (found.h, found.culprits[2]) == (970, "h3")


@pytest.mark.parametrize(
    ("margin", "wanted", "culprit"),
    [(24.0, 500, "s2.slowdown"), (2.0, 200, "s2"), (None, 500, "s2.slowdown")],
)
def test_a_thermal_slowdown_caps_the_thermal_margin(
    margin: float | None, wanted: int, culprit: str
) -> None:
    found = judged(comfortable({"s2": margin, "s2.slowdown": 1}))
    assert (found.s, found.culprits[0]) == (wanted, culprit)


def test_a_value_in_another_unit_is_unknown() -> None:
    wrong = Item("c3", 10**6, "count", START_MS, "psutil")
    mark = judged(Evidence("n", "d", "j", START_MS, (wrong,))).mark("c3")
    assert (mark.thousandths, mark.why) == (None, "given in count, not ratio")


def test_an_unknown_signal_and_a_second_item_are_ignored() -> None:
    strange = Item("s9", 0, "ratio", START_MS, "nobody")
    evidence = comfortable()
    more = Evidence("n", "d", "j", START_MS, (*evidence.items, strange, example("s1", 0.0)))
    assert judged(more).e == 3000


def test_an_overridden_signal_counts_as_comfortable_until_its_end() -> None:
    policy = Policy(overrides=(Override("c3", START_MS + 1), Override("s1", START_MS + 1)))
    evidence = comfortable({"c3": 0.9, "s1": 0.05})
    during, after = judged(evidence, policy), judged(evidence, policy, START_MS + 1)
    assert (during.e, after.e) == (3000, 1500)
    assert during.mark("c3").why == "overridden until 2026-11-18 11:06 UTC"
    assert during.mark("c3").value == 900_000


def test_a_dedicated_box_does_not_refuse_its_own_work_for_being_busy() -> None:
    busy = comfortable({"c1.cpu": 0.9, "c1.io": 0.9, "c2": 0.0, "c3": 1.0, "c4.use": 1.0,
                        "c4.memory": 0.0, "c5": 0.1, "c1.memory": 0.05, "s4.charge": 0.0,
                        "h1": 0.02, "h4": 0.8})  # fmt: skip
    found = judged(busy, preset("dedicated"))
    assert found.e == 3000
    assert found.mark("c3").why == "does not apply under this policy"
    assert judged(busy, preset("field")).culprits == ("s4.charge", "", "")


def test_codes_and_names_are_each_given_once() -> None:
    assert len({each.code for each in TABLE}) == len({each.id for each in TABLE}) == len(TABLE)
    assert all(1 <= each.code <= 255 for each in TABLE)
