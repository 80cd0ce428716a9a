"""Guests: the devices of one plug-in as the sensors see them."""

import time

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.plugin import PluginDevice
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.runtime.plugins import Plugin, nonsense
from qallow_agent.runtime.sensing.energy import UNIT, BoardEnergy
from qallow_agent.runtime.sensing.muster import Clock, Muster

_MOST_DEVICES = 16
_FIX = "see the plug-in's own documentation; it is asked again by itself"


class GuestProbe:
    """Asks one plug-in for its devices; whatever it does short of hanging becomes a complaint.

    Args:
        plugin: The plug-in.
        clock: Monotonic seconds.
    """

    def __init__(self, plugin: Plugin, clock: Clock = time.monotonic) -> None:
        self._plugin = plugin
        self._clock = clock
        self._energy: dict[str, BoardEnergy] = {}

    def read(self) -> Muster:
        """Return the plug-in's devices as they are now."""
        plugin, now_s = self._plugin, self._clock()
        try:
            found = list(plugin.device.probe())[:_MOST_DEVICES]
            wrong = next((why for each in found if (why := nonsense(plugin, each))), "")
            devices = () if wrong else tuple(self._describe(each, now_s) for each in found)
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything
            devices, wrong = (), f"{type(error).__name__}: {error}"
        if not wrong:
            return Muster(devices)
        what = f"device plug-in for {plugin.kind} ({plugin.origin}): {wrong}"
        return Muster(complaints=(Complaint(what, _FIX),))

    def close(self) -> None:
        """Forget the plug-in's counters; it holds nothing that needs closing."""
        self._energy.clear()

    def _describe(self, device: PluginDevice, now_s: Seconds) -> DeviceAdvert:
        return DeviceAdvert(
            name=device.name,
            kind=self._plugin.kind,
            model=str(device.model),
            state=DeviceState.WARMING,
            slots=device.slots,
            busy=0,
            memory_bytes=device.memory_bytes,
            readings={"energy": self._joules(device, now_s)},
            simulated=bool(device.simulated),
        )

    def _joules(self, device: PluginDevice, now_s: Seconds) -> Reading:
        source = f"plug-in {self._plugin.kind}"
        count = self._plugin.device.energy(device.name)
        if count is None:
            return unknown(UNIT, source, "its plug-in counts no joules")
        counter = Reading(float(count), UNIT, source)
        if device.simulated:
            counter = Reading(float(count), UNIT, source, "estimated", "a simulated device")
        meter = self._energy.setdefault(device.name, BoardEnergy(device.name))
        return meter.read(counter, unknown("watts", source, "not asked for"), now_s)
