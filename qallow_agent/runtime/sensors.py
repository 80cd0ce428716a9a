"""What the sensors tell the node once a period: the host and every device."""

from pathlib import Path

from msgspec import structs

from qallow_agent.base.machine import Instant
from qallow_agent.base.message import Message
from qallow_agent.base.reading import Reading
from qallow_agent.base.units import Seconds
from qallow_agent.kernels.registry import Catalog
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.kinds import DeviceAdvert
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.devices import probe_cpu
from qallow_agent.runtime.gpus import GpuProbe
from qallow_agent.runtime.guests import GuestProbe
from qallow_agent.runtime.plugins import NO_PLUGINS, Plugins
from qallow_agent.runtime.sensing.files import ROOT
from qallow_agent.runtime.sensing.host import CpuHeat, HostSensors, cpu_meter
from qallow_agent.runtime.sensing.lateness import Lateness
from qallow_agent.runtime.sensing.muster import DeviceReader
from qallow_agent.runtime.sensing.surroundings import Surroundings
from qallow_agent.runtime.watch import Watch

HUNG_PERIODS = 5
"""A driver silent for this many samples is hung: it answers in milliseconds when it is well."""


class SensorSource:
    """Tells the node once a period how host and devices are: a source of the driver.

    Devices with drivers are read in threads, since a driver that lost its board can hang for
    minutes; the loop only picks up what the threads saw last.

    Args:
        settings: What is offered and how often it is read.
        catalog: The kernels here; without a CUDA backend among them GPUs are only shown.
        plugins: The plug-ins that bring devices along.
        host: The host's sensors.
        surroundings: What people and other programs here feel.
        root: Where sys/ and proc/ lie.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        catalog: Catalog,
        plugins: Plugins = NO_PLUGINS,
        *,
        host: HostSensors | None = None,
        surroundings: Surroundings | None = None,
        root: Path = ROOT,
    ) -> None:
        offered = [kind for offer in catalog.adverts() for kind in offer.backends]
        self._settings = settings
        self._host = host or HostSensors(root=root)
        self._surroundings = surroundings or Surroundings(Lateness(), root=root)
        self._heat = CpuHeat(root)
        self._energy = cpu_meter(root)
        self._cpu: DeviceAdvert | None = None
        gpus = GpuProbe(settings, tuple(dict.fromkeys(offered)), root=root)
        readers: list[tuple[DeviceReader, str]] = []
        if settings.gpu != "off":
            readers.append((gpus, "the GPU driver"))
        for kind, plugin in sorted(plugins.by_kind.items()):
            readers.append((GuestProbe(plugin), f"the plug-in for {kind}"))
        self._watches = tuple(self._watch(reader, what) for reader, what in readers)
        self._skipped = plugins.complaints
        self._due_s: Seconds | None = None

    def poll(self, now: Instant) -> list[Message]:
        """Return a fresh :class:`Sensed` when one is due."""
        if self._due_s is not None and now.mono_s < self._due_s:
            return []
        self._due_s = now.mono_s + self._settings.sample_s
        musters = [watch.latest() for watch in self._watches]
        felt = self._surroundings.read(now.mono_s)
        found = [(device, muster) for muster in musters for device in muster.devices]
        return [
            Sensed(
                readings=self._host.read(),
                devices=(self._read_cpu(now.mono_s), *(self._limited(each) for each, _ in found)),
                read_s={device.name: muster.read_s for device, muster in found},
                faults={name: told for muster in musters for name, told in muster.faults.items()},
                complaints=(
                    *self._skipped,
                    *(each for muster in musters for each in muster.complaints),
                ),
                surroundings=felt,
                desktop=self._surroundings.desktop,
            )
        ]

    def next_deadline(self) -> Seconds | None:
        """Return when the next reading is due."""
        return self._due_s

    def close(self) -> None:
        """Stop watching the devices."""
        for watch in self._watches:
            watch.close()

    def _watch(self, reader: DeviceReader, what: str) -> Watch:
        settings = self._settings
        return Watch(
            reader,
            what,
            period_s=settings.sample_s,
            rest_s=settings.reprobe_s,
            hung_s=HUNG_PERIODS * settings.sample_s,
        )

    def _read_cpu(self, now_s: Seconds) -> DeviceAdvert:
        if self._cpu is None:
            self._cpu = probe_cpu(self._settings)
        readings = {"energy": self._energy.read(now_s)} | self._heat.read(now_s)
        return self._limited(structs.replace(self._cpu, readings=readings))

    def _limited(self, device: DeviceAdvert) -> DeviceAdvert:
        """Return a device with the owner's limits of its temperature and power."""
        hot_c, cap_w = self._settings.hot_c, self._settings.power_cap_w
        limits: dict[str, Reading] = {}
        if hot_c and "temperature" in device.readings:
            limits["temperature_limit"] = Reading(hot_c, "celsius", "settings (devices.hot_c)")
        if cap_w and device.slots:
            limits["power_cap"] = Reading(cap_w, "watts", "settings (devices.power_cap_w)")
        return structs.replace(device, readings=device.readings | limits) if limits else device
