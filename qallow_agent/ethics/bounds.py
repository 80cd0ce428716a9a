"""Bounds of policies: everything that can be wrong with one that has the right shape.

A fault names the key as its author writes it, so that the file and line can be found.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import ID_LENGTH
from qallow_agent.ethics.clauses import HOURS_A_DAY, MOST_COMMITTEE, Grant
from qallow_agent.ethics.evidence import MAX_VALUE, MILLION
from qallow_agent.ethics.hours import DAY_M, EVERY_DAY, OFFSET_LIMIT_M, Hours
from qallow_agent.ethics.lines import Path, show_path
from qallow_agent.ethics.mesh_policy import MAX_VERSION, PRESETS, MeshPolicy
from qallow_agent.ethics.owner import WHY_LIMIT, OwnerPolicy, rises
from qallow_agent.ethics.policy import (
    LEAST_THRESHOLD,
    MOST_THRESHOLD,
    Override,
    Ramp,
)
from qallow_agent.ethics.signals import SIGNALS, TABLE

MOST_CLAUSES = 64
"""Grants, zones, quiet hours and overrides, each: more is a mistake, or an attack on memory."""
MOST_NAMES = 64
_NAME = re.compile(r"[A-Za-z0-9*?\[\]!_.:/-]{1,128}", re.ASCII)
_NODE = re.compile(rf"[a-z2-7]{{{ID_LENGTH}}}", re.ASCII)

RAMPED: Mapping[str, Ramp] = {
    each.id: Ramp(each.bad, each.good)
    for each in TABLE
    if each.bad is not None and each.good is not None
}
"""Signals that have a ramp, with the table's: its slope is the only one that makes sense."""

SCORED = tuple(each.id for each in TABLE if each.role == "signal")

FIXED: Mapping[str, str] = {
    "s2.shutdown": "it says that heat has shut a device down",
    "c8": "a pause ends with 'qallow-agent resume'",
    "h5": "a forked ledger is evidence, which nobody can wave aside",
}
"""Signals that nobody can do without, and why."""

OPERATORS: Mapping[str, str] = {
    **FIXED,
    "c7": "where data may go is for the mesh's operator to say",
    "h3": "a node that holds another policy than its mesh cannot be judged by it",
}
"""Signals that no owner can do without, and why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where it stands, what stands there, and what may."""

    path: Path
    value: object
    bounds: str

    def __str__(self) -> str:
        return f"{show_path(self.path)} = {self.value}: {self.bounds}"


def check_mesh(policy: MeshPolicy) -> None:
    """Check the bounds of a policy that came from a peer.

    Raises:
        Malformed: Something is out of bounds.
    """
    fault = next(mesh_faults(policy), None)
    if fault is not None:
        raise Malformed(f"a policy is out of bounds: {fault}")


def check_owner(policy: OwnerPolicy) -> None:
    """Check the bounds of an owner's policy.

    Raises:
        Malformed: Something is out of bounds.
    """
    fault = next(owner_faults(policy), None)
    if fault is not None:
        raise Malformed(f"an owner's policy is out of bounds: {fault}")


def mesh_faults(policy: MeshPolicy) -> Iterator[Fault]:
    """Yield everything that is wrong with a mesh's policy."""
    if not 0 <= policy.version <= MAX_VERSION:
        yield Fault(("version",), policy.version, f"0 to {MAX_VERSION}")
    yield from _threshold(policy.threshold)
    if not policy.presets:
        yield Fault(("allow_presets",), "{}", f"at least one of {', '.join(PRESETS)}")
    for name, profile in policy.presets.items():
        if name not in PRESETS:
            yield Fault(("presets", name), name, nearest(name, PRESETS))
        yield from ramp_faults(profile.ramps, ("presets", name, "ramps"))
        for signal in profile.skipped:
            yield from _skipped(("presets", name, "skipped"), signal)
    yield from _grants(policy.grants)
    for key, names in (("observe", policy.observers), ("administer", policy.administrators)):
        yield from _names((key,), names)
    yield from _many("zones", policy.zones)
    for name, zone in policy.zones.items():
        yield from _names(("zones", name), (name,))
        yield from _names(("zones", name, "classes"), zone.classes)
    yield from _quiet(policy.quiet)
    yield from _many("overrides", policy.overrides)
    for place, override in enumerate(policy.overrides):
        yield from override_faults(override, ("overrides", place), FIXED)
    yield from _committee(policy)
    yield from _prices(policy.prices)


def owner_faults(policy: OwnerPolicy) -> Iterator[Fault]:
    """Yield everything that is wrong with an owner's policy."""
    if policy.threshold:
        yield from _threshold(policy.threshold)
    yield from ramp_faults(policy.ramps, ("ramps",))
    for signal in policy.required:
        if signal not in SCORED:
            yield Fault(("required",), signal, nearest(signal, SCORED))
    yield from _grants(policy.grants)
    yield from _names(("classes",), policy.classes)
    yield from _quiet(policy.quiet)


def ramp_faults(ramps: Mapping[str, Ramp], where: Path) -> Iterator[Fault]:
    """Yield what is wrong with some ramps."""
    for signal, ramp in ramps.items():
        key = (*where, signal)
        usual = RAMPED.get(signal)
        if usual is None:
            yield Fault(key, signal, nearest(signal, RAMPED))
        elif max(abs(ramp.bad), abs(ramp.good)) > MAX_VALUE:
            yield Fault(key, _show(ramp), f"at most {MAX_VALUE // MILLION} either way")
        elif SIGNALS[signal].stop and ramp != usual:
            yield Fault(key, _show(ramp), f"it stops work and keeps its ramp, {_show(usual)}")
        elif ramp.bad == ramp.good or rises(ramp) != rises(usual):
            better = "above" if rises(usual) else "below"
            yield Fault(key, _show(ramp), f"good must be {better} bad")


