"""Targets: which values, reached together, lift a score to where work is admitted."""

import msgspec

from qallow_agent.ethics.policy import Policy, Ramp, overridable
from qallow_agent.ethics.score import FULL, Mark, Score, ramp_of
from qallow_agent.ethics.signals import COMPONENTS, OPERATORS, SIGNALS


class Target(msgspec.Struct, frozen=True):
    """A value that a signal must reach.

    Args:
        signal: Which one.
        value: Millionths of its unit; None for what must be measured, or heard, at all.
        rising: Whether it must be at least the value, not at most.
    """

    signal: str
    value: int | None
    rising: bool = True


def targets(score: Score, policy: Policy, needed: int) -> tuple[Target, ...]:
    """Return the least that signals must reach for a score to come to ``needed``.

    Stops are lifted first, then the worst component is raised as far as it takes, then the next:
    so there are as few culprits as can be, in the order of their weight.
    """
    ranks = {
        mark.signal: -1 if mark.stop else mark.thousandths
        for mark in score.marks
        if mark.thousandths is not None
    }
    found: list[Target] = []
    for mark in score.marks:
        if mark.stop:
            found.append(_reach(mark, FULL, policy))
            ranks[mark.signal] = FULL
    while (short := needed - sum(_components(ranks))) > 0:
        worst = min(_components(ranks))
        component = COMPONENTS[_components(ranks).index(worst)]
        if worst >= FULL:
            break
        aim = min(FULL, worst + short)
        for mark in score.marks:
            if mark.signal[0] == component and ranks.get(mark.signal, FULL) < aim:
                found.append(_reach(mark, aim, policy))
                ranks[mark.signal] = aim
    return tuple(found)


def overrides(wanted: tuple[Target, ...]) -> tuple[str, ...]:
    """Return the signals whose override by an owner is enough; empty when it cannot be."""
    names = tuple(each.signal for each in wanted)
    return names if all(overridable(each) and each not in OPERATORS for each in names) else ()


def inverse(thousandths: int, ends: Ramp) -> int:
    """Return the value nearest to the bad end of a ramp that counts that many thousandths."""
    width = abs(ends.good - ends.bad)
    step = -(-thousandths * width // FULL)
    return ends.bad + step if ends.good > ends.bad else ends.bad - step


def _components(ranks: dict[str, int]) -> list[int]:
    least = dict.fromkeys(COMPONENTS, FULL)
    for name, rank in ranks.items():
        component = SIGNALS[name].component
        least[component] = min(least[component], rank)
    return list(least.values())


def _reach(mark: Mark, aim: int, policy: Policy) -> Target:
    ends = ramp_of(SIGNALS[mark.signal], policy)
    if ends is None:
        return Target(mark.signal, None)
    return Target(mark.signal, inverse(aim, ends), ends.good > ends.bad)
