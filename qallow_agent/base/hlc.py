"""Hybrid logical clock: stamps that respect causality although wall clocks err.

Source: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks and Consistent
Snapshots in Globally Distributed Databases" (2014), figure 5.
"""

import msgspec

from qallow_agent.base.errors import Malformed

MAX_DRIFT_MS = 60_000
"""A stamp this far ahead of our wall clock is refused, or one bad clock would drag all others."""

_MAX_COUNTER = 0xFFFF


class Stamp(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One point of hybrid time: milliseconds since 1970 and a counter within them."""

    wall_ms: int
    counter: int


class HybridClock:
    """Issues strictly increasing stamps that also exceed every stamp observed.

    One exception: when our wall clock is set back by more than MAX_DRIFT_MS, stamps go back with
    it. They would exceed what others accept, and nobody would hear us until time caught up.
    """

    def __init__(self) -> None:
        self._last = Stamp(0, 0)

    @property
    def last(self) -> Stamp:
        """The newest stamp issued or observed."""
        return self._last

    def stamp(self, wall_ns: int) -> Stamp:
        """Return a stamp for an event that happens now."""
        return self._advance(wall_ns // 1_000_000, Stamp(0, -1))

    def observe(self, remote: Stamp, wall_ns: int) -> Stamp:
        """Take in a received stamp and return the stamp of its receipt.

        Raises:
            Malformed: The stamp is negative or more than MAX_DRIFT_MS ahead of our wall clock;
                the clock is unchanged.
        """
        wall_ms = wall_ns // 1_000_000
        if remote.wall_ms < 0 or not 0 <= remote.counter <= _MAX_COUNTER:
            raise Malformed(f"clock stamp {remote.wall_ms}.{remote.counter} is out of range")
        if remote.wall_ms > wall_ms + MAX_DRIFT_MS:
            ahead_s = (remote.wall_ms - wall_ms) / 1000
            raise Malformed(
                f"a peer's clock stamp is {ahead_s:.1f} s ahead of this node's wall clock",
                hint="check the wall clock of both nodes (doctor shows it)",
            )
        return self._advance(wall_ms, remote)

    def _advance(self, wall_ms: int, remote: Stamp) -> Stamp:
        if self._last.wall_ms > wall_ms + MAX_DRIFT_MS:
            self._last = Stamp(0, 0)
        newest = max(wall_ms, self._last.wall_ms, remote.wall_ms)
        counter = (
            max(
                (stamp.counter for stamp in (self._last, remote) if stamp.wall_ms == newest),
                default=-1,
            )
            + 1
        )
        if counter > _MAX_COUNTER:
            newest, counter = newest + 1, 0
        self._last = Stamp(newest, counter)
        return self._last
