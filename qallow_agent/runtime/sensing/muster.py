"""A muster: the devices that one reader found, and how they are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.facts import DeviceFaults
from qallow_agent.mesh.wire.kinds import DeviceAdvert

Clock = Callable[[], Seconds]


@dataclass(frozen=True, slots=True)
class Muster:
    """What one look found.

    Args:
        devices: Every device with its readings; ``warming`` means that nothing is wrong with it.
        faults: Their hardware faults, by device.
        complaints: What keeps devices from being found.
        read_s: When it was (monotonic).
    """

    devices: tuple[DeviceAdvert, ...] = ()
    faults: dict[str, DeviceFaults] = field(default_factory=dict)
    complaints: tuple[Complaint, ...] = ()
    read_s: Seconds = 0.0


NOBODY = Muster()


class DeviceReader(Protocol):
    """A reader of devices; it may block, so it works in a thread of its own."""

    def read(self) -> Muster:
        """Look at every device; never raises."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...
