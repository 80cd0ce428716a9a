"""The validator: an honest decision passes, and each way of tampering is named."""

import msgspec
import pytest

from qallow_agent.ethics.evidence import Evidence, Item, digest
from qallow_agent.ethics.examples import START_MS, comfortable, example
from qallow_agent.ethics.gate import Gate
from qallow_agent.ethics.plausibility import Finding, implausible, impossible
from qallow_agent.ethics.policy import policy_digest, preset
from qallow_agent.ethics.records import record
from qallow_agent.ethics.score import score
from qallow_agent.ethics.validator import Claim, Observations, revalidate

DESKTOP = preset("desktop")
SEEN = Observations(
    START_MS + 900,
    offset_us=400,
    bound_us=300,
    own_us=900,
    live=("a", "b", "c"),
    their_live=("a", "b", "c"),
)


def claimed(evidence: Evidence) -> Claim:
    """Return the honest decision on evidence."""
    found = score(evidence, DESKTOP, evidence.at_ms)
    made = record(evidence, found, Gate().judge("d", found, 0.0), evidence.at_ms - 100)
    return Claim(evidence, made, evidence.at_ms - 100, policy_digest(DESKTOP))


def doctored(claim: Claim, **changed: object) -> Claim:
    """Return a claim whose record says something else."""
    return msgspec.structs.replace(claim, record=msgspec.structs.replace(claim.record, **changed))


def objections(claim: Claim, seen: Observations = SEEN) -> list[str]:
    return [each.signal for each in revalidate(claim, DESKTOP, seen)]


@pytest.mark.parametrize(
    "changed",
    [{}, {"c3": 0.4}, {"c8": 0}, {"s1": None, "s.power": None}, {"h.fresh": 0}, {"h5": None},
     {"s2.shutdown": 1}, {"s1": -0.4}, {"h3": 0.97}],
)  # fmt: skip
def test_an_honest_decision_passes(changed: dict[str, float | None]) -> None:
    assert revalidate(claimed(comfortable(changed)), DESKTOP, SEEN) == []


def test_waiting_to_reopen_is_honest_too() -> None:
    evidence, gate = comfortable(), Gate()
    found = score(evidence, DESKTOP, START_MS)
    gate.judge("d", score(comfortable({"c8": 0}), DESKTOP, START_MS), 0.0)
    made = record(evidence, found, gate.judge("d", found, 1.0), START_MS)
    claim = Claim(evidence, made, START_MS, policy_digest(DESKTOP))
    assert revalidate(claim, DESKTOP, SEEN) == []


@pytest.mark.parametrize(
    ("changed", "signals"),
    [
        ({"c": 1000}, ["c3"]),
        ({"c": 401}, ["c3"]),
        ({"s": 999}, ["s0"]),
        ({"culprits": (0, 27, 0)}, ["c3"]),
        ({"admission": 0, "running": 0}, ["c3"]),
        ({"running": 2}, ["c3"]),
        ({"flags": 4}, ["c3"]),
        ({"evidence": bytes(12)}, [""]),
        ({"job": bytes(8)}, [""]),
        ({"device": bytes(4)}, [""]),
        ({"ms": 101}, [""]),
    ],
)
def test_a_doctored_record_is_found_out(changed: dict[str, object], signals: list[str]) -> None:
    assert objections(doctored(claimed(comfortable({"c3": 0.4})), **changed)) == signals


def test_a_stop_that_the_record_hides_is_found_out() -> None:
    claim = claimed(comfortable({"c8": 0}))
    found = objections(doctored(claim, c=1000, admission=0, running=0, flags=0, culprits=(0, 0, 0)))
    assert found == ["c8", "c8"]


def test_evidence_that_was_changed_afterwards_is_found_out() -> None:
    claim = claimed(comfortable({"c3": 0.4}))
    better = msgspec.structs.replace(claim, evidence=comfortable({"c3": 0.1}))
    assert objections(better) == ["", "c0", ""]


def test_another_policy_than_the_leaf_names_is_found_out() -> None:
    claim = msgspec.structs.replace(claimed(comfortable()), policy=bytes(32))
    assert objections(claim) == ["h3"]


@pytest.mark.parametrize("signal", ["c6", "c7", "c8", "h3"])
def test_leaving_out_what_would_stop_is_no_way_around_it(signal: str) -> None:
    assert objections(claimed(comfortable(without=(signal,)))) == [signal]


@pytest.mark.parametrize(("late_ms", "sound"), [(9_000, True), (11_000, False), (-11_000, False)])
def test_old_evidence_and_evidence_from_the_future_are_refused(late_ms: int, sound: bool) -> None:  # noqa: FBT001
    seen = msgspec.structs.replace(SEEN, now_ms=START_MS + late_ms)
    assert objections(claimed(comfortable()), seen) == ([] if sound else [""])


def test_age_is_judged_by_the_nodes_clock_as_the_validator_knows_it() -> None:
    seen = msgspec.structs.replace(SEEN, now_ms=START_MS + 60_000, offset_us=-60_000_000)
    assert objections(claimed(comfortable({"h1": 60.0})), seen) == []


