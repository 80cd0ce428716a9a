"""Values, moments and signals in words for people."""

from qallow_agent.base.units import show_joules, show_seconds

_DAY_S = 86_400
_WHOLE_S = range(600)
"""Whole seconds that are shown as such: 0 is no nanoseconds, and 180 is better known than 3 min."""


def show_value(value: int | None, unit: str) -> str:
    """Return a value in human units: ``34.7 %``, ``1.2 ms``, ``8.4 C``."""
    if value is None:
        return "unknown"
    number = value / 1_000_000
    if unit == "ratio":
        return f"{number * 100:.4g} %"
    if unit == "seconds":
        return f"{number:.4g} s" if number in _WHOLE_S else show_seconds(number)
    if unit == "joules":
        return show_joules(number)
    if unit == "flag":
        return "yes" if value else "no"
    return f"{number:.4g}{ {'celsius': ' C', 'watts': ' W'}.get(unit, '') }"


def show_thousandths(thousandths: int) -> str:
    """Return thousandths with their three decimals: 2612 as ``2.612``."""
    sign = "-" if thousandths < 0 else ""
    whole, rest = divmod(abs(thousandths), 1000)
    return f"{sign}{whole}.{rest:03d}"


def show_moment(unix_ms: int) -> str:
    """Return a moment to the minute in UTC: ``2026-11-25 21:30 UTC``.

    Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    """
    days, second = divmod(unix_ms // 1000, _DAY_S)
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    shifted = (5 * day + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9  # noqa: PLR2004 - March begins the year
    year += 400 * era + (month <= 2)  # noqa: PLR2004
    date = f"{year:04d}-{month:02d}-{day - (153 * shifted + 2) // 5 + 1:02d}"
    return f"{date} {second // 3600:02d}:{second // 60 % 60:02d} UTC"
