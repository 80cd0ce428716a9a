"""The energy budget: how many joules this node may draw in a window of time, and what is left.

Windows begin at whole multiples of their length since 1970 (UTC), so that a day's ends at midnight
and a restart finds the same window.
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.base.machine import Effect, Instant, Persist
from qallow_agent.base.units import Seconds

NAME = "energy/budget"
_SAVE_S: Seconds = 60.0


class _Spent(msgspec.Struct):
    """What was drawn in one window."""

    window: int
    length_s: Seconds
    joules: float = 0.0


class Budget:
    """Counts what the devices of a node draw against what they may.

    Args:
        joules: What they may draw in a window, idle power included; 0 for no budget.
        window_s: How long a window is.
        kept: What was persisted under ``energy/``.

    Raises:
        StorageCorrupt: What was kept does not decode.
    """

    def __init__(
        self,
        joules: float = 0.0,
        window_s: Seconds = 86_400.0,
        kept: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self.joules = joules
        self.window_s = window_s
        self._spent = _read(kept.get(NAME)) if joules else None
        self._due_s: Seconds | None = None

    def draw(self, joules: float, now: Instant) -> None:
        """Take in what a device drew."""
        if not self.joules:
            return
        self._now(now).joules += joules
        if self._due_s is None:
            self._due_s = now.mono_s + _SAVE_S

    def left_j(self, now: Instant) -> float | None:
        """Return what may still be drawn in this window; None without a budget."""
        if not self.joules:
            return None
        return max(0.0, self.joules - self._now(now).joules)

    def save(self, now: Instant) -> list[Effect]:
        """Return the effect that keeps what was spent, once a minute at most."""
        if self._spent is None or self._due_s is None or now.mono_s < self._due_s:
            return []
        self._due_s = None
        return [Persist(NAME, msgspec.msgpack.encode(self._spent))]

    def _now(self, now: Instant) -> _Spent:
        window = int(now.wall_s // self.window_s)
        spent = self._spent
        if spent is None or (spent.window, spent.length_s) != (window, self.window_s):
            spent = self._spent = _Spent(window, self.window_s)
        return spent


def _read(data: bytes | None) -> _Spent | None:
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=_Spent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageCorrupt(
            f"{NAME} does not decode: {error}",
            hint="move the file away; only what this window has used of its budget is lost",
        ) from error
