"""The CPU of this machine as a device: what it is called and how much of it may be used."""

import platform
from pathlib import Path

import psutil

from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.runtime.cgroup import Limits, read_limits
from qallow_agent.runtime.device_settings import DeviceSettings

_CPUINFO = Path("/proc/cpuinfo")


def probe_cpu(settings: DeviceSettings) -> DeviceAdvert:
    """Return the CPU as one device, with as many slots as cores may be kept busy."""
    limits = read_limits()
    total_bytes = psutil.virtual_memory().total
    allowed_bytes = min(total_bytes, limits.memory_bytes or total_bytes)
    return DeviceAdvert(
        name="cpu0",
        kind="cpu",
        model=cpu_model(),
        state=DeviceState.WARMING,
        slots=settings.cpu_slots or usable_cores(limits),
        busy=0,
        memory_bytes=min(allowed_bytes, settings.cpu_memory_bytes or allowed_bytes),
    )


def threads_per_task(settings: DeviceSettings) -> int:
    """Return how many cores each slot of the CPU has for its task: at least one."""
    cores = usable_cores(read_limits())
    return max(1, cores // (settings.cpu_slots or cores))


def usable_cores(limits: Limits) -> int:
    """Return how many cores tasks may keep busy at a time: at least one.

    Physical cores, since the two threads of one core share its arithmetic units; fewer when the
    process is bound to some or its cgroup grants less.
    """
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    try:
        bound = len(psutil.Process().cpu_affinity() or ())
    except (AttributeError, OSError, psutil.Error):
        bound = logical
    granted = int(limits.cpus) if limits.cpus is not None else logical
    return max(1, min(physical, bound or logical, granted))


def cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    """Return the CPU's name for people; the architecture where the kernel tells no name."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in lines)}
    name = facts.get("model name") or facts.get("Model") or facts.get("Hardware")
    return name or platform.processor() or platform.machine()
