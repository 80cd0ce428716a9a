"""Quiet hours: minutes of some days of the week in which a node takes no new work."""

import re

import msgspec

DAY_M = 1_440
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = tuple(range(len(DAYS)))
OFFSET_LIMIT_M = 14 * 60
"""Civil time runs from 12 hours behind UTC to 14 hours ahead of it."""

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_EPOCH_DAY = 3
"""1970-01-01 was a Thursday."""


class Hours(msgspec.Struct, frozen=True, array_like=True, order=True, forbid_unknown_fields=True):
    """One span of quiet: from ``start_m`` to ``end_m`` of the days on which it begins.

    Minutes count from midnight of a clock that is ``offset_m`` minutes ahead of UTC all year: rooms
    know no time zones, and two nodes must never differ about what a policy says. A span that ends
    before it starts ends on the next day; equal ends make a whole day.
    """

    start_m: int
    end_m: int
    days: tuple[int, ...] = EVERY_DAY
    offset_m: int = 0

    def end_s(self, wall_s: float) -> int | None:
        """Return when the span that is on ends, seconds since 1970; None while it is not on."""
        local_m = int(wall_s // 60) + self.offset_m
        today, minute = divmod(local_m, DAY_M)
        length_m = (self.end_m - self.start_m) % DAY_M or DAY_M
        for begun in (today, today - 1):
            since_m = (today - begun) * DAY_M + minute - self.start_m
            if (begun + _EPOCH_DAY) % len(DAYS) in self.days and 0 <= since_m < length_m:
                return (local_m - since_m + length_m - self.offset_m) * 60
        return None

    def next_change_s(self, wall_s: float) -> int:
        """Return when this span can next begin or end, seconds since 1970; always after now."""
        local_m = int(wall_s // 60) + self.offset_m
        ahead_m = min((edge - local_m - 1) % DAY_M + 1 for edge in (self.start_m, self.end_m))
        return (local_m + ahead_m - self.offset_m) * 60


def quiet_until_s(spans: tuple[Hours, ...], wall_s: float) -> int | None:
    """Return when the last of the spans that are on ends; None when it is not quiet."""
    ends = [end for span in spans if (end := span.end_s(wall_s)) is not None]
    return max(ends, default=None)


def show_hours(hours: Hours) -> str:
    """Return a span as people write it: ``22:00-07:00 mon,tue +01:00``."""
    span = f"{show_clock(hours.start_m)}-{show_clock(hours.end_m)}"
    days = "" if hours.days == EVERY_DAY else " " + ",".join(DAYS[day] for day in hours.days)
    return f"{span}{days} {show_offset(hours.offset_m)}"


def show_offset(offset_m: int) -> str:
    """Return an offset to UTC as ISO 8601 writes it: ``+01:00``."""
    return f"{'-' if offset_m < 0 else '+'}{show_clock(abs(offset_m))}"


def parse_clock(text: str) -> int | None:
    """Return the minutes of a time of day such as ``07:30``; None when it is none."""
    found = _CLOCK.fullmatch(text)
    return None if found is None else int(found.group(1)) * 60 + int(found.group(2))


def parse_offset(text: str) -> int | None:
    """Return the minutes ahead of UTC of an offset such as ``+01:00`` or ``Z``; None without."""
    if text == "Z":
        return 0
    minutes = parse_clock(text[1:]) if text[:1] in {"+", "-"} else None
    return None if minutes is None else -minutes if text[0] == "-" else minutes


def show_clock(minutes: int) -> str:
    """Return minutes of a day as ``07:30``."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
