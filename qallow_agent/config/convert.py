"""From what a file, a variable or a command line says to a setting's value, judged strictly."""

import math
from typing import Any

from qallow_agent.base.errors import ConfigError
from qallow_agent.base.units import parse_duration, parse_size
from qallow_agent.config.tree import Entry, Value

_WORDS = {"true": True, "yes": True, "on": True, "1": True,
          "false": False, "no": False, "off": False, "0": False}  # fmt: skip


def convert(entry: Entry, raw: object, source: str) -> Value:
    """Return the value of a setting as its type wants it.

    Numbers named ``_s`` also take durations (``"1.5s"``, ``"200ms"``), numbers named ``_bytes``
    sizes (``"64MiB"``); lists also take ``"a, b"``.

    Raises:
        ConfigError: The raw value is of another kind; names the key, the value and its source.
    """
    try:
        return _convert(entry, raw)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(
            f"{entry.key} = {_show(raw)} ({source}) is not {wanted(entry)}",
            hint=f"for example {_example(entry)}",
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{entry.key} ({source}): {error.message}", hint=error.hint) from error


def wanted(entry: Entry) -> str:
    """Return in words what a setting takes."""
    if entry.kind is bool:
        return "true or false"
    if entry.kind is int:
        return "a size in bytes" if _is_size(entry) else "a whole number"
    if entry.kind is float:
        return "a duration in seconds" if _is_duration(entry) else "a number"
    return "a text" if entry.kind is str else "a list of texts"


def _convert(entry: Entry, raw: object) -> Value:
    if entry.kind is bool:
        return _bool(raw)
    if entry.kind is str:
        if not isinstance(raw, str):
            raise TypeError
        return raw
    if entry.kind in {int, float}:
        return _number(entry, raw)
    return _texts(raw)


def _bool(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    word = _WORDS.get(raw.strip().lower()) if isinstance(raw, str) else None
    if word is None:
        raise ValueError
    return word


def _number(entry: Entry, raw: object) -> int | float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise TypeError
    if isinstance(raw, str) and not _is_plain(raw):
        if _is_size(entry):
            raw = parse_size(raw)
        elif _is_duration(entry):
            raw = parse_duration(raw)
    number = float(raw)
    if not math.isfinite(number):
        raise ValueError
    if entry.kind is float:
        return number
    if isinstance(raw, str):
        return int(raw)
    if number != int(raw):
        raise ValueError
    return int(raw)


def _is_plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _texts(raw: object) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(part for part in (piece.strip() for piece in raw.split(",")) if part)
    if not isinstance(raw, list | tuple) or not all(isinstance(part, str) for part in raw):
        raise TypeError
    return tuple(raw)


def _is_size(entry: Entry) -> bool:
    return entry.name.endswith("_bytes")


def _is_duration(entry: Entry) -> bool:
    return entry.name.endswith("_s")


def _example(entry: Entry) -> str:
    default: Any = entry.default
    if entry.kind is bool:
        return "true"
    if entry.kind is str:
        return f'"{default or "text"}"'
    if isinstance(default, tuple):
        return f"[{', '.join(repr(part) for part in default or ('text',))}]"
    return str(default)


def _show(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 - fits a line
