"""The words of a scenario: durations, named fields, and short names for long ids."""

import re
from collections.abc import Mapping, Sequence

from qallow_agent.base.errors import UsageError
from qallow_agent.base.units import Seconds
from qallow_agent.testing.box import Box

Words = list[str]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([+-]?[0-9.]+)(ms|s|m|h)")
_DRAWN = re.compile(r"\b(job|lease|runner)-[a-z2-7]{16}\b")
_SHOWN = (
    "node", "name", "why", "claim", "state", "device", "jump_s", "code", "sender", "accusers",
    "hint", "task",
)  # fmt: skip
"""Facts that are worth a place in a transcript, in this order."""


def seconds(text: str) -> Seconds:
    """Return the seconds of ``250ms``, ``2s``, ``5m``, ``+1h`` or ``-1h``.

    Raises:
        UsageError: It is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no duration", hint="a number and ms, s, m or h")
    return float(match[1]) * _UNITS[match[2]]


def fields(words: Sequence[str]) -> dict[str, str]:
    """Return the ``key=value`` words."""
    return dict(word.split("=", 1) for word in words if "=" in word)


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of ``3,4,5``."""
    return tuple(int(part) for part in text.split(",") if part)


class Names:
    """Replaces ids by what a reader can tell apart: boxes by name, drawn ids by number.

    Args:
        boxes: By name.
    """

    def __init__(self, boxes: Mapping[str, Box]) -> None:
        self._boxes = boxes
        self._drawn: dict[str, str] = {}

    def plain(self, text: str) -> str:
        """Return a text with every id replaced."""
        for box in self._boxes.values():
            text = text.replace(box.id, box.name)
        return _DRAWN.sub(self._number, text)

    def facts(self, facts: Mapping[str, object]) -> str:
        """Return the facts of a notice that matter, each as ``key=value`` with a space before."""
        shown = {key: self.plain(str(facts[key])) for key in _SHOWN if facts.get(key) is not None}
        if shown.get("name") == shown.get("node"):
            shown.pop("name", None)
        return "".join(
            f" {key}={value!r}" if " " in value else f" {key}={value}"
            for key, value in shown.items()
            if value
        )

    def _number(self, match: re.Match[str]) -> str:
        kind = match[1]
        known = self._drawn.get(match[0])
        if known is None:
            count = sum(each.startswith(kind) for each in self._drawn.values()) + 1
            known = self._drawn[match[0]] = f"{kind}{count}"
        return known
