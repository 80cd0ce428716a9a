"""What ``doctor`` checks of sensors: what counts the CPU's joules and feels its heat."""

import time
from collections.abc import Iterator
from pathlib import Path

from qallow_agent.cli.checks import Check
from qallow_agent.runtime.sensing.files import ROOT
from qallow_agent.runtime.sensing.host import CpuHeat, cpu_meter

_RAPL_FIX = (
    "let a group of the agent's read it, by a line in /etc/tmpfiles.d: "
    "'z /sys/class/powercap/*:*/energy_uj 0440 root qallow-power'"
)


def sensor_checks(root: Path = ROOT) -> Iterator[Check]:
    """Say which meter and thermometer the CPU has; a machine without either is fine."""
    energy = cpu_meter(root).read(time.monotonic())
    if energy.value is not None:
        how = f" ({energy.why})" if energy.why else ""
        yield Check("ok", "energy", f"{energy.source} counts the CPU's joules{how}")
    elif "readable by root only" in energy.why:
        yield Check("warn", "energy", f"joules of the CPU are unknown: {energy.why}", _RAPL_FIX)
    else:
        yield Check("ok", "energy", f"joules of the CPU are unknown: {energy.why}")
    heat = CpuHeat(root).read(time.monotonic())["temperature"]
    known = f"{heat.source} says {heat.value:.0f} C" if heat.value is not None else heat.why
    yield Check("ok", "heat", known)
