"""Host readings for adverts and status: cheap enough for every second, plain about gaps."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
from msgspec import structs

from qallow_agent.base.machine import Instant
from qallow_agent.base.message import Message
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.kernels.registry import Catalog
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.kinds import DeviceAdvert
from qallow_agent.runtime.cgroup import Limits, read_limits
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.devices import GpuWatch, probe_cpu
from qallow_agent.runtime.sensing.battery import Battery
from qallow_agent.runtime.sensing.energy import EnergyMeter, FirstMeter, Paced
from qallow_agent.runtime.sensing.files import ROOT
from qallow_agent.runtime.sensing.rails import RailMeter, Rails
from qallow_agent.runtime.sensing.rapl import Rapl

SLOW_PERIOD_S = 10.0
"""Temperatures, battery and cgroup limits take many small files and change slowly."""
MIN_CPU_WINDOW_S = 0.2
"""Below this the kernel's 10 ms accounting makes the CPU ratio a dice roll; the last one stands."""
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal",
                "acpitz")  # fmt: skip
"""Chips that measure the CPU, best first; others (disks, radios) only when none of these is."""


class HostSensors:
    """Reads this machine: CPU, load, memory, temperature, battery. Never lists processes.

    Args:
        clock: Monotonic seconds.
        limits: The cgroup's limits.
    """

    def __init__(
        self,
        clock: Callable[[], Seconds] = time.monotonic,
        limits: Callable[[], Limits] = read_limits,
    ) -> None:
        self._clock = clock
        self._read_limits = limits
        self._cpu_before: tuple[float, float] | None = None
        self._cpu_at_s: Seconds = 0.0
        self._cpu = unknown("ratio", "psutil.cpu_times", "the first sample has none before it")
        self._slow_due_s: Seconds | None = None
        self._slow: dict[str, Reading] = {}
        self._limits = Limits()

    def read(self) -> dict[str, Reading]:
        """Return every host reading by name; what cannot be read is there as unknown, with why."""
        now_s = self._clock()
        if self._slow_due_s is None or now_s >= self._slow_due_s:
            self._slow_due_s = now_s + SLOW_PERIOD_S
            self._limits = self._read_limits()
            self._slow = {"temperature": _temperature(), "battery": _battery()}
        return {
            "cpu": self._cpu_ratio(now_s),
            "load": _load(),
            **self._memory(),
            "agent_memory": _own_memory(),
            **self._slow,
        }

    def _cpu_ratio(self, now_s: Seconds) -> Reading:
        if self._cpu_before is not None and now_s - self._cpu_at_s < MIN_CPU_WINDOW_S:
            return self._cpu
        times = psutil.cpu_times()
        # Linux counts a guest's time in user's as well; summing all fields would count it twice.
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        before, self._cpu_before, self._cpu_at_s = self._cpu_before, (idle_s, total_s), now_s
        if before is None or total_s <= before[1]:
            return self._cpu
        busy = 1 - (idle_s - before[0]) / (total_s - before[1])
        self._cpu = Reading(round(min(1.0, max(0.0, busy)), 4), "ratio", "psutil.cpu_times")
        return self._cpu

    def _memory(self) -> dict[str, Reading]:
        memory = psutil.virtual_memory()
        total, available, source = memory.total, memory.available, "psutil.virtual_memory"
        limits = self._limits
        if limits.memory_bytes is not None and limits.memory_bytes < total:
            total, source = limits.memory_bytes, "cgroup"
            used = limits.memory_used_bytes or 0
            available = min(available, max(0, limits.memory_bytes - used))
        return {
            "memory_available": Reading(float(available), "bytes", source),
            "memory_total": Reading(float(total), "bytes", source),
        }


def _own_memory() -> Reading:
    return Reading(float(psutil.Process().memory_info().rss), "bytes", "psutil.memory_info")


def _load() -> Reading:
    """Return the one-minute load per logical core."""
    try:
        load = psutil.getloadavg()[0]
    except OSError as error:
        return unknown("ratio", "psutil.getloadavg", str(error))
    return Reading(round(load / (psutil.cpu_count() or 1), 4), "ratio", "psutil.getloadavg")


def _temperature() -> Reading:
    """Return the hottest spot of the CPU's own sensor."""
    source = "psutil.sensors_temperatures"
    read = getattr(psutil, "sensors_temperatures", None)
    if read is None:
        return unknown("celsius", source, "this platform offers none")
    try:
        chips = read()
    except (OSError, ValueError) as error:
        return unknown("celsius", source, str(error))
    for chip in [name for name in _CPU_SENSORS if name in chips] or sorted(chips):
        spots = [spot.current for spot in chips[chip] if spot.current]
        if spots:
            return Reading(max(spots), "celsius", f"{source}:{chip}")
    return unknown("celsius", source, "this machine shows no temperature sensor")


def _battery() -> Reading:
    source = "psutil.sensors_battery"
    read = getattr(psutil, "sensors_battery", None)
    if read is None:
        return unknown("ratio", source, "this platform offers none")
    try:
        battery = read()
    except (OSError, ValueError) as error:
        return unknown("ratio", source, str(error))
    if battery is None:
        return unknown("ratio", source, "this machine has no battery")
    state = "on mains" if battery.power_plugged else "discharging"
    return Reading(round(battery.percent / 100, 4), "ratio", f"{source} ({state})")


class SensorSource:
    """Tells the node once a period how host and devices are: a source of the driver.

    GPUs are read in a thread, since a driver that lost its board can hang for minutes; the loop
    only picks up what the thread saw last.

    Args:
        settings: What is offered and how often it is read.
        catalog: The kernels here; without a CUDA backend among them GPUs are only shown.
        host: The host's sensors.
    """

    def __init__(
        self, settings: DeviceSettings, catalog: Catalog, host: HostSensors | None = None
    ) -> None:
        offered = [kind for offer in catalog.adverts() for kind in offer.backends]
        self._settings = settings
        self._host = host or HostSensors()
        self._cpu: DeviceAdvert | None = None
        self._energy = cpu_meter()
        self._gpus = GpuWatch(settings, tuple(dict.fromkeys(offered)))
        self._due_s: Seconds | None = None

    def poll(self, now: Instant) -> list[Message]:
        """Return a fresh :class:`Sensed` when one is due."""
        if self._due_s is not None and now.mono_s < self._due_s:
            return []
        self._due_s = now.mono_s + self._settings.sample_s
        if self._cpu is None:
            self._cpu = probe_cpu(self._settings)
        cpu = structs.replace(self._cpu, readings={"energy": self._energy.read(now.mono_s)})
        return [Sensed(readings=self._host.read(), devices=(cpu, *self._gpus.latest()))]

    def next_deadline(self) -> Seconds | None:
        """Return when the next reading is due."""
        return self._due_s

    def close(self) -> None:
        """Stop watching the GPUs."""
        self._gpus.close()


def cpu_meter(root: Path = ROOT) -> EnergyMeter:
    """Return what counts the CPU's joules: RAPL, else the board's rail, else the battery."""
    rail = RailMeter(Rails(root), ("CPU", "_IN"))
    return FirstMeter((Rapl(root), rail, Paced(Battery(root))))


def read_host() -> dict[str, Reading]:
    """Return this machine's readings once; the CPU ratio needs two, so it is unknown here."""
    return HostSensors().read()
