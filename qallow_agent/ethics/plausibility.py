"""Plausibility: what evidence says that no honest sensor, clock or counter would say.

A thermometer that lies plausibly passes: evidence is checked against physics, against itself and
against earlier evidence of the same device, never against the truth.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from qallow_agent.ethics.evidence import MILLION, Evidence, Item
from qallow_agent.ethics.signals import EARLY_MS, SENSOR_MS, SIGNALS

MOST_POWER = 1_200_000
"""Most that a board draws, in millionths of its limit: supplies overshoot for milliseconds."""
MOST_SLOPE = 20
"""Most degrees a second that the temperature of a die moves between two readings of a sensor."""
ENERGY_SHARE = 150_000
"""Most by which a counter differs from integrated power, in millionths of the integral."""
ENERGY_SLACK = MILLION
"""And one joule more, the resolution of coarse counters."""
HEADROOM_SLACK = 50_000
"""How much more headroom than the board's own limit leaves is put down to rounding and delay."""
_SHARES = (
    "s3", "s4.charge", "s5", "c1.cpu", "c1.io", "c1.memory", "c3", "c4.use", "c4.memory", "h2",
    "h4",
)  # fmt: skip
_RANGES: dict[str, tuple[int | None, int | None]] = {
    **dict.fromkeys(_SHARES, (0, MILLION)),
    "s1": (None, MILLION),  # below nothing while a board draws more than its cap
    "s.temperature": (-60 * MILLION, 150 * MILLION),  # no die works beyond
}
_POLICIES = (0, 970_000, MILLION)
_NOTHING_BELOW = ("seconds", "joules", "watts", "count")


class Finding(msgspec.Struct, frozen=True):
    """What a validator objects to.

    Args:
        signal: Which signal; empty for what concerns the decision as a whole.
        why: What is wrong with it, in words.
    """

    signal: str
    why: str


def implausible(evidence: Evidence) -> list[Finding]:
    """Return what is wrong with evidence taken by itself, in the order of its items."""
    found: list[Finding] = []
    seen: dict[str, Item] = {}
    for item in evidence.items:
        if item.signal in seen:
            found.append(Finding(item.signal, "is given twice"))
            continue
        seen[item.signal] = item
        why = _wrong(item, evidence.at_ms)
        if why:
            found.append(Finding(item.signal, why))
    return found + _power(seen)


def impossible(trail: Sequence[Evidence]) -> list[Finding]:
    """Return what is wrong with evidence of one device over time, the oldest first.

    Readings further apart than a sensor's word holds are not compared.
    """
    found: list[Finding] = []
    for before, after in pairwise(_series(trail, "s.temperature")):
        ms = after.time_ms - before.time_ms
        moved = abs(_number(after) - _number(before))
        if 0 < ms <= SENSOR_MS and moved * 1000 > MOST_SLOPE * MILLION * ms:
            found.append(
                Finding("s.temperature", f"moved {moved / MILLION:.1f} C in {ms / 1000:.2f} s")
            )
    return found + _energy(trail)


def _wrong(item: Item, at_ms: int) -> str:
    signal = SIGNALS.get(item.signal)
    if signal is None:
        return "is no signal"
    if signal.role == "ceiling":
        return "is computed, and nobody's to give"
    if item.time_ms > at_ms + EARLY_MS:
        return f"was measured {(item.time_ms - at_ms) / 1000:.1f} s after the evidence"
    if item.value is None:
        return "" if item.provenance == "unknown" else f"is {item.provenance}, yet has no value"
    if item.unit != signal.unit:
        return f"is in {item.unit}, not {signal.unit}"
    return _beyond(item.signal, item.unit, item.value)


def _beyond(name: str, unit: str, value: int) -> str:
    """Return why a value is one that its signal cannot have."""
    number = f"{value / MILLION:g}"
    choices = _POLICIES if name == "h3" else (0, MILLION) if unit == "flag" else ()
    if choices and value not in choices:
        return f"is {number}, none of {', '.join(f'{each / MILLION:g}' for each in choices)}"
    least, most = _RANGES.get(name, (0 if unit in _NOTHING_BELOW else None, None))
    if least is not None and value < least:
        return f"is {number}, below {least / MILLION:g}"
    if most is not None and value > most:
        return f"is {number}, above {most / MILLION:g}"
    return f"is {number}, no whole number" if unit == "count" and value % MILLION else ""


def _power(seen: dict[str, Item]) -> list[Finding]:
    power, limit = _value(seen, "s.power"), _value(seen, "s.limit")
    if power is None or limit is None or limit <= 0:
        return []
    if power * MILLION > MOST_POWER * limit:
        words = f"is {power / MILLION:g} W on a board limited to {limit / MILLION:g} W"
        return [Finding("s.power", words)]
    headroom = _value(seen, "s1")
    left = (limit - power) * MILLION // limit
    if headroom is not None and headroom > left + HEADROOM_SLACK:
        words = f"leaves {headroom / MILLION:g} where the board's limit leaves {left / MILLION:g}"
        return [Finding("s1", words)]
    return []


def _energy(trail: Sequence[Evidence]) -> list[Finding]:
    """Compare the counter with the power between its readings, by the trapezoidal rule."""
    powers = {item.time_ms: _number(item) for item in _series(trail, "s.power")}
    counter = [item for item in _series(trail, "s.energy") if item.time_ms in powers]
    integral = counted = 0  # nanojoules: millionths of watts times milliseconds
    for before, after in pairwise(counter):
        ms = after.time_ms - before.time_ms
        used = _number(after) - _number(before)
        if not 0 < ms <= SENSOR_MS or used < 0:  # a gap, or a counter that began anew
            continue
        integral += (powers[before.time_ms] + powers[after.time_ms]) * ms // 2
        counted += used * 1000
    if abs(counted - integral) * MILLION > ENERGY_SHARE * integral + ENERGY_SLACK * 1000 * MILLION:
        words = f"counts {counted / 1e9:.1f} J where the power makes {integral / 1e9:.1f} J"
        return [Finding("s.energy", words)]
    return []


def _series(trail: Sequence[Evidence], name: str) -> list[Item]:
    """Return the measured readings of a signal over time, each once."""
    found: list[Item] = []
    for evidence in trail:
        item = evidence.find(name)
        if item is None or item.value is None or item.provenance != "measured":
            continue
        if not found or item.time_ms > found[-1].time_ms:
            found.append(item)
    return found


def _number(item: Item) -> int:
    return item.value or 0


def _value(seen: dict[str, Item], name: str) -> int | None:
    return seen[name].value if name in seen else None
