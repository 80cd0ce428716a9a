"""Everything that can go wrong with boxes and wires, and its repair."""

from collections.abc import Mapping, Sequence

from qallow_agent.base.units import Seconds
from qallow_agent.testing.box import Box
from qallow_agent.testing.laws import Laws
from qallow_agent.testing.network import Network


class Faults:
    """Breaks and repairs; the laws are told each time.

    Args:
        boxes: By name.
        network: The wires.
        laws: What holds some time after the last fault only.
    """

    def __init__(self, boxes: Mapping[str, Box], network: Network, laws: Laws) -> None:
        self._boxes = boxes
        self._network = network
        self._laws = laws

    def cut(self, source: str, target: str, *, loud: bool = False) -> None:
        """Let nothing pass from one box to another; the other way stays open."""
        self._laws.disturb()
        self._network.cut(self._boxes[source].address, self._boxes[target].address, loud=loud)

    def partition(self, *sides: Sequence[str], loud: bool = False) -> None:
        """Let nothing pass between groups of boxes; ``loud`` answers with resets."""
        for side in sides:
            for other in sides:
                if side is not other:
                    for one in side:
                        for two in other:
                            self.cut(one, two, loud=loud)

    def heal(self) -> None:
        """End every cut."""
        self._laws.disturb()
        self._network.heal()

    def unplug(self, name: str) -> None:
        """Pull a machine's cable."""
        self._laws.disturb()
        self._network.plug(self._boxes[name].address, out=True)

    def plug(self, name: str) -> None:
        """Put a machine's cable back."""
        self._laws.disturb()
        self._network.plug(self._boxes[name].address, out=False)

    def kill(self, name: str) -> None:
        """SIGKILL an agent: what it persisted survives, nothing else."""
        self._laws.disturb()
        self._boxes[name].kill()

    def restart(self, name: str) -> None:
        """Start an agent again from its disk.

        Raises:
            QallowError: It cannot start, and why.
        """
        self._laws.disturb()
        box = self._boxes[name]
        box.kill("restarted")
        box.boot()

    def freeze(self, name: str) -> None:
        """SIGSTOP an agent."""
        self._laws.disturb()
        self._boxes[name].running().process.freeze()

    def thaw(self, name: str) -> None:
        """SIGCONT an agent."""
        self._laws.disturb()
        if self._boxes[name].up:
            self._boxes[name].running().process.thaw()

    def step_clock(self, name: str, seconds: Seconds) -> None:
        """Set a machine's wall clock forward or back."""
        self._laws.disturb()
        self._boxes[name].clocks.step(seconds)

    def set_disk(self, name: str, *, full: bool = False, slow_s: Seconds = 0.0) -> None:
        """Make a disk full, slow, or neither."""
        self._laws.disturb()
        disk = self._boxes[name].disk
        disk.full, disk.slow_s = full, slow_s
