"""What is remembered of links, start-ups and heat."""

import math

import pytest

from qallow_agent.placement.experience import Experience


def test_measurements_are_folded_in() -> None:
    seen = Experience(30.0)
    assert seen.link("a") is None
    seen.learn_link("a", 1e8)
    seen.learn_link("a", 2e8)
    assert seen.link("a") == pytest.approx(1.3e8)
    seen.learn_start("a/cpu0", 0.5)
    assert seen.start_s("a/cpu0") == 0.5


@pytest.mark.parametrize("nonsense", [0.0, -1.0, math.nan, math.inf, 1e300])
def test_nonsense_is_not_remembered(nonsense: float) -> None:
    seen = Experience(30.0)
    seen.learn_link("a", nonsense)
    seen.learn_start("a/cpu0", nonsense)
    assert seen.link("a") is None
    assert seen.start_s("a/cpu0") is None


def test_a_device_seen_hot_stays_hot_for_a_while() -> None:
    seen = Experience(30.0)
    assert not seen.hot("a", 0.0, seen_hot=False)
    assert seen.hot("a", 1.0, seen_hot=True)
    assert seen.hot("a", 30.0, seen_hot=False)
    assert not seen.hot("a", 31.0, seen_hot=False)


def test_only_so_much_is_remembered() -> None:
    seen = Experience(30.0)
    for number in range(5_000):
        seen.learn_link(str(number), 1e6)
        seen.hot(str(number), 0.0, seen_hot=True)
    assert seen.link("0") is None
    assert seen.link("4999") == 1e6
    assert not seen.hot("0", 1.0, seen_hot=False)