def override_faults(
    override: Override, where: Path, fixed: Mapping[str, str] = OPERATORS
) -> Iterator[Fault]:
    """Yield what is wrong with an exception; its end is judged where the time is known."""
    if override.signal in fixed:
        yield Fault((*where, "signal"), override.signal, f"cannot be: {fixed[override.signal]}")
    elif override.signal not in SCORED:
        yield Fault((*where, "signal"), override.signal, nearest(override.signal, SCORED))
    if not 0 <= override.until_ms < 1 << 53:
        yield Fault((*where, "until"), override.until_ms, "a moment")
    if not is_reason(override.reason):
        yield Fault((*where, "why"), "...", f"at most {WHY_LIMIT} letters on one line")


def is_reason(text: str) -> bool:
    """Return whether a text may be kept as a reason: short, and harmless on a terminal."""
    return len(text) <= WHY_LIMIT and (not text or text.isprintable())


def signals_of(word: str) -> tuple[str, ...]:
    """Return the scored signals that a word names: one, or all parts of one, as ``c1`` does."""
    return tuple(name for name in SCORED if name == word) or tuple(
        name for name in SCORED if name.partition(".")[0] == word
    )


def _threshold(value: int) -> Iterator[Fault]:
    if not LEAST_THRESHOLD <= value <= MOST_THRESHOLD:
        bounds = f"{LEAST_THRESHOLD / 1000:.3f} to {MOST_THRESHOLD / 1000:.3f}"
        yield Fault(("threshold",), f"{value / 1000:.3f}", bounds)


def _skipped(key: Path, signal: str) -> Iterator[Fault]:
    if signal in FIXED:
        yield Fault(key, signal, f"cannot be: {FIXED[signal]}")
    elif signal not in SCORED:
        yield Fault(key, signal, nearest(signal, SCORED))


def _grants(grants: tuple[Grant, ...]) -> Iterator[Fault]:
    yield from _many("submit", grants)
    for place, grant in enumerate(grants):
        for name, words in (("who", grant.who), ("kernels", grant.kernels), ("zones", grant.zones)):
            yield from _names(("submit", place, name), words)
            if not words:
                yield Fault(("submit", place, name), "[]", 'at least one, "*" for any')


def _quiet(spans: tuple[Hours, ...]) -> Iterator[Fault]:
    yield from _many("quiet", spans)
    for place, hours in enumerate(spans):
        key: Path = ("quiet", place)
        if not (0 <= hours.start_m < DAY_M and 0 <= hours.end_m < DAY_M):
            yield Fault(key, f"{hours.start_m}-{hours.end_m}", "minutes of a day")
        if not hours.days or any(day not in EVERY_DAY for day in hours.days):
            yield Fault((*key, "days"), list(hours.days), "at least one day of a week")
        if abs(hours.offset_m) > OFFSET_LIMIT_M:
            yield Fault((*key, "offset"), hours.offset_m, "at most 14 hours either way")


def _committee(policy: MeshPolicy) -> Iterator[Fault]:
    committee = policy.committee
    if not 1 <= committee.size <= MOST_COMMITTEE:
        yield Fault(("committee", "size"), committee.size, f"1 to {MOST_COMMITTEE}")
    if len(committee.members) > MOST_COMMITTEE:
        found = len(committee.members)
        yield Fault(("committee", "members"), f"{found} nodes", f"at most {MOST_COMMITTEE}")
    if len(set(committee.members)) != len(committee.members):
        yield Fault(("committee", "members"), "a node twice", "each node once")
    for node in committee.members:
        if not _NODE.fullmatch(node):
            bounds = f"a node id of {ID_LENGTH} letters and digits, as 'peers --json' shows it"
            yield Fault(("committee", "members"), node[:40], bounds)


def _prices(prices: tuple[int, ...]) -> Iterator[Fault]:
    if len(prices) not in {0, HOURS_A_DAY}:
        yield Fault(("prices",), f"{len(prices)} hours", f"{HOURS_A_DAY}, one an hour of the day")
    for hour, value in enumerate(prices):
        if not 0 <= value <= MILLION:
            yield Fault(("prices", hour), value / MILLION, "0 to 1")


def _names(key: Path, names: tuple[str, ...]) -> Iterator[Fault]:
    if len(names) > MOST_NAMES:
        yield Fault(key, f"{len(names)} names", f"at most {MOST_NAMES}")
    for name in names:
        if not _NAME.fullmatch(name):
            yield Fault(key, repr(name[:40]), "1 to 128 letters, digits and any of *?[]!_.:/-")


def _many(key: str, clauses: Mapping[str, object] | tuple[object, ...]) -> Iterator[Fault]:
    if len(clauses) > MOST_CLAUSES:
        yield Fault((key,), f"{len(clauses)} of them", f"at most {MOST_CLAUSES}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a did-you-mean for an unknown word, or all the known ones."""
    names = tuple(known)
    near = get_close_matches(word, names, n=1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(names)}"


def _show(ramp: Ramp) -> str:
    return f"{ramp.bad / MILLION:g} -> {ramp.good / MILLION:g}"
