"""Policies that nobody can judge by are not made."""

import pytest

from qallow_agent.ethics.policy import Override, Policy, Ramp, overridable, preset
from qallow_agent.ethics.score import ramp_of
from qallow_agent.ethics.signals import SIGNALS


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"threshold": 2399}, "a threshold of 2399"),
        ({"threshold": 3001}, "not within 2400 to 3000"),
        ({"ramps": {"s9": Ramp(0, 1)}}, "'s9' is no signal with a ramp"),
        ({"ramps": {"s0": Ramp(0, 1)}}, "'s0' is no signal with a ramp"),
        ({"ramps": {"s1": Ramp(5, 5)}}, "one end only"),
        ({"ramps": {"s1": Ramp(0, 10**16)}}, "goes beyond"),
        ({"ramps": {"c8": Ramp(0, 1)}}, "c8 stops work and keeps its ramp"),
        ({"skipped": ("c8",)}, "'c8' cannot be skipped"),
        ({"skipped": ("c0",)}, "'c0' cannot be skipped"),
        ({"skipped": ("s9",)}, "'s9' cannot be skipped"),
        ({"overrides": (Override("h5", 1),)}, "'h5' cannot be overridden"),
        ({"overrides": (Override("s0", 1),)}, "'s0' cannot be overridden"),
    ],
)
def test_a_fault_is_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Policy(**wrong)


def test_every_preset_is_sound_and_sets_every_ramp_that_it_uses() -> None:
    for name in ("desktop", "dedicated", "field"):
        policy = preset(name)
        used = [each for each in SIGNALS.values() if each.bad is not None]
        assert [each.id for each in used if each.id not in policy.ramps] == []


def test_the_table_stands_in_where_a_policy_is_silent() -> None:
    assert ramp_of(SIGNALS["s2"], Policy()) == Ramp(0, 10_000_000)
    assert ramp_of(SIGNALS["s0"], Policy()) is None


def test_only_what_is_scored_and_no_stop_of_the_last_resort_can_be_overridden() -> None:
    barred = ["s0", "c0", "h0", "s.power", "s2.shutdown", "c8", "h5", "nothing"]
    assert [each for each in barred if overridable(each)] == []
    assert overridable("c3")
