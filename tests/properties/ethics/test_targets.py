"""Whatever the evidence: what a refusal asks for, and what it would override, is enough."""

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.ethics.evidence import Evidence, Item
from qallow_agent.ethics.policy import Override, Policy, PresetName, Ramp, overridable, preset
from qallow_agent.ethics.score import ramp, score
from qallow_agent.ethics.signals import OPERATORS, SIGNALS, TABLE
from qallow_agent.ethics.targets import Target, inverse, overrides, targets

NOW_MS = 1_795_000_000_000
PRESETS: tuple[PresetName, ...] = ("desktop", "dedicated", "field")
ENDS = st.integers(-(10**9), 10**9)
MEASURED = {"s0": ("s.power", "s.temperature"), "c0": ("c5",), "h0": ("h.fresh",)}


@st.composite
def items(draw: st.DrawFn) -> Item:
    signal = SIGNALS[draw(st.sampled_from([each.id for each in TABLE if each.role != "ceiling"]))]
    low, high = sorted((signal.bad or 0, signal.good or 1_000_000))
    value = draw(st.one_of(st.none(), st.integers(low, high)))
    age_ms = draw(st.sampled_from([0, 0, 0, 4_000]))
    grade = draw(st.sampled_from(["measured", "estimated"]))
    return Item(signal.id, value, signal.unit, NOW_MS - age_ms, "test", grade)


def reached(target: Target) -> list[Item]:
    if target.value is None:
        comfortable = {"s.power": 1, "s.temperature": 1, "c5": 0, "h.fresh": 1_000_000}
        return [
            Item(name, comfortable[name], SIGNALS[name].unit, NOW_MS, "test")
            for name in MEASURED[target.signal]
        ]
    return [Item(target.signal, target.value, SIGNALS[target.signal].unit, NOW_MS, "test")]


@settings(max_examples=300, deadline=None)
@given(st.lists(items(), max_size=20), st.sampled_from(PRESETS), st.integers(2400, 3000))
def test_reaching_every_target_is_enough_and_so_is_every_override(
    given_: list[Item], name: PresetName, needed: int
) -> None:
    policy = preset(name)
    before = score(Evidence("n", "d", "j", NOW_MS, tuple(given_)), policy, NOW_MS)
    wanted = targets(before, policy, needed)
    assert bool(wanted) == (before.e < needed or bool(before.stops))
    better = [item for target in wanted for item in reached(target)]
    after = score(Evidence("n", "d", "j", NOW_MS, (*better, *given_)), policy, NOW_MS)
    assert (after.e >= needed, after.stops) == (True, ())
    names = overrides(wanted)
    if not names:
        barred = [each.signal for each in wanted if not overridable(each.signal)]
        assert not wanted or barred or any(each.signal in OPERATORS for each in wanted)
        return
    lifted = Policy(
        1, 2900, policy.ramps, policy.skipped, tuple(Override(each, NOW_MS + 1) for each in names)
    )
    assert score(Evidence("n", "d", "j", NOW_MS, tuple(given_)), lifted, NOW_MS).e >= needed


@given(st.integers(0, 1000), ENDS, ENDS)
def test_the_inverse_of_a_ramp_is_the_nearest_value_that_is_enough(
    thousandths: int, bad: int, good: int
) -> None:
    if bad == good:
        return
    ends = Ramp(bad, good)
    value = inverse(thousandths, ends)
    step = 1 if good > bad else -1
    assert ramp(value, ends) >= thousandths
    assert thousandths == 0 or ramp(value - step, ends) < thousandths
