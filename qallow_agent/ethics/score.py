"""E = S + C + H of a placement, in thousandths: a pure function of evidence and policy.

A component is the *minimum* of its available signals and of its ceiling, never an average, so that
there is always one named culprit. Only integers are used: the same bits on every machine.
"""

import msgspec

from qallow_agent.base.reading import Provenance
from qallow_agent.ethics.evidence import MAX_VALUE, Evidence, Item
from qallow_agent.ethics.policy import Policy, Ramp, overridden_until
from qallow_agent.ethics.signals import (
    EARLY_MS,
    HALF_MEASURED,
    NEVER_MS,
    POWER,
    PRESSURE,
    SCORED,
    SIGNALS,
    TEMPERATURE,
    UNMEASURED,
    Component,
    Signal,
)
from qallow_agent.ethics.words import show_moment

FULL = 1000


class Mark(msgspec.Struct, frozen=True):
    """What one signal came to.

    Args:
        signal: Which one.
        value: Millionths of its unit; None when unknown.
        thousandths: 0 to 1000; None when it did not count.
        provenance: Of the value.
        stop: Why work stops because of it; else empty.
        why: Why it is unknown, skipped, capped, estimated or overridden.
        source: Where the value was read.
        overridden: It counts as comfortable by the owner's word.
    """

    signal: str
    value: int | None
    thousandths: int | None
    provenance: Provenance
    stop: str = ""
    why: str = ""
    source: str = ""
    overridden: bool = False


class Score(msgspec.Struct, frozen=True):
    """What a placement came to; all numbers are thousandths.

    Args:
        s: Sustainability, 0 to 1000.
        c: Compassion, 0 to 1000.
        h: Harmony, 0 to 1000.
        culprits: The signal that each component is no greater for; empty where it is 1000.
        stops: Signals that stop work whatever the score, in the table's order.
        marks: What each signal came to, in the table's order; only those with evidence, skipped or
            overridden ones, and the three ceilings.
        solo: This node never had peers, by design.
    """

    s: int
    c: int
    h: int
    culprits: tuple[str, str, str]
    stops: tuple[str, ...]
    marks: tuple[Mark, ...]
    solo: bool = False

    @property
    def e(self) -> int:
        """The sum, 0 to 3000."""
        return self.s + self.c + self.h

    def component(self, name: Component) -> int:
        """Return one of the three."""
        return {"s": self.s, "c": self.c, "h": self.h}[name]

    def mark(self, signal: str) -> Mark | None:
        """Return what a signal came to; None when nothing was said about it."""
        return next((mark for mark in self.marks if mark.signal == signal), None)


def ramp(value: int, ends: Ramp) -> int:
    """Return the thousandths of a value, rounded down: 0 at the bad end, 1000 at the good one."""
    bounded = max(-MAX_VALUE, min(MAX_VALUE, value))
    share = (bounded - ends.bad) * FULL // (ends.good - ends.bad)
    return max(0, min(FULL, share))


def ramp_of(signal: Signal, policy: Policy) -> Ramp | None:
    """Return the ramp of a signal under a policy; None for what is computed or only supports."""
    own = policy.ramps.get(signal.id)
    if own is not None or signal.bad is None or signal.good is None:
        return own
    return Ramp(signal.bad, signal.good)


def score(evidence: Evidence, policy: Policy, now_ms: int) -> Score:
    """Return the score of a placement; the same bits on every machine.

    Args:
        evidence: What is known.
        policy: What it is judged by.
        now_ms: Milliseconds of Unix time by the clock of the evidence.
    """
    items: dict[str, Item] = {}
    for item in evidence.items:
        items.setdefault(item.signal, item)
    reasons = {name: doubt(item, now_ms) for name, item in items.items()}
    known = {name: item for name, item in items.items() if not reasons[name]}
    solo = _solo(known)
    until = overridden_until(policy)
    marks: list[Mark] = []
    for signal in SCORED:
        name = signal.id
        if until.get(name, now_ms) > now_ms:
            marks.append(_overridden(name, known.get(name), until[name]))
        elif name in policy.skipped:
            marks.append(Mark(name, None, None, "unknown", why="does not apply under this policy"))
        elif signal.role == "ceiling":
            marks.append(_ceiling(name, known, solo=solo))
        elif name in known and (ends := ramp_of(signal, policy)) is not None:
            marks.append(_mark(signal, known[name], ends))
        elif name in items:
            marks.append(_unknown(signal, items[name], reasons[name]))
    return _sum(marks, solo=solo)


