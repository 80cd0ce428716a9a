"""What a device plug-in is: the words between its author and the agent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class PluginDevice:
    """One device as its plug-in found it.

    Args:
        name: Unique on the node and beginning with the plug-in's kind: ``fpga0``.
        model: What it is, for people.
        slots: Tasks it computes at a time.
        memory_bytes: Its memory; 0 when that does not limit what it can compute.
        simulated: It is no real hardware: it gets work only when it is named.
    """

    name: str
    model: str
    slots: int = 1
    memory_bytes: int = 0
    simulated: bool = False


@runtime_checkable
class DevicePlugin(Protocol):
    """What a plug-in is: an object with a kind of device, the kernels it computes, four calls.

    The agent imports its module, so that must be light: import NumPy and drivers within the calls.
    ``probe`` and ``energy`` are called in the agent, by one thread, every ``devices.sample_s``;
    ``run`` and ``canary`` in a runner, a process of its own for each slot in use.
    """

    @property
    def kind(self) -> str:
        """The kind of its devices: a short lower-case word such as ``fpga``."""
        ...

    @property
    def kernels(self) -> Sequence[str]:
        """Names of the kernels that its devices compute."""
        ...

    def probe(self) -> Sequence[PluginDevice]:
        """Return the devices that are there now; a device that is missing is lost."""
        ...

    def energy(self, device: str) -> float | None:
        """Return the joules a device has taken since any start; None when it does not count."""
        ...

    def run(
        self, device: str, kernel: str, points: int, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return every output of a kernel, as its backends do.

        Args:
            device: Which device.
            kernel: Which kernel.
            points: How many points there are.
            parameters: By name: an array of ``points`` values where the kernel's spec lets a
                parameter be swept, an array where it declares a shape, else a number.

        Returns:
            Output name -> array with a leading axis of points, in the declared dtype.

        Raises:
            DeviceLost: The device is gone: the task runs elsewhere.
        """
        ...

    def canary(self, device: str) -> str:
        """Return what is wrong with a device, or "" ; the kernels' known answers are tried too."""
        ...
