"""A virtual machine: two clocks that may be wrong, and a disk that may be full or slow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from qallow_agent.base.errors import StorageError, StorageFull
from qallow_agent.base.machine import Instant
from qallow_agent.base.units import Seconds
from qallow_agent.testing.logbook import VirtualLogbook
from qallow_agent.testing.timeline import Timeline

DAWN_NS = 1_800_000_000_000_000_000
"""Wall time at which every simulation begins: January 2027."""


_OF_LOGS = ("ledger/", "coherence/certified")
"""Files in which a node keeps what it knows of its own log."""


@dataclass(slots=True)
class Disk:
    """Durable bytes by name: what a crash leaves behind.

    Args:
        files: Name -> bytes.
        full: Every write fails.
        slow_s: How long each write takes.
        lossy: Every entry of a log is lost, and the disk says so.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    full: bool = False
    slow_s: Seconds = 0.0
    lossy: bool = False
    _logs: dict[str, VirtualLogbook] = field(default_factory=dict)

    def logbook(self, mesh: str) -> VirtualLogbook:
        """Return the log that is kept for a mesh, which outlives every boot."""
        if mesh not in self._logs:
            self._logs[mesh] = VirtualLogbook(self._check_log)
        return self._logs[mesh]

    def forget_logs(self) -> None:
        """Lose every log and the word that there was one, as who gives its history up."""
        self._logs.clear()
        self.files = {
            name: data for name, data in self.files.items() if not name.startswith(_OF_LOGS)
        }

    def mirror(self, mesh: str, owner: str) -> VirtualLogbook:
        """Return the copy of another node's log."""
        return self.logbook(f"{mesh}/{owner}")

    def _check_log(self) -> None:
        if self.full:
            raise StorageFull("cannot write the log: No space left on device")
        if self.lossy:
            raise StorageError("cannot write the log: Input/output error")

    def put(self, name: str, data: bytes | None) -> None:
        """Write or, with None, delete.

        Raises:
            StorageFull: As told by ``full``; the old bytes are still there.
        """
        if self.full:
            raise StorageFull(f"cannot write {name}: No space left on device")
        if data is None:
            self.files.pop(name, None)
        else:
            self.files[name] = data

    def kept(self, room: str) -> Mapping[str, bytes]:
        """Return every name of a room with its bytes."""
        return {
            name: data for name, data in sorted(self.files.items()) if name.startswith(room + "/")
        }

    def forget(self, room: str) -> None:
        """Delete every name of a room."""
        for name in self.kept(room):
            del self.files[name]


class Clocks:
    """The two clocks of one machine; both run at one rate, as those of one crystal do.

    Args:
        timeline: True time.
        uptime_s: What the monotonic clock shows at the beginning.
        off_s: How far the wall clock is ahead of the truth then.
        drift_ppm: How much faster than the truth both run.
    """

    def __init__(
        self, timeline: Timeline, uptime_s: Seconds, off_s: Seconds, drift_ppm: float
    ) -> None:
        self._timeline = timeline
        self._uptime_s = uptime_s
        self._wall_ns = DAWN_NS + round(off_s * 1e9)
        self._rate = 1 + drift_ppm / 1e6
        self._floor_s = 0.0
        self.stepped_s = -float("inf")
        """When the wall clock was set last."""

    def read(self, at_least_s: Seconds = 0.0) -> Instant:
        """Return now on both axes; a timer that fired sees at least the time it was set for."""
        passed_s = self._timeline.now * self._rate
        self._floor_s = max(self._floor_s, self._uptime_s + passed_s, at_least_s)
        return Instant(self._floor_s, self._wall_ns + round(passed_s * 1e9))

    @property
    def error_s(self) -> Seconds:
        """How far the wall clock is ahead of the truth."""
        return (self.read().wall_ns - DAWN_NS) / 1e9 - self._timeline.now

    def moment(self, mono_s: Seconds) -> Seconds:
        """Return the true time at which the monotonic clock shows this."""
        return (mono_s - self._uptime_s) / self._rate

    def step(self, seconds: Seconds) -> None:
        """Set the wall clock forward or back."""
        self._wall_ns += round(seconds * 1e9)
        self.stepped_s = self._timeline.now
