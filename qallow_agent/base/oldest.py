"""Bounded memories: what is remembered longest goes first."""

from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def keep(kept: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """Remember something as the newest; forget the oldest when there is more than ``most``."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