@pytest.mark.parametrize(
    ("signal", "value", "words"),
    [
        ("s.power", 115.0, "on a board limited to 95 W"),
        ("s.power", -1.0, "below 0"),
        ("s1", 0.6, "where the board's limit leaves"),
        ("s1", 1.1, "above 1"),
        ("s.temperature", 400.0, "above 150"),
        ("c3", 1.2, "above 1"),
        ("c1.cpu", -0.1, "below 0"),
        ("c2", -3.0, "below 0"),
        ("c8", 0.5, "none of 0, 1"),
        ("h3", 0.99, "none of 0, 0.97, 1"),
        ("h.fresh", 1.5, "no whole number"),
    ],
)
def test_what_no_sensor_would_say_is_found_out(signal: str, value: float, words: str) -> None:
    found = [
        each
        for each in revalidate(claimed(comfortable({signal: value})), DESKTOP, SEEN)
        if each.signal == signal
    ]
    assert [each.why for each in found if words in each.why]


def test_a_board_may_overshoot_its_limit_by_a_fifth() -> None:
    assert implausible(comfortable({"s.power": 114.0, "s1": -0.2})) == []


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Item("s9", 1, "ratio", START_MS, "x"), "is no signal"),
        (Item("s0", 1, "ratio", START_MS, "x"), "nobody's to give"),
        (example("c3", 0.0), "given twice"),
    ],
)
def test_items_that_have_no_place_are_found_out(item: Item, words: str) -> None:
    evidence = comfortable()
    more = Evidence("n", "d", "j", START_MS, (*evidence.items, item))
    assert [each.why for each in implausible(more) if words in each.why]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Item("c3", None, "ratio", START_MS, "x", "measured"), "yet has no value"),
        (Item("c3", 1, "count", START_MS, "x"), "is in count, not ratio"),
        (Item("c3", 1, "ratio", START_MS + 5_000, "x"), "5.0 s after the evidence"),
    ],
)
def test_items_that_contradict_themselves_are_found_out(item: Item, words: str) -> None:
    alone = Evidence("n", "d", "j", START_MS, (item,))
    assert [each.signal for each in implausible(alone) if words in each.why] == ["c3"]


def trail(
    powers: list[float], joules: list[float], degrees: list[float], step_ms: int = 1000
) -> list[Evidence]:
    return [
        Evidence(
            "n", "d", "", at_ms,
            (example("s.power", watts, at_ms), example("s.energy", energy, at_ms),
             example("s.temperature", heat, at_ms)),
        )
        for at_ms, watts, energy, heat in zip(
            range(START_MS, START_MS + 10**9, step_ms), powers, joules, degrees, strict=False
        )
    ]  # fmt: skip


def test_a_temperature_moves_twenty_degrees_a_second_at_most() -> None:
    steady = [60.0] * 3, [0.0, 60.0, 120.0]
    assert impossible(trail(*steady, [40.0, 60.0, 79.0])) == []
    assert impossible(trail(*steady, [40.0, 60.5, 61.0])) == [
        Finding("s.temperature", "moved 20.5 C in 1.00 s")
    ]
    assert impossible(trail(*steady, [20.0, 90.0, 90.0], step_ms=4_000)) == []


@pytest.mark.parametrize(
    ("joules", "sound"),
    [([0, 100, 200, 300], True), ([0, 114, 228, 342], True), ([0, 120, 240, 360], False),
     ([0, 80, 160, 240], False), ([900, 0, 100, 200], True)],
)  # fmt: skip
def test_a_counter_and_the_power_tell_the_same_energy(joules: list[float], sound: bool) -> None:  # noqa: FBT001
    found = [each.signal for each in impossible(trail([100.0] * 4, joules, [50.0] * 4))]
    assert found == ([] if sound else ["s.energy"])


def test_earlier_evidence_is_part_of_the_judgement() -> None:
    before = comfortable({"s.temperature": 20.0}, at_ms=START_MS - 1_000)
    before = Evidence("n", "d", "", before.at_ms, before.items)
    seen = msgspec.structs.replace(SEEN, trail=(before,))
    found = objections(claimed(comfortable()), seen)
    assert found == ["s.temperature", "s.energy"]


@pytest.mark.parametrize(("offset_us", "sound"), [(3_000, True), (-3_301, False), (3_301, False)])
def test_a_clock_that_the_validator_measured_otherwise(offset_us: int, sound: bool) -> None:  # noqa: FBT001
    seen = msgspec.structs.replace(SEEN, offset_us=offset_us)
    assert objections(claimed(comfortable()), seen) == ([] if sound else ["h1"])


def test_a_fork_that_the_validator_can_prove() -> None:
    seen = msgspec.structs.replace(SEEN, forked=True)
    assert objections(claimed(comfortable()), seen) == ["h5"]
    assert objections(claimed(comfortable({"h5": 0})), seen) == []


def test_disagreements_that_the_validator_was_part_of() -> None:
    seen = msgspec.structs.replace(SEEN, disagreements=30)
    assert objections(claimed(comfortable()), seen) == ["h2"]
    assert objections(claimed(comfortable({"h2": 0.97})), seen) == []


def test_a_node_that_is_heard_is_not_alone() -> None:
    assert objections(claimed(comfortable({"h.known": 0}))) == ["h.known"]


def test_a_live_set_that_is_nothing_like_ours() -> None:
    seen = msgspec.structs.replace(SEEN, their_live=("c", "d", "e", "f"))
    assert objections(claimed(comfortable()), seen) == ["h4"]
    assert objections(claimed(comfortable({"h4": 0.7})), seen) == []


def test_the_digest_covers_every_member() -> None:
    plain = comfortable()
    others = [
        msgspec.structs.replace(plain, **{name: value})
        for name, value in (("node", "x"), ("device", "x"), ("job", "x"), ("at_ms", 1))
    ]
    assert len({digest(plain), *(digest(each) for each in others)}) == 5
