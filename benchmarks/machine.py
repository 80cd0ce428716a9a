"""What the figures were measured on."""

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

PACKAGES = ("pyzmq", "ray", "distributed", "numba", "numpy")


def describe() -> list[str]:
    """Return lines that name processor, memory, system, versions and how busy it is."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_gib = psutil.virtual_memory().total / 2**30
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    box = f"{model}, {cores} cores, {memory_gib:.0f} GiB, Linux {platform.release()}"
    return [f"{box}, load before the run {load:.2f}", ", ".join(versions)]
