"""Fixes: what gets work admitted: another place, waiting, a person's act, an owner's override."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.ethics.gate import Verdict
from qallow_agent.ethics.remedies import REMEDIES
from qallow_agent.ethics.score import Score
from qallow_agent.ethics.signals import SIGNALS
from qallow_agent.ethics.targets import Target, overrides
from qallow_agent.ethics.words import show_thousandths, show_value

PLACES = 3
"""Other places that a refusal names at most."""
LONGEST_S: Seconds = 86_400.0
"""A trend is believed for a day at most."""
_MOVE_S: Seconds = 5.0
_ACT_S: Seconds = 60.0
_UNCERTAIN_S: Seconds = 120.0
_OVERRIDE_S: Seconds = 300.0
"""What each way costs a person, as seconds of waiting: they only put the ways into an order."""


class Elsewhere(msgspec.Struct, frozen=True):
    """Another place that would take the work.

    Args:
        node: The node's id or name, as people know it.
        device: The device's name there.
        e: Its thousandths of E.
        latency_us: Microseconds that each task spends more on the way.
    """

    node: str
    device: str
    e: int
    latency_us: int


class Fix(msgspec.Struct, frozen=True):
    """One way to get the work admitted.

    Args:
        kind: ``wait``, ``elsewhere``, ``act`` (by a person) or ``override`` (by the owner).
        text: What to do, in one sentence.
        commands: The commands that do it, where there are any.
        wait_s: How long it is expected to take; None when unknown.
    """

    kind: Literal["wait", "elsewhere", "act", "override"]
    text: str
    commands: tuple[str, ...] = ()
    wait_s: Seconds | None = None

    @property
    def command(self) -> str:
        """The commands in one line for a shell; empty where there are none."""
        return " && ".join(self.commands)


def fixes(
    node: str,
    score: Score,
    verdict: Verdict,
    wanted: tuple[Target, ...],
    slopes: Mapping[str, int],
    elsewhere: tuple[Elsewhere, ...],
) -> tuple[Fix, ...]:
    """Return what gets work admitted at a node, the cheapest first.

    Args:
        node: Whose owner may override.
        score: What it came to.
        verdict: What the gate said.
        wanted: The values that must be reached; empty when only time is missing.
        slopes: Observed trends, millionths of the signals' units a second.
        elsewhere: Places that would take it, the best first.
    """
    costs = [
        (_MOVE_S + each.latency_us / 1e6, _move(each)) for each in elsewhere[:PLACES]
    ]  # fmt: skip
    costs.append(_wait(score, verdict, wanted, slopes))
    costs += [
        (_ACT_S * (1 + place), Fix("act", remedy.text, (remedy.command,) if remedy.command else ()))
        for target in wanted
        for place, remedy in enumerate(REMEDIES[target.signal])
    ]
    names = overrides(wanted)
    if names:
        commands = tuple(f"qallow-agent policy override {each} --for 2h" for each in names)
        them = "it" if len(names) == 1 else "them"
        word = f"as the owner of {node}, override {them} for a while"
        costs.append((_OVERRIDE_S, Fix("override", word, commands)))
    unique: dict[tuple[str, str], Fix] = {}
    for _, fix in sorted(costs, key=lambda each: each[0]):
        unique.setdefault((fix.kind, fix.text), fix)
    return tuple(unique.values())


def show_target(target: Target) -> str:
    """Return a target in words: ``c3 is at most 27.5 %``."""
    signal = SIGNALS[target.signal]
    if target.value is None:
        return f"{target.signal} ({signal.name}) is known"
    if signal.unit == "flag":
        state = "allows it" if target.rising else "is over"
        return f"{target.signal} ({signal.name}) {state}"
    bound = "at least" if target.rising else "at most"
    return f"{target.signal} is {bound} {show_value(target.value, signal.unit)}"


def _move(place: Elsewhere) -> Fix:
    further = f", {show_seconds(place.latency_us / 1e6)} further away" if place.latency_us else ""
    text = f"run it on {place.node}/{place.device}: E {show_thousandths(place.e)}{further}"
    return Fix("elsewhere", text, wait_s=0.0)


def _wait(
    score: Score, verdict: Verdict, wanted: tuple[Target, ...], slopes: Mapping[str, int]
) -> tuple[Seconds, Fix]:
    """Return what waiting costs and brings, judged by the gate's own clock or by trends."""
    if not wanted:
        wait_s = verdict.wait_s if verdict.wait_s is not None else 0.0
        text = f"wait {show_seconds(wait_s)}: the gate opens when the score holds that long"
        return wait_s, Fix("wait", text, wait_s=wait_s)
    aim = " and ".join(show_target(each) for each in wanted)
    waits = [_reached_s(each, score, slopes) for each in wanted]
    if any(each is None for each in waits):
        missing = [each.signal for each in wanted if each.signal not in slopes]
        trend = "no trend is known" if missing else "the present trend does not lead there"
        return _UNCERTAIN_S, Fix("wait", f"wait until {aim}; {trend}")
    wait_s = max(each for each in waits if each is not None)
    text = f"wait about {show_seconds(wait_s)}, at the present trend, until {aim}"
    return wait_s, Fix("wait", text, wait_s=wait_s)


def _reached_s(target: Target, score: Score, slopes: Mapping[str, int]) -> Seconds | None:
    mark = score.mark(target.signal)
    slope = slopes.get(target.signal, 0)
    if mark is None or mark.value is None or target.value is None or slope == 0:
        return None
    wait_s = (target.value - mark.value) / slope
    return wait_s if 0 <= wait_s <= LONGEST_S else None
