"""One file descriptor for everything a transport listens to.

Polling N ZeroMQ sockets costs N system calls at every wake-up, even when nothing happened on
them. Their descriptors gathered in one selector cost one. A ZeroMQ descriptor only says "look":
its source must read until nothing is left, and must be *stirred* after a send on the same socket,
because the send may have swallowed the signal (libzmq FAQ on ZMQ_FD).
"""

import selectors
from collections import Counter
from collections.abc import Callable

from qallow_agent.mesh.io.port import Arrival

Source = Callable[[list[Arrival]], bool]
"""Appends what it read; returns True when it stopped at its fair share and more may wait."""

FAIR_SHARE = 256
"""Items one source may deliver in a round, so that a flood on one socket never starves another."""


class Readiness:
    """Knows which sources have something to read."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sources: dict[int, Source] = {}
        self._stirred: dict[int, None] = {}
        self.drops: Counter[str] = Counter()

    def fileno(self) -> int:
        """Return the descriptor that is readable when any source is."""
        return self._selector.fileno()

    @property
    def stirred(self) -> bool:
        """Whether a source wants reading although no descriptor will say so."""
        return bool(self._stirred)

    def watch(self, fd: int, source: Source) -> None:
        """Read ``source`` whenever ``fd`` is readable, and once now."""
        self._selector.register(fd, selectors.EVENT_READ)
        self._sources[fd] = source
        self._stirred[fd] = None

    def forget(self, fd: int) -> None:
        """Stop reading a descriptor that is about to be closed."""
        if self._sources.pop(fd, None) is not None:
            self._selector.unregister(fd)
        self._stirred.pop(fd, None)

    def stir(self, fd: int) -> None:
        """Read this descriptor's source in the next round whatever the descriptor says."""
        if fd in self._sources:
            self._stirred[fd] = None

    def collect(self) -> list[Arrival]:
        """Read every ready source once and return what arrived."""
        arrivals: list[Arrival] = []
        ready = dict.fromkeys(self._stirred)
        self._stirred.clear()
        ready.update((key.fd, None) for key, _ in self._selector.select(0))
        for fd in ready:
            source = self._sources.get(fd)
            if source is not None and source(arrivals):
                self.stir(fd)
        return arrivals

    def close(self) -> None:
        """Release the selector; the sources belong to others."""
        self._selector.close()
        self._sources.clear()
        self._stirred.clear()
