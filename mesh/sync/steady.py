"""A steady clock of our own: wall time that no step of the wall clock can move."""

from qallow_agent.base.machine import Instant
from qallow_agent.base.units import Seconds


class SteadyClock:
    """Counts on from one wall reading by the monotonic clock.

    Peers' clocks are kept relative to this one, so that a small step of our wall clock between
    two samples cannot spoil what they prove together. A large one, or a sleep of the machine
    (during which the monotonic clock stands still), starts it anew.

    Args:
        jump_s: From here on a step of wall against monotonic time counts as a jump.
    """

    def __init__(self, jump_s: Seconds) -> None:
        self._jump_s = jump_s
        self._base: Instant | None = None
        self._now: Instant | None = None
        self._lag_s = 0.0
        self._doubt_s = 0.0

    def observe(self, now: Instant) -> Seconds:
        """Take in one instant; return the jump that it reveals, 0 when there is none."""
        self._now = now
        if self._base is None:
            self._base = now
            return 0.0
        lag_s = (now.wall_ns - self.ns(now)) / 1e9
        step_s = lag_s - self._lag_s
        if abs(step_s) > self._jump_s:
            self._base, self._lag_s, self._doubt_s = now, 0.0, 0.0
            return step_s
        self._lag_s, self._doubt_s = lag_s, abs(step_s)
        return 0.0

    def ns(self, at: Instant) -> int:
        """Return the steady time of an instant in nanoseconds since 1970."""
        if self._base is None:
            return at.wall_ns
        return self._base.wall_ns + round((at.mono_s - self._base.mono_s) * 1e9)

    @property
    def mono_s(self) -> Seconds:
        """The monotonic second of the last instant observed; 0 before the first."""
        return self._now.mono_s if self._now else 0.0

    @property
    def lag_s(self) -> float:
        """Wall minus steady time at the last instant."""
        return self._lag_s

    @property
    def doubt_s(self) -> float:
        """How far ``lag_s`` may be off: wall and monotonic clock are not read at one moment."""
        return self._doubt_s
