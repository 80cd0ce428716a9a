"""A simulated FPGA: a device plug-in that computes on the CPU and says that it is no hardware.

Enable it with ``devices.plugins = ["qallow_agent.testing.fpga:PLUGIN"]``. It is an example to copy
from, and a way to try plug-in devices on any machine.
"""

import time
from collections.abc import Mapping
from typing import Any

from qallow_agent.base.plugin import PluginDevice
from qallow_agent.kernels.backends import load_backend
from qallow_agent.kernels.registry import load_catalog

_IDLE_W = 2.0
"""What the made-up board takes; real ones count what they take."""


class SimulatedFpga:
    """One board that computes the built-in kernels with their reference code."""

    kind = "fpga"
    kernels = ("elasticity", "harmonic")

    def probe(self) -> tuple[PluginDevice, ...]:
        """Return the one board there is."""
        return (PluginDevice("fpga0", "Simulated FPGA", slots=1, simulated=True),)

    def energy(self, device: str) -> float:
        """Return made-up joules: the board idles."""
        del device
        return _IDLE_W * time.monotonic()

    def run(
        self, device: str, kernel: str, points: int, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return a kernel's outputs from its reference code."""
        del device
        reference = load_backend(load_catalog().get(kernel), "reference")
        return reference(points=points, **parameters)

    def canary(self, device: str) -> str:
        """Return that nothing is wrong."""
        del device
        return ""


PLUGIN = SimulatedFpga()
