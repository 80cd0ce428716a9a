"""Joules: how much energy something used, within which bounds, and how that is known."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import msgspec

from qallow_agent.base.reading import Provenance

MOST_J = 1e15
"""More than a large power station gives in a week: nobody's job used that."""
_ROUNDING = 1e-9
_LONGEST_WHY = 200
_RANK: dict[Provenance, int] = {"measured": 0, "estimated": 1, "unknown": 2}


class Joules(msgspec.Struct, frozen=True, omit_defaults=True):
    """Energy that was used; the truth lies within ``low_j`` and ``high_j`` unless unknown.

    Args:
        gross_j: With its share of what the device draws when it idles.
        net_j: Without that share.
        low_j: At least so much, net of idle.
        high_j: At most so much, idle included.
        provenance: ``unknown`` when some part was not measured: the numbers are the other parts.
        why: For estimates the model; for unknown parts the reason.
    """

    gross_j: float = 0.0
    net_j: float = 0.0
    low_j: float = 0.0
    high_j: float = 0.0
    provenance: Provenance = "measured"
    why: str = ""

    def plus(self, other: "Joules") -> "Joules":
        """Return the sum; it is known as badly as the worse of the two."""
        worse = other if _RANK[other.provenance] > _RANK[self.provenance] else self
        return Joules(
            self.gross_j + other.gross_j,
            self.net_j + other.net_j,
            self.low_j + other.low_j,
            self.high_j + other.high_j,
            worse.provenance,
            worse.why or (self.why if worse is other else other.why),
        )

    def sound(self) -> bool:
        """Return whether a peer could mean this: finite, not negative, bounds in order."""
        steps = (0.0, self.low_j, self.net_j, self.gross_j, self.high_j, MOST_J)
        if not all(math.isfinite(step) for step in steps) or len(self.why) > _LONGEST_WHY:
            return False
        slack = _ROUNDING * (1.0 + abs(self.high_j))
        return all(one <= other + slack for one, other in itertools.pairwise(steps))

    def document(self) -> dict[str, Any]:
        """Return it for people and programs: what is not known at all is None."""
        unknown = self.provenance == "unknown"
        nothing = unknown and not self.gross_j
        return {
            "gross_j": None if nothing else self.gross_j,
            "net_j": None if nothing else self.net_j,
            "low_j": self.low_j,
            "high_j": None if unknown else self.high_j,
            "provenance": self.provenance,
            "why": self.why,
        }


def caveat(provenance: Provenance, why: str) -> Joules:
    """Return no energy at all, whose provenance and reason rub off on any sum."""
    return Joules(provenance=provenance, why=why[:_LONGEST_WHY])


def unknown_joules(why: str) -> Joules:
    """Return joules that nobody measured, and why."""
    return caveat("unknown", why)


def total(parts: Iterable[Joules]) -> Joules:
    """Return the sum of parts; no energy at all when there are none."""
    whole = Joules()
    for part in parts:
        whole = whole.plus(part)
    return whole
