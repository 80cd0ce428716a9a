"""A board with a meter: 20 W at rest, and 50 J for each CPU second of the runners."""

import time
from collections.abc import Mapping
from typing import Any

import psutil

from qallow_agent.base.plugin import PluginDevice
from qallow_agent.testing.fpga import PLUGIN as SIMULATED

REST_W = 20.0
CPU_SECOND_J = 50.0


class MeteredBoard:
    """One board; what it computes takes CPU time, and that it counts as joules."""

    kind = "fpga"
    kernels = ("harmonic",)

    def __init__(self) -> None:
        self._cpu_s = 0.0

    def probe(self) -> tuple[PluginDevice, ...]:
        return (PluginDevice("fpga0", "Metered board", slots=1),)

    def energy(self, device: str) -> float:
        """Read the joules since the agent's start; a runner that ended takes none of them along."""
        del device
        used_s = 0.0
        for child in psutil.Process().children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.Error:
                continue
            used_s += times.user + times.system
        self._cpu_s = max(self._cpu_s, used_s)
        return REST_W * time.monotonic() + CPU_SECOND_J * self._cpu_s

    def run(
        self, device: str, kernel: str, points: int, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        return SIMULATED.run(device, kernel, points, parameters)

    def canary(self, device: str) -> str:
        return SIMULATED.canary(device)


PLUGIN = MeteredBoard()
