"""Notices: what a room tells the world. Logs, status and metrics subscribe to this one stream."""

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened, under a stable event name.

    Args:
        event: Stable dotted name, e.g. ``"member.suspect"``.
        text: One constant sentence for people; variable parts go into ``facts``.
        level: How loudly to say it.
        facts: Named values; numbers carry their unit as a suffix of the name.
    """

    event: str
    text: str
    level: Level = "info"
    facts: dict[str, str | int | float | bool | None] = field(default_factory=dict)
