"""Temperatures: thermal zones with their trip points, and the sensors of CPUs (hwmon)."""

from dataclasses import dataclass
from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.runtime.sensing.files import ROOT, folders, number, reading, text

_MILLI = 1e-3
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower")
"""Chips on the CPU itself, best first. Other boards show their CPU as a thermal zone."""
_CPU_ZONES = ("x86_pkg_temp", "cpu", "soc", "tj", "acpitz")
"""Words in the names of zones that follow the CPU, best first."""
_THROTTLES_AT_CRITICAL = ("coretemp",)
"""Chips whose "critical" is where the CPU begins to slow itself down (PROCHOT), not its end."""
_MARGIN_C = 10.0
_SANE_C = (30.0, 150.0)
"""Firmware leaves trip points at 0, -274 or 255 when it does not use them."""
_MOST_SPOTS = 4
"""The package is the hottest of its cores: reading all of 64 would wake them every second."""


@dataclass(frozen=True, slots=True)
class Thermometer:
    """Where one thing's temperature is read, and the limits its maker gave.

    Args:
        spots: Files of millidegrees; the hottest counts.
        limit: Where it slows down.
        shutdown: Where it, or the machine, turns off.
    """

    spots: tuple[Path, ...]
    source: str
    limit: Reading
    shutdown: Reading

    def read(self) -> dict[str, Reading]:
        """Return temperature, limit and shutdown temperature."""
        found = [reading(spot, "celsius", self.source, _MILLI) for spot in self.spots]
        known = [each for each in found if each.value is not None]
        hottest = max(known, key=lambda each: each.value or 0.0) if known else found[0]
        return {
            "temperature": hottest,
            "temperature_limit": self.limit,
            "temperature_shutdown": self.shutdown,
        }


def cpu_thermometer(root: Path = ROOT) -> Thermometer | None:
    """Return the best thermometer of the CPU; None when the machine shows none."""
    return _chip(root) or zone_thermometer(_CPU_ZONES, root)


def zone_thermometer(words: tuple[str, ...], root: Path = ROOT) -> Thermometer | None:
    """Return the thermal zone whose name fits best.

    Args:
        words: What to look for in the names, best first.
        root: Where sys/ lies.
    """
    zones = [
        (text(zone / "type").lower(), zone)
        for zone in folders(root / "sys/class/thermal", "thermal_zone*")
    ]
    for word in words:
        for name, zone in zones:
            if word in name:
                limit, shutdown = _trips(zone, f"thermal:{name}")
                return Thermometer((zone / "temp",), f"thermal:{name}", limit, shutdown)
    return None


def _chip(root: Path) -> Thermometer | None:
    chips = [(text(chip / "name"), chip) for chip in folders(root / "sys/class/hwmon", "hwmon*")]
    for wanted in _CPU_CHIPS:
        for name, chip in chips:
            if name != wanted:
                continue
            spots = folders(chip, "temp*_input")
            if not spots:
                continue
            package = [
                spot
                for spot in spots
                if text(_beside(spot, "label")).startswith(("Package", "Tctl", "Tdie"))
            ]
            source = f"hwmon:{name}"
            limit = unknown("celsius", source, "the chip names no temperature to slow down at")
            critical = number(_beside(spots[0], "crit"))
            if name in _THROTTLES_AT_CRITICAL and critical and _sane(critical * _MILLI):
                limit = Reading(critical * _MILLI, "celsius", source)
            zone = zone_thermometer(_CPU_ZONES, root)
            none = unknown("celsius", source, "the chip names no temperature to shut down at")
            if limit.value is None and zone is not None:
                limit = zone.limit
            shutdown = none if zone is None else zone.shutdown
            return Thermometer(tuple((package or spots)[:_MOST_SPOTS]), source, limit, shutdown)
    return None


def _trips(zone: Path, source: str) -> tuple[Reading, Reading]:
    """Return where a zone's device slows down and where the machine turns off."""
    trips: dict[str, float] = {}
    for kind in folders(zone, "trip_point_*_type"):
        heat_c = (number(kind.with_name(kind.name.replace("_type", "_temp"))) or 0.0) * _MILLI
        name = text(kind)
        if _sane(heat_c):
            trips[name] = min(heat_c, trips.get(name, heat_c))
    shutdown = unknown("celsius", source, "its thermal zone has no critical trip point")
    if "critical" in trips:
        shutdown = Reading(trips["critical"], "celsius", source)
    slow = [trips[name] for name in ("passive", "hot") if name in trips]
    if slow:
        return Reading(min(slow), "celsius", source), shutdown
    if shutdown.value is None:
        return unknown("celsius", source, "its thermal zone has no trip points"), shutdown
    why = f"{_MARGIN_C:g} C below the critical trip point"
    return Reading(shutdown.value - _MARGIN_C, "celsius", source, "estimated", why), shutdown


def _beside(spot: Path, what: str) -> Path:
    return spot.with_name(spot.name.replace("_input", f"_{what}"))


def _sane(heat_c: float) -> bool:
    return _SANE_C[0] <= heat_c <= _SANE_C[1]
