"""Power rails of a board, measured by an INA3221 (NVIDIA Jetson and others)."""

from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.sensing.energy import UNIT, PowerIntegral
from qallow_agent.runtime.sensing.files import ROOT, folders, number, text

SOURCE = "ina3221"
_CHANNELS = (1, 2, 3)
_MILLI = 1e-3


class Rails:
    """Reads the named rails.

    Args:
        root: Where sys/ lies.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._chips = root / "sys/class/hwmon"
        self._rails: dict[str, tuple[Path, Path]] | None = None

    def names(self) -> tuple[str, ...]:
        """Return what the board's maker calls the rails."""
        if not self._rails:
            self._rails = {
                label: (chip / f"in{channel}_input", chip / f"curr{channel}_input")
                for chip in folders(self._chips, "hwmon*")
                if text(chip / "name") == SOURCE
                for channel in _CHANNELS
                if (label := text(chip / f"in{channel}_label"))
            }
        return tuple(self._rails)

    def power(self, rail: str) -> Reading:
        """Return the watts of a rail: its voltage times its current."""
        source = f"{SOURCE}:{rail}"
        if rail not in self.names() or self._rails is None:
            return unknown("watts", SOURCE, f"there is no rail {rail}")
        volts, amperes = (number(path) for path in self._rails[rail])
        if volts is None or amperes is None:
            return unknown("watts", source, "voltage or current of the rail cannot be read")
        return Reading(volts * _MILLI * amperes * _MILLI, "watts", source)


class RailMeter:
    """Adds up the power of the rail that feeds one device.

    Args:
        rails: The board's.
        wanted: Words in the rail's name, best first: ``("CPU", "_IN")``.
        shared: Words of rails that feed other devices too and say nothing about this one.
    """

    def __init__(self, rails: Rails, wanted: tuple[str, ...], shared: tuple[str, ...] = ()) -> None:
        self._rails = rails
        self._wanted = wanted
        self._shared = shared
        self._rail = ""
        self._integral = PowerIntegral("")

    def power(self) -> Reading:
        """Return the watts of the device's rail."""
        names = self._rails.names()
        fitting = [name for word in self._wanted for name in names if word in name]
        own = [name for name in fitting if not any(word in name for word in self._shared)]
        if not own:
            why = (
                f"it shares the rail {fitting[0]} with other devices"
                if fitting
                else "the board shows no power rail"
            )
            return unknown("watts", SOURCE, why)
        if own[0] != self._rail:
            self._rail, self._integral = own[0], PowerIntegral(f"power of rail {own[0]}")
        return self._rails.power(self._rail)

    def read(self, now_s: Seconds) -> Reading:
        """Return the joules since the first call."""
        power = self.power()
        if power.value is None and not self._rail:
            return unknown(UNIT, SOURCE, power.why)
        return self._integral.add(power, now_s, power.source)
