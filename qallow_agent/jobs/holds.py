"""Holds: memory in which arrays are put together that travel apart from their parcels.

Pieces may come in any order, twice, or never; what does not fit is refused before memory is taken
for it, and what is not continued gives way to what is. One table of holds belongs to one
peer: nobody can learn, or use, what another one sent.
"""

from collections.abc import Callable
from typing import Any, Final

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.base.units import Seconds, show_bytes
from qallow_agent.jobs.parcels import CHUNK_BYTES, MAX_NAME_BYTES, Chunk, Missing, chunk_bytes

STALE_S: Final = 30.0
"""A hold without a new piece for so long is given up: its sender is gone or stuck."""

MOST_HOLDS: Final = 1_024
_MOST_REFUSED: Final = 256
_MOST_RANGES: Final = 256
"""Named in one answer; what is beyond is asked for when these have come."""


class _Hold:
    __slots__ = ("buffer", "keep", "left", "seen", "touched_s")

    def __init__(self, buffer: memoryview, pieces: int, now: Seconds, *, keep: bool) -> None:
        self.buffer = buffer
        self.seen = bytearray(pieces)
        self.left = pieces
        self.keep = keep
        self.touched_s = now


class Holds:
    """The holds that one peer fills.

    Args:
        allocate: Returns that many bytes of writable memory; raises MemoryError.
        most_bytes: Of all holds together.
    """

    def __init__(self, allocate: Callable[[int], Any], most_bytes: int) -> None:
        self._allocate = allocate
        self._most_bytes = most_bytes
        self._holds: dict[bytes, _Hold] = {}
        self._refused: dict[bytes, str] = {}
        self.size_bytes = 0
        """Bytes of all holds, complete or not."""

    def put(self, chunk: Chunk, data: memoryview, now: Seconds) -> None:
        """Put a piece into its place; one that is there already changes nothing.

        Args:
            chunk: What it is; untrusted.
            data: Its bytes, as long as the chunk announces.
            now: Monotonic seconds.

        Raises:
            Malformed: It contradicts an earlier piece of the same hold.
            TooLarge: There is no room for its hold.
        """
        size = chunk_bytes(chunk.offset, chunk.total_bytes)
        if len(data) != size or not 0 < len(chunk.hold) <= MAX_NAME_BYTES:
            raise Malformed(f"a piece of {len(data)} bytes where {size} were due")
        hold = self._holds.get(chunk.hold) or self._begin(chunk, now)
        if len(hold.buffer) != chunk.total_bytes:
            raise Malformed(
                f"a piece of {chunk.total_bytes} bytes for a hold of {len(hold.buffer)}"
            )
        hold.touched_s = now
        piece = chunk.offset // CHUNK_BYTES
        if hold.seen[piece]:
            return
        hold.buffer[chunk.offset : chunk.offset + size] = data
        hold.seen[piece] = 1
        hold.left -= 1

    def find(self, name: bytes, now: Seconds) -> memoryview | None:
        """Return a complete hold; None when it is not, or not known."""
        hold = self._holds.get(name)
        if hold is None or hold.left:
            return None
        hold.touched_s = now
        self._holds[name] = self._holds.pop(name)  # to the end of the line
        return hold.buffer

    def used(self, name: bytes) -> None:
        """Note that a task took a hold; one that is for a single task ends by that."""
        hold = self._holds.get(name)
        if hold is not None and not hold.keep:
            self.forget(name)

    def refused(self, name: bytes) -> str:
        """Return why there is no room for a hold; empty when that is not so."""
        return self._refused.get(name, "")

    def missing(self, name: bytes, total_bytes: int) -> Missing:
        """Return which pieces of a hold are not here."""
        hold = self._holds.get(name)
        if hold is None:
            return Missing(name, ((0, total_bytes),))
        ranges: list[tuple[int, int]] = []
        for piece, seen in enumerate(hold.seen):
            if seen:
                continue
            start = piece * CHUNK_BYTES
            end = min(start + CHUNK_BYTES, len(hold.buffer))
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], end)
            elif len(ranges) < _MOST_RANGES:
                ranges.append((start, end))
        return Missing(name, tuple(ranges))

    def forget(self, name: bytes) -> None:
        """Let go of a hold; arrays that lie in it keep its memory until they are gone."""
        hold = self._holds.pop(name, None)
        if hold is not None:
            self.size_bytes -= len(hold.buffer)
        self._refused.pop(name, None)

    def expire(self, now: Seconds) -> None:
        """Give up what was begun and not continued."""
        for name, hold in list(self._holds.items()):
            if hold.left and hold.touched_s + STALE_S <= now:
                self.forget(name)

    def _begin(self, chunk: Chunk, now: Seconds) -> _Hold:
        total = chunk.total_bytes
        self.expire(now)
        for name, hold in list(self._holds.items()):  # the longest unused first
            if self.size_bytes + total <= self._most_bytes and len(self._holds) < MOST_HOLDS:
                break
            if not hold.left:
                self.forget(name)
        if self.size_bytes + total > self._most_bytes or len(self._holds) >= MOST_HOLDS:
            held, most = show_bytes(self.size_bytes), show_bytes(self._most_bytes)
            raise self._refuse(
                chunk.hold, f"{show_bytes(total)} beside {held} of other arrays, of {most} allowed"
            )
        try:
            buffer = memoryview(self._allocate(total)).cast("B")
        except MemoryError:
            raise self._refuse(chunk.hold, f"no memory for {show_bytes(total)}") from None
        hold = _Hold(buffer, -(-total // CHUNK_BYTES), now, keep=chunk.keep)
        self._holds[chunk.hold] = hold
        self._refused.pop(chunk.hold, None)
        self.size_bytes += total
        return hold

    def _refuse(self, name: bytes, why: str) -> TooLarge:
        while len(self._refused) >= _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[name] = why
        return TooLarge(f"a hold is refused: {why}")
