"""Units at the borders: parse and print durations and sizes; IEC for bytes."""

import re

from qallow_agent.base.errors import ConfigError

Seconds = float

_DURATION = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
         "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}  # fmt: skip
_JOULES = ((1e-9, "pJ", 1e12), (1e-6, "nJ", 1e9), (1e-3, "uJ", 1e6), (1.0, "mJ", 1e3),
           (1e3, "J", 1.0), (1e6, "kJ", 1e-3), (1e9, "MJ", 1e-6))  # fmt: skip
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*([a-zA-Z]*)\s*")


def parse_duration(text: str | float) -> Seconds:
    """Return seconds for ``"1.5s"``, ``"200ms"``, ``"2h"`` or a bare number of seconds.

    Raises:
        ConfigError: The text is no duration; the hint lists the units.
    """
    return _parse(text, _DURATION, "s", "duration")


def parse_size(text: str | float) -> int:
    """Return bytes for ``"64MiB"``, ``"1GB"`` or a bare number of bytes.

    Raises:
        ConfigError: The text is no size; the hint lists the units.
    """
    return int(_parse(text, _SIZE, "", "size"))


def _parse(
    text: str | float, units: dict[str, float] | dict[str, int], bare: str, what: str
) -> float:
    if isinstance(text, int | float):
        return float(text)
    match = _NUMBER.fullmatch(text)
    unit = (match.group(2).lower() or bare) if match else "?"
    if match is None or unit not in units:
        known = ", ".join(name for name in units if name)
        raise ConfigError(f"{text!r} is not a {what}", hint=f"write a number and one of: {known}")
    return float(match.group(1)) * units[unit]


def show_bytes(count: float) -> str:
    """Return a size for people: IEC units, one decimal (``"64.0 MiB"``)."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:  # noqa: PLR2004
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def show_joules(joules: float) -> str:
    """Return an energy for people with three significant digits (``"1.25 mJ"``)."""
    size = abs(joules)
    if size == 0:
        return "0 J"
    for limit, unit, scale in _JOULES:
        if size < limit:
            return f"{joules * scale:.3g} {unit}"
    return f"{joules / 1e9:.4g} GJ"


def show_seconds(seconds: float) -> str:
    """Return a duration for people with three significant digits (``"1.25 ms"``)."""
    size = abs(seconds)
    for limit, unit, scale in ((1e-6, "ns", 1e9), (1e-3, "us", 1e6), (1.0, "ms", 1e3)):
        if size < limit:
            return f"{seconds * scale:.3g} {unit}"
    if size < 120:  # noqa: PLR2004
        return f"{seconds:.3g} s"
    if size < 7200:  # noqa: PLR2004
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"
