"""The pool of shared memory through which arrays go to runners on this machine, and back.

Segments are used again: the page faults of a fresh one cost as much as the copy. One that a lost
runner may still read or write is never used again. All of it belongs to this process: when it
ends, in whatever way, the system takes it back.
"""

import contextlib
import ctypes
import mmap
import os
import time
import weakref
from collections import deque
from typing import Any, Final

from qallow_agent.base.errors import WireError
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.memory import make_segment, map_segment

_LEAST_BYTES: Final = 256 << 10
_MOST_SEGMENTS: Final = 128
"""Each is an open file of this process."""

_SHARE: Final = 4
_IDLE_S: Final = 5.0


class Segment:
    """A piece of shared memory, lent to one task or one array at a time.

    Args:
        size_bytes: Its length.

    Raises:
        OSError: There is no memory or descriptor for it.
    """

    def __init__(self, size_bytes: int) -> None:
        self.descriptor = make_segment(size_bytes)
        self.size_bytes = size_bytes
        self._end = weakref.finalize(self, os.close, self.descriptor)
        self.memory: mmap.mmap = map_segment(self.descriptor, size_bytes)
        self.name = os.urandom(16)
        self.idle_s: Seconds = 0.0
        """Since when nobody uses it."""

    def close(self) -> None:
        """Give it back to the system, as soon as no view of it is left."""
        with contextlib.suppress(BufferError):
            self.memory.close()
        self._end()


class Pool:
    """Lends segments, up to a part of the machine's memory."""

    def __init__(self) -> None:
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        self._most_bytes = pages * page_bytes // _SHARE
        self._free: list[Segment] = []
        self._lent_bytes = 0
        self._lent = 0
        self._returned: deque[Segment] = deque()
        self._closed = False

    def take(self, size_bytes: int) -> Segment | None:
        """Return a segment of at least so many bytes; None when that would be too much."""
        self._sweep()
        size = max(_LEAST_BYTES, 1 << (size_bytes - 1).bit_length())
        for position in range(len(self._free) - 1, -1, -1):
            if self._free[position].size_bytes == size:
                return self._free.pop(position)
        if self._lent_bytes + size > self._most_bytes or self._lent >= _MOST_SEGMENTS:
            return None
        try:
            segment = Segment(size)
        except (OSError, WireError):  # whatever is short here, the other way remains
            return None
        self._lent_bytes += size
        self._lent += 1
        return segment

    def give_back(self, segment: Segment) -> None:
        """Take back a segment that nobody reads or writes any more; any thread may do so."""
        segment.idle_s = time.monotonic()
        self._returned.append(segment)
        if self._closed:
            self._bury()

    def discard(self, segment: Segment) -> None:
        """Let go of a segment that a lost runner may still use."""
        self._lent_bytes -= segment.size_bytes
        self._lent -= 1

    def view(self, segment: Segment) -> memoryview:
        """Return a segment as read-only memory; it is given back when no view is left."""
        carrier: Any = (ctypes.c_char * segment.size_bytes).from_buffer(segment.memory)
        weakref.finalize(carrier, self.give_back, segment).atexit = False
        return memoryview(carrier).cast("B").toreadonly()

    def tidy(self, now: Seconds) -> list[bytes]:
        """Give long unused segments back to the system; return their names."""
        self._sweep()
        gone = [segment for segment in self._free if segment.idle_s + _IDLE_S <= now]
        if gone:
            self._free = [segment for segment in self._free if segment.idle_s + _IDLE_S > now]
        for segment in gone:
            self.discard(segment)
            segment.close()
        return [segment.name for segment in gone]

    def close(self) -> None:
        """Give everything back: what is free now, the rest when its last view goes."""
        self._closed = True
        self.tidy(float("inf"))
        self._bury()

    def _sweep(self) -> None:
        while self._returned:
            self._free.append(self._returned.popleft())

    def _bury(self) -> None:
        while True:
            try:
                segment = self._returned.popleft()
            except IndexError:
                return
            segment.close()
