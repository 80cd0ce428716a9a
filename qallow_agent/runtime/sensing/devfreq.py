"""The GPU of an NVIDIA Jetson: NVML knows little or nothing of it, sysfs does."""

from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.sensing.energy import BoardEnergy
from qallow_agent.runtime.sensing.files import ROOT, folders, reading, text
from qallow_agent.runtime.sensing.rails import RailMeter, Rails
from qallow_agent.runtime.sensing.thermal import Thermometer, zone_thermometer

SOURCE = "devfreq"
_KIBI = 1024
_LOAD = 1e-3
"""The driver counts load in thousandths."""


class JetsonGpu:
    """Reads the one GPU of a Jetson, which shares the machine's memory.

    Args:
        device: Its folder below ``/sys/class/devfreq``.
        root: Where sys/ and proc/ lie.
    """

    name = "gpu0"

    def __init__(self, device: Path, root: Path = ROOT) -> None:
        self._device = device
        self._root = root
        self._rail = RailMeter(Rails(root), ("GPU",), shared=("CPU",))
        self._energy = BoardEnergy(self.name)
        self._thermometer: Thermometer | None = None

    @property
    def model(self) -> str:
        """What the board calls itself."""
        board = text(self._root / "proc/device-tree/model").strip("\0")
        return f"GPU of {board or 'an NVIDIA Jetson'}"

    @property
    def memory_bytes(self) -> int:
        """All of the machine's memory: the GPU has none of its own."""
        return int(self._memory("MemTotal").value or 0)

    def read(self, now_s: Seconds) -> dict[str, Reading]:
        """Return its readings."""
        if self._thermometer is None:
            self._thermometer = zone_thermometer(("gpu",), self._root)
        heat = {} if self._thermometer is None else self._thermometer.read()
        power = self._rail.power()
        counter = unknown("joules", SOURCE, "a Jetson counts no joules")
        return {
            "utilization": reading(self._device / "device/load", "ratio", SOURCE, _LOAD),
            "clock": reading(self._device / "cur_freq", "hertz", SOURCE),
            "memory_available": self._memory("MemAvailable"),
            "power": power,
            "energy": self._energy.read(counter, power, now_s),
            **heat,
        }

    def _memory(self, name: str) -> Reading:
        source = "/proc/meminfo (shared with the CPU)"
        for line in text(self._root / "proc/meminfo").splitlines():
            key, _, rest = line.partition(":")
            if key == name:
                return Reading(float(rest.split()[0]) * _KIBI, "bytes", source)
        return unknown("bytes", source, f"the kernel tells no {name}")


def find_jetson(root: Path = ROOT) -> JetsonGpu | None:
    """Return the GPU of a Jetson; None on any other machine."""
    for device in folders(root / "sys/class/devfreq", "*"):
        if device.name.endswith((".gpu", ".gv11b", ".ga10b", ".gp10b")):
            return JetsonGpu(device, root)
    return None
