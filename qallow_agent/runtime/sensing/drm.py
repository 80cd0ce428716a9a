"""AMD and Intel GPUs, as their kernel drivers show them in sysfs."""

from dataclasses import dataclass, field
from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.sensing.energy import UNIT, BoardEnergy
from qallow_agent.runtime.sensing.files import ROOT, folders, number, reading, text

SOURCE = "sysfs"
_VENDORS = {"0x1002": "AMD", "0x8086": "Intel"}
_PERCENT, _MILLI, _MICRO, _MEGA = 1e-2, 1e-3, 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class SysGpu:
    """One GPU of the system.

    Args:
        device: Its folder in sysfs.
        chip: Its folder of sensors, if it has one.
    """

    name: str
    model: str
    device: Path
    chip: Path | None
    energy: BoardEnergy = field(repr=False)

    @property
    def memory_bytes(self) -> int:
        """Its own memory; 0 for one that shares the machine's."""
        return int(number(self.device / "mem_info_vram_total") or 0)

    def read(self, now_s: Seconds) -> dict[str, Reading]:
        """Return its readings. One that sleeps is not woken: then they are unknown."""
        if text(self.device / "power/runtime_status") == "suspended":
            asleep = unknown("ratio", SOURCE, "it sleeps, and reading would wake it")
            return {"utilization": asleep}
        device = self.device
        power = self._sensor("watts", _MICRO, "power1_average", "power1_input")
        counter = self._sensor(UNIT, _MICRO, "energy1_input")
        return {
            "utilization": reading(device / "gpu_busy_percent", "ratio", SOURCE, _PERCENT),
            "memory_available": self._free(),
            "temperature": self._sensor("celsius", _MILLI, "temp1_input"),
            "temperature_limit": self._sensor("celsius", _MILLI, "temp1_crit"),
            "temperature_shutdown": self._sensor("celsius", _MILLI, "temp1_emergency"),
            "power": power,
            "power_limit": self._sensor("watts", _MICRO, "power1_cap", "power1_max"),
            "clock": self._clock(),
            "energy": self.energy.read(counter, power, now_s),
        }

    def _free(self) -> Reading:
        used = reading(self.device / "mem_info_vram_used", "bytes", SOURCE)
        if used.value is None:
            return used
        return Reading(max(0.0, self.memory_bytes - used.value), "bytes", SOURCE)

    def _clock(self) -> Reading:
        megahertz = number(self.device.parent / "gt_act_freq_mhz")
        if megahertz is not None:
            return Reading(megahertz * _MEGA, "hertz", SOURCE)
        return self._sensor("hertz", 1.0, "freq1_input")

    def _sensor(self, unit: str, scale: float, *names: str) -> Reading:
        if self.chip is None:
            return unknown(unit, SOURCE, "its driver shows no sensors")
        tried = [reading(self.chip / name, unit, SOURCE, scale) for name in names]
        return next((each for each in tried if each.value is not None), tried[0])


def find_gpus(root: Path = ROOT) -> tuple[SysGpu, ...]:
    """Return the AMD and Intel GPUs of this machine, in the kernel's order."""
    found: list[SysGpu] = []
    for card in folders(root / "sys/class/drm", "card[0-9]*"):
        device = card / "device"
        vendor = _VENDORS.get(text(device / "vendor"))
        if vendor is None or "-" in card.name:  # card0-HDMI-A-1 is a plug, not a card
            continue
        product = text(device / "product_name") or text(device / "device")
        chip = next(iter(folders(device / "hwmon", "hwmon*")), None)
        model = f"{vendor} GPU {product}".strip()
        found.append(SysGpu(card.name, model, device, chip, BoardEnergy(card.name)))
    return tuple(found)
