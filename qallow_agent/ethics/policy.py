"""The policy in force on a node: what placements are judged by, and what else it allows."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.ethics.clauses import ANY, Committee, Grant, Zone, permits
from qallow_agent.ethics.evidence import MAX_VALUE
from qallow_agent.ethics.hours import Hours
from qallow_agent.ethics.signals import SIGNALS, TABLE, UNSKIPPABLE

PresetName = Literal["dedicated", "desktop", "field"]

LEAST_THRESHOLD = 2400
MOST_THRESHOLD = 3000
DEFAULT_THRESHOLD = 2900
PUBLIC = "public"
"""The class of data that names none."""
_DOMAIN = "qallow/policy/v1"


class Ramp(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """From the hard limit to comfort, in millionths of the signal's unit; either may be greater."""

    bad: int
    good: int


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The owner's word that a signal counts as comfortable until a moment.

    Args:
        signal: Which one; never the pause or a forked ledger.
        until_ms: When it ends, milliseconds of Unix time.
        reason: Why, in the owner's words.
    """

    signal: str
    until_ms: int
    reason: str = ""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a placement is judged by.

    Args:
        version: Grows with every change that the operator signs.
        threshold: Thousandths of E from which work is admitted; 2400 to 3000.
        ramps: Ramp of each signal; the table's where one is missing.
        skipped: Signals that do not apply on this kind of box.
        overrides: Signals that count as comfortable for a while.
        preset: What kind of box it is for.
        grants: Who may submit what where; without any, whoever holds a submitter's certificate.
        own_grants: The owner's word about this node, which must permit too; without any, it does.
        observers: Roles and nodes that may look; without any, every member.
        administrators: Roles and nodes that may administer; without any, as certificates say.
        zones: What each zone is for; one that is not named takes ``public`` data only. Without
            any, all zones take all data.
        own_classes: Classes of data that the owner admits on this node; without any, all.
        quiet: When no work is taken.
        consent: Whether the owner lets this node work at all.
        committee: Who certifies.
        prices: For each hour of the day (UTC) the millionths of its percentile of carbon or price;
            empty when there is no schedule.
        dvfs: Whether frequencies and power limits of devices may be changed.
    """

    version: int = 0
    threshold: int = DEFAULT_THRESHOLD
    ramps: Mapping[str, Ramp] = {}
    skipped: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    preset: str = "desktop"
    grants: tuple[Grant, ...] = ()
    own_grants: tuple[Grant, ...] = ()
    observers: tuple[str, ...] = ()
    administrators: tuple[str, ...] = ()
    zones: Mapping[str, Zone] = {}
    own_classes: tuple[str, ...] = ()
    quiet: tuple[Hours, ...] = ()
    consent: bool = True
    committee: Committee = Committee()
    prices: tuple[int, ...] = ()
    dvfs: bool = False

    def __post_init__(self) -> None:
        """Refuse a policy that nobody can judge by; decoders turn this into errors of their own."""
        wrong = faults(self)
        if wrong:
            raise ValueError("; ".join(wrong))

    def may(self, whoever: Iterable[str], kernel: str, zone: str) -> bool:
        """Return whether a member, given by its id and roles, may have a kernel run in a zone.

        Certificates are judged elsewhere; this can only take away.
        """
        names = tuple(whoever)
        return all(
            not grants or permits(grants, names, kernel, zone)
            for grants in (self.grants, self.own_grants)
        )

    def takes(self, zone: str, data_class: str = PUBLIC) -> bool:
        """Return whether data of a class may be worked on in a zone, and here if it is ours."""
        named = self.zones.get(zone, Zone((PUBLIC,))) if self.zones else Zone()
        own = not self.own_classes or ANY in self.own_classes or data_class in self.own_classes
        return own and named.takes(data_class)


def faults(policy: Policy) -> list[str]:
    """Return what is wrong with a policy, as far as scoring needs it, in words for its author."""
    wrong: list[str] = []
    if not LEAST_THRESHOLD <= policy.threshold <= MOST_THRESHOLD:
        bounds = f"{LEAST_THRESHOLD} to {MOST_THRESHOLD}"
        wrong.append(f"a threshold of {policy.threshold} thousandths is not within {bounds}")
    wrong += [word for name, ends in policy.ramps.items() if (word := _ramp_fault(name, ends))]
    for name in policy.skipped:
        signal = SIGNALS.get(name)
        if signal is None or signal.role != "signal" or name in UNSKIPPABLE:
            wrong.append(f"{name!r} cannot be skipped")
    wrong += [
        f"{each.signal!r} cannot be overridden"
        for each in policy.overrides
        if not overridable(each.signal)
    ]
    return wrong


def _ramp_fault(name: str, ends: Ramp) -> str:
    signal = SIGNALS.get(name)
    if signal is None or signal.bad is None:
        return f"{name!r} is no signal with a ramp"
    if ends.bad == ends.good:
        return f"the ramp of {name} has one end only: {ends.bad}"
    if max(abs(ends.bad), abs(ends.good)) > MAX_VALUE:
        return f"the ramp of {name} goes beyond {MAX_VALUE} millionths"
    if signal.stop and (ends.bad, ends.good) != (signal.bad, signal.good):
        return f"{name} stops work and keeps its ramp"
    return ""


def overridable(name: str) -> bool:
    """Return whether a policy may override a signal; what is not measured cannot be wished away."""
    signal = SIGNALS.get(name)
    return signal is not None and signal.role == "signal" and name not in UNSKIPPABLE


def overridden_until(policy: Policy) -> dict[str, int]:
    """Return until when each overridden signal is, milliseconds of Unix time."""
    until: dict[str, int] = {}
    for each in policy.overrides:
        until[each.signal] = max(each.until_ms, until.get(each.signal, each.until_ms))
    return until


def policy_digest(policy: Policy) -> bytes:
    """Return the 32-byte SHA-256 of a policy under its own domain."""
    return hashlib.sha256(canonical(_DOMAIN, policy)).digest()


def preset(name: PresetName, version: int = 0) -> Policy:
    """Return one of the policies that come with the agent.

    ``desktop`` is for boxes that people use or others compute on; ``dedicated`` for boxes with
    neither; ``field`` for those of them that run on battery or far from their peers.
    """
    ramps = {
        each.id: Ramp(each.bad, each.good)
        for each in TABLE
        if each.bad is not None and each.good is not None
    }
    if name == "desktop":
        return Policy(version, ramps=ramps, preset=name)
    ramps |= {  # nobody's comfort is at stake, and a busy box must not refuse for being busy
        "c1.memory": Ramp(200_000, 50_000),
        "c5": Ramp(500_000, 100_000),
        "h1": Ramp(100_000, 20_000),
        "h4": Ramp(300_000, 800_000),
    }
    skipped = ("c1.cpu", "c1.io", "c2", "c3", "c4.use", "c4.memory")
    if name == "field":
        wide = ramps | {"h1": Ramp(250_000, 50_000)}
        return Policy(version, ramps=wide, skipped=skipped, preset=name)
    return Policy(version, ramps=ramps, skipped=("s4.charge", *skipped), preset=name)
