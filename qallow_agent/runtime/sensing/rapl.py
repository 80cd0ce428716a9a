"""The energy of CPU packages, counted by the CPU itself (RAPL, through powercap)."""

from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.energy.counter import Odometer
from qallow_agent.runtime.sensing.energy import UNIT
from qallow_agent.runtime.sensing.files import ROOT, folders, number, reading, text

SOURCE = "rapl"
_MICRO = 1e-6


class Rapl:
    """Adds up the package domains of every socket.

    Since CVE-2020-8694 (power side channel) the counters are readable by root only, unless the
    owner grants a group; then this meter is unknown and says so.

    Args:
        root: Where sys/ lies.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._zones = root / "sys/class/powercap"
        self._packages: dict[Path, Odometer] | None = None

    def read(self, now_s: Seconds) -> Reading:  # noqa: ARG002 - a counter needs no time
        """Return the joules of all packages since the first call."""
        if self._packages is None:
            self._packages = self._find()
        if not self._packages:
            self._packages = None
            return unknown(UNIT, SOURCE, "the CPU offers no RAPL counter")
        total = 0.0
        for package, odometer in self._packages.items():
            shown = reading(package / "energy_uj", UNIT, SOURCE, _MICRO)
            if shown.value is None:
                return _refused(shown)
            total += odometer.add(shown.value)
        return Reading(total, UNIT, SOURCE)

    def _find(self) -> dict[Path, Odometer]:
        return {
            zone: Odometer((number(zone / "max_energy_range_uj") or 0.0) * _MICRO)
            for zone in folders(self._zones, "*-rapl:*")
            if text(zone / "name").startswith("package")
        }


def _refused(shown: Reading) -> Reading:
    if "not readable" not in shown.why:
        return shown
    why = "RAPL's energy_uj is readable by root only (CVE-2020-8694)"
    return unknown(UNIT, SOURCE, why)
