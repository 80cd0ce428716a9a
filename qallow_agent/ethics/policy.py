"""The policy as far as scoring needs it: threshold, ramps, what is skipped, what is overridden."""

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.ethics.signals import TABLE

PresetName = Literal["dedicated", "desktop", "field"]

LEAST_THRESHOLD = 2400
MOST_THRESHOLD = 3000
DEFAULT_THRESHOLD = 2900
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
    """

    version: int = 0
    threshold: int = DEFAULT_THRESHOLD
    ramps: Mapping[str, Ramp] = {}
    skipped: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()


def policy_digest(policy: Policy) -> bytes:
    """Return the 32-byte SHA-256 of a policy under its own domain."""
    return hashlib.sha256(canonical(_DOMAIN, policy)).digest()


def preset(name: PresetName, version: int = 0) -> Policy:
    """Return one of the policies that come with the agent."""
    ramps = {
        each.id: Ramp(each.bad, each.good)
        for each in TABLE
        if each.bad is not None and each.good is not None
    }
    if name == "desktop":
        return Policy(version, ramps=ramps)
    ramps |= {
        "c1.memory": Ramp(200_000, 50_000),
        "c5": Ramp(500_000, 100_000),
        "h1": Ramp(100_000, 20_000),
        "h4": Ramp(300_000, 800_000),
    }
    skipped = ("c1.cpu", "c1.io", "c2", "c3", "c4.use", "c4.memory")
    if name == "field":
        return Policy(version, ramps=ramps | {"h1": Ramp(250_000, 50_000)}, skipped=skipped)
    return Policy(version, ramps=ramps, skipped=(*skipped, "s4.charge"))
