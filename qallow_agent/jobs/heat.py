"""Heat: when a device counts as hot, and when it is cool again. It never flaps.

A device is hot at once when it reaches its limit or its own guard slows it down for heat. It is
cool only after it stayed a margin below the limit, unslowed, for a while; whatever happens in
between starts that while anew.
"""

from dataclasses import dataclass

from qallow_agent.base.units import Seconds
from qallow_agent.jobs.settings import JobSettings


@dataclass(frozen=True, slots=True)
class Warmth:
    """What the sensors say of a device's heat right now.

    Args:
        temperature_c: Its temperature; None when unknown.
        limit_c: Where it slows itself down; None when unknown.
        slowed: It is being slowed down for heat.
    """

    temperature_c: float | None = None
    limit_c: float | None = None
    slowed: bool = False


UNKNOWN = Warmth()


@dataclass(frozen=True, slots=True)
class Heat:
    """Whether a device counts as hot.

    Args:
        why: What made it hot, in words that do not change while it is; "" while it is not.
        cool_since_s: Since when it has been cool again, while it still counts as hot.
    """

    why: str = ""
    cool_since_s: Seconds | None = None

    @property
    def hot(self) -> bool:
        """Whether it counts as hot."""
        return bool(self.why)


COOL = Heat()


def after(heat: Heat, warmth: Warmth, now_s: Seconds, settings: JobSettings) -> Heat:
    """Return how a device counts after one more look at it.

    Args:
        heat: How it counted before.
        warmth: What its sensors say now; a device without any never counts as hot.
        now_s: When they were read.
        settings: ``cool_margin_c`` and ``cool_hold_s``.
    """
    reason = _reason(warmth)
    if reason:
        return Heat(heat.why or reason)
    if not heat.hot:
        return COOL
    if not _cool(warmth, settings.cool_margin_c):
        return Heat(heat.why)
    since_s = now_s if heat.cool_since_s is None else heat.cool_since_s
    if now_s - since_s >= settings.cool_hold_s:
        return COOL
    return Heat(heat.why, since_s)


def _reason(warmth: Warmth) -> str:
    temperature_c, limit_c = warmth.temperature_c, warmth.limit_c
    if temperature_c is not None and limit_c is not None and temperature_c >= limit_c:
        return f"it reached {temperature_c:.0f} C and slows down at {limit_c:.0f} C"
    return "it is slowed down for heat" if warmth.slowed else ""


def _cool(warmth: Warmth, margin_c: float) -> bool:
    if warmth.temperature_c is None or warmth.limit_c is None:
        return True  # only its own guard told of the heat, and now it tells of none
    return warmth.temperature_c <= warmth.limit_c - margin_c
