"""The host's readings: cheap enough for every second, plain about gaps. Never lists processes."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.cgroup import Limits, own_group, read_limits
from qallow_agent.runtime.sensing.battery import Battery
from qallow_agent.runtime.sensing.energy import EnergyMeter, FirstMeter, Paced
from qallow_agent.runtime.sensing.files import ROOT
from qallow_agent.runtime.sensing.pressure import read_pressure
from qallow_agent.runtime.sensing.rails import RailMeter, Rails
from qallow_agent.runtime.sensing.rapl import Rapl
from qallow_agent.runtime.sensing.thermal import Thermometer, cpu_thermometer

SLOW_PERIOD_S = 10.0
"""Pressure is an average over ten seconds; battery and cgroup limits change slowly."""
MIN_CPU_WINDOW_S = 0.2
"""Below this the kernel's 10 ms accounting makes the CPU ratio a dice roll; the last one stands."""


class HostSensors:
    """Reads this machine: CPU, load, memory, temperature, battery, pressure.

    Args:
        clock: Monotonic seconds.
        limits: The cgroup's limits.
        root: Where sys/ and proc/ lie.
    """

    def __init__(
        self,
        clock: Callable[[], Seconds] = time.monotonic,
        limits: Callable[[], Limits] = read_limits,
        root: Path = ROOT,
    ) -> None:
        self._clock = clock
        self._read_limits = limits
        self._root = root
        self._battery = Battery(root)
        self._heat = CpuHeat(root)
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
            limited = self._limits.cpus is not None or self._limits.memory_bytes is not None
            self._slow = {
                "temperature": self._heat.read(now_s)["temperature"],
                "battery": self._battery.charge(),
                "battery_power": self._battery.power(),
                **read_pressure(self._root, own_group() if limited else None),
            }
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


class CpuHeat:
    """Reads the temperature of the CPU, and looks again for a thermometer while there is none.

    Args:
        root: Where sys/ lies.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._thermometer: Thermometer | None = None
        self._due_s: Seconds | None = None

    def read(self, now_s: Seconds) -> dict[str, Reading]:
        """Return its temperature, and where it slows down and shuts down."""
        looks = self._due_s is None or now_s >= self._due_s
        if self._thermometer is None and looks:
            self._due_s = now_s + SLOW_PERIOD_S
            self._thermometer = cpu_thermometer(self._root)
        if self._thermometer is not None:
            return self._thermometer.read()
        why = "this machine shows no temperature sensor of its CPU"
        return {"temperature": unknown("celsius", "none", why)}


def cpu_meter(root: Path = ROOT) -> EnergyMeter:
    """Return what counts the CPU's joules: RAPL, else the board's rail, else the battery."""
    rail = RailMeter(Rails(root), ("CPU", "_IN"))
    return FirstMeter((Rapl(root), rail, Paced(Battery(root))))
