"""The battery: how full, whether it is being drained, and at how many watts."""

from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.sensing.energy import UNIT, PowerIntegral
from qallow_agent.runtime.sensing.files import ROOT, folders, number, text

SOURCE = "power_supply"
_MICRO = 1e-6
_NONE = "this machine has no battery"
_ON_MAINS = "the battery is not being drained, so it does not show what the machine draws"


class Battery:
    """Reads every battery of the machine's power supplies.

    Args:
        root: Where sys/ lies.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._supplies = root / "sys/class/power_supply"
        self._integral = PowerIntegral("whole machine's power from its battery")

    def charge(self) -> Reading:
        """Return how full the batteries are; the source says whether they are being drained."""
        packs = self._packs()
        levels = [level for pack in packs if (level := number(pack / "capacity")) is not None]
        if not levels:
            return unknown("ratio", SOURCE, "the battery tells no charge" if packs else _NONE)
        state = "discharging" if _drained(packs) else "on mains"
        share = sum(levels) / len(levels) / 100
        return Reading(round(share, 4), "ratio", f"{SOURCE} ({state})")

    def power(self) -> Reading:
        """Return the watts that the whole machine takes from its batteries."""
        packs = self._packs()
        if not packs:
            return unknown("watts", SOURCE, _NONE)
        if not _drained(packs):
            return unknown("watts", SOURCE, _ON_MAINS)
        watts = [_watts(pack) for pack in packs]
        known = [each for each in watts if each is not None]
        if not known:
            return unknown("watts", SOURCE, "the battery tells neither power nor current")
        return Reading(sum(known), "watts", SOURCE)

    def read(self, now_s: Seconds) -> Reading:
        """Return the joules that the whole machine took since the first call."""
        power = self.power()
        if power.value is None and self._integral.joules == 0:
            return unknown(UNIT, SOURCE, power.why)
        return self._integral.add(power, now_s, SOURCE)

    def _packs(self) -> list[Path]:
        # Mice and headsets have batteries too; their scope says that they are not the machine's.
        return [
            pack
            for pack in folders(self._supplies, "*")
            if text(pack / "type") == "Battery" and text(pack / "scope") != "Device"
        ]


def _drained(packs: list[Path]) -> bool:
    return any(text(pack / "status") == "Discharging" for pack in packs)


def _watts(pack: Path) -> float | None:
    power = number(pack / "power_now")
    if power is not None:
        return abs(power) * _MICRO
    volts, amperes = number(pack / "voltage_now"), number(pack / "current_now")
    if volts is None or amperes is None:
        return None
    return abs(amperes) * _MICRO * volts * _MICRO
