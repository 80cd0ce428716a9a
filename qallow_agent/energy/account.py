"""Accounts: who used which part of what a device drew.

Net of idle, energy goes to whoever was busy, in proportion to busy seconds. What the device draws
anyway is shared by slots: a job bears it for the seconds and slots it kept busy, the rest is
idle. So the shares of a window and its idle part always add up to what the device drew.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from qallow_agent.base.joules import Joules
from qallow_agent.base.units import Seconds

SHARED = "the device's energy, shared by busy seconds with other jobs"
NO_IDLE = "the device's energy; what it draws when idle is not known yet"
_DOWN, _UP = 0.5, 0.1
"""Weights of a lower and a higher reading: idle is the least a device draws, and a start-up or a
canary is not idle."""
_RELAX = 0.02
"""How fast the bounds close in: within a minute or two."""


@dataclass(slots=True)
class Baseline:
    """What a device draws when none of its runners is busy, in watts, and how that varies."""

    mean_w: float
    least_w: float
    most_w: float

    def observe(self, power_w: float) -> None:
        """Take in the power of a window in which nobody was busy."""
        self.mean_w += (_DOWN if power_w < self.mean_w else _UP) * (power_w - self.mean_w)
        self.least_w = min(power_w, self.least_w + _RELAX * (self.mean_w - self.least_w))
        self.most_w = max(power_w, self.most_w + _RELAX * (self.mean_w - self.most_w))


@dataclass(frozen=True, slots=True)
class Split:
    """One window's energy, shared out.

    Args:
        shares: By account.
        idle_j: What nobody used.
    """

    shares: dict[str, Joules]
    idle_j: float


def split(
    drawn_j: float,
    length_s: Seconds,
    busy_s: Mapping[str, Seconds],
    slots: int,
    baseline: Baseline | None,
) -> Split:
    """Return how a window's energy is shared.

    A lone user's net share lies between what was drawn beyond the most and beyond the least that
    idling takes. Several users: the meter cannot tell them apart, so each may have used none or
    all of it.

    Args:
        drawn_j: What the device drew.
        length_s: The window's length, above 0.
        busy_s: Busy seconds by account, each above 0.
        slots: Runners the device has room for.
        baseline: What it draws when idle; None when that is not known.
    """
    if not busy_s:
        return Split({}, drawn_j)
    least_j = mean_j = 0.0
    most_j = drawn_j
    if baseline is not None:
        mean_j = min(drawn_j, baseline.mean_w * length_s)
        least_j = min(mean_j, baseline.least_w * length_s)
        most_j = min(drawn_j, max(mean_j, baseline.most_w * length_s))
    whole_s = sum(busy_s.values())
    room_s = max(whole_s, slots * length_s)
    alone = len(busy_s) == 1
    why = "" if alone else SHARED
    why = why if baseline is not None else NO_IDLE
    shares: dict[str, Joules] = {}
    for account, seconds in busy_s.items():
        net_j = (drawn_j - mean_j) * seconds / whole_s
        standing_j = mean_j * seconds / room_s
        shares[account] = Joules(
            gross_j=net_j + standing_j,
            net_j=net_j,
            low_j=drawn_j - most_j if alone else 0.0,
            high_j=drawn_j - least_j + standing_j,
            provenance="estimated" if why else "measured",
            why=why,
        )
    return Split(shares, drawn_j - sum(share.gross_j for share in shares.values()))