def doubt(item: Item, now_ms: int) -> str:
    """Return why the value of an item does not count as known; empty when it does."""
    signal = SIGNALS.get(item.signal)
    if signal is None:
        return "no such signal"
    if item.value is None or item.provenance == "unknown":
        return item.why or "not measured"
    if item.unit != signal.unit:
        return f"given in {item.unit}, not {signal.unit}"
    age_ms = now_ms - item.time_ms
    if signal.age_ms != NEVER_MS and age_ms > signal.age_ms:
        return f"{age_ms / 1000:.1f} s old"
    if signal.age_ms != NEVER_MS and age_ms < -EARLY_MS:
        return f"{-age_ms / 1000:.1f} s in the future"
    return ""


def _mark(signal: Signal, item: Item, ends: Ramp) -> Mark:
    thousandths = ramp(item.value or 0, ends)
    stop = signal.stop if thousandths == 0 else ""
    return Mark(signal.id, item.value, thousandths, item.provenance, stop, item.why, item.source)


def _unknown(signal: Signal, item: Item, why: str) -> Mark:
    if signal.closed:
        return Mark(signal.id, None, 0, "unknown", signal.stop, why, item.source)
    return Mark(signal.id, None, None, "unknown", "", why, item.source)


def _overridden(name: str, item: Item | None, until_ms: int) -> Mark:
    why = f"overridden until {show_moment(until_ms)}"
    if item is None:
        return Mark(name, None, FULL, "unknown", why=why, overridden=True)
    return Mark(name, item.value, FULL, item.provenance, "", why, item.source, overridden=True)


def _ceiling(name: str, known: dict[str, Item], *, solo: bool) -> Mark:
    if name == "s0":
        thousandths, why = _ceiling_s(known)
    elif name == "c0":
        measured = any(_measured(each, known) for each in PRESSURE)
        thousandths = FULL if measured else UNMEASURED
        why = "" if measured else "neither pressure nor wake-up latency is measured"
    else:
        heard = "h.fresh" in known and (known["h.fresh"].value or 0) > 0
        thousandths = FULL if heard or solo else UNMEASURED
        why = "solo" if solo else "" if heard else "no fresh word from any peer"
    return Mark(name, thousandths * 1000, thousandths, "measured", "", why)


def _ceiling_s(known: dict[str, Item]) -> tuple[int, str]:
    power = any(_measured(each, known) for each in POWER)
    temperature = any(_measured(each, known) for each in TEMPERATURE)
    if power and temperature:
        return FULL, ""
    if not any(each in known for each in (*POWER, *TEMPERATURE)):
        return UNMEASURED, "no reading of power and none of temperature"
    missing = " and ".join(
        word for word, there in (("power", power), ("temperature", temperature)) if not there
    )
    return HALF_MEASURED, f"no measured reading of {missing}"


def _measured(name: str, known: dict[str, Item]) -> bool:
    return name in known and known[name].provenance == "measured"


def _solo(known: dict[str, Item]) -> bool:
    return "h.known" in known and known["h.known"].value == 0


def _sum(marks: list[Mark], *, solo: bool) -> Score:
    """Return the minimum of each component; a stop goes before any score, else the first wins."""
    least = {"s": FULL, "c": FULL, "h": FULL}
    culprits = {"s": "", "c": "", "h": ""}
    for mark in marks:
        if mark.thousandths is None:
            continue
        rank = -1 if mark.stop else mark.thousandths
        component = mark.signal[0]
        if rank < least[component]:
            least[component] = rank
            culprits[component] = mark.signal
    return Score(
        max(0, least["s"]),
        max(0, least["c"]),
        max(0, least["h"]),
        (culprits["s"], culprits["c"], culprits["h"]),
        tuple(mark.signal for mark in marks if mark.stop),
        tuple(marks),
        solo,
    )
