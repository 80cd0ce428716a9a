"""Names to addresses without ever blocking the loop.

``getaddrinfo`` cannot be cancelled and may hang for half a minute, so each lookup runs in a daemon
thread of its own (few at once) and its answer is ignored when it comes too late. libzmq is never
given a name: it would resolve it in the one thread that moves all bytes.
"""

import os
import queue
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.addresses import is_literal
from qallow_agent.mesh.io.port import Arrival, Clock

Lookup = Callable[[str], tuple[str, ...]]

_AT_ONCE = 4
_NAMES_LIMIT = 256
_ANSWERS_LIMIT = 16


@dataclass(slots=True)
class _Name:
    hosts: tuple[str, ...] = ()
    asked: Seconds | None = None
    answered: Seconds | None = None


def look_up(host: str) -> tuple[str, ...]:
    """Return the addresses of a name, in the system's order; empty when it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return ()
    hosts = dict.fromkeys(str(item[4][0]) for item in found)
    return tuple(hosts)[:_ANSWERS_LIMIT]


class Resolver:
    """A cache of names that refreshes itself in the background.

    Args:
        timeout_s: Age at which an unanswered lookup no longer counts as under way.
        refresh_s: Age at which an answer is looked up again; it serves until the next one.
        clock: For both.
        lookup: Blocking name lookup; runs in a thread.
    """

    def __init__(
        self, timeout_s: Seconds, refresh_s: Seconds, clock: Clock, lookup: Lookup = look_up
    ) -> None:
        self._timeout_s = timeout_s
        self._refresh_s = refresh_s
        self._clock = clock
        self._lookup = lookup
        self._names: OrderedDict[str, _Name] = OrderedDict()
        self._waiting: deque[str] = deque(maxlen=_NAMES_LIMIT)
        self._running: dict[str, Seconds] = {}
        self._answers: queue.SimpleQueue[tuple[str, tuple[str, ...]]] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._lock = threading.Lock()
        self._closed = False
        self.on_answer: Callable[[str], None] = _ignore

    def fileno(self) -> int:
        """Return the descriptor that is readable when an answer has come."""
        return self._wake_read

    def hosts(self, host: str) -> tuple[str, ...]:
        """Return the addresses known for a host now; ask for a name when none or stale.

        A literal address is its own answer. An unknown name returns nothing; ``on_answer`` is
        called with it once it is known.
        """
        if is_literal(host):
            return (host,)
        now = self._clock().mono_s
        name = self._names.setdefault(host, _Name())
        self._names.move_to_end(host)
        if len(self._names) > _NAMES_LIMIT:
            self._names.popitem(last=False)
        under_way = name.asked is not None and now - name.asked < self._timeout_s
        fresh = name.answered is not None and now - name.answered < self._refresh_s
        if not under_way and not fresh:
            name.asked = now
            self._waiting.append(host)
            self._start(now)
        return name.hosts

    def drain(self, _arrivals: list[Arrival]) -> bool:
        """Take in answers; a readiness source."""
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        now = self._clock().mono_s
        while not self._answers.empty():
            host, hosts = self._answers.get_nowait()
            started = self._running.pop(host, None)
            name = self._names.get(host)
            if name is None or started is None or now - started > self._timeout_s:
                continue
            name.asked = None
            name.answered = now
            if hosts:  # a failed refresh keeps the last good answer
                name.hosts = hosts
                self.on_answer(host)
        self._start(now)
        return False

    def close(self) -> None:
        """Release the descriptors; lookups still running end unheard."""
        with self._lock:
            self._closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _start(self, now: Seconds) -> None:
        hung = [host for host, began in self._running.items() if now - began > self._timeout_s]
        for host in hung:
            del self._running[host]
        while self._waiting and len(self._running) < _AT_ONCE:
            host = self._waiting.popleft()
            if host in self._running:
                continue
            self._running[host] = now
            threading.Thread(
                target=self._run, args=(host,), name=f"resolve {host}", daemon=True
            ).start()

    def _run(self, host: str) -> None:
        hosts = self._lookup(host)
        with self._lock:
            if self._closed:
                return
            self._answers.put((host, hosts))
            with suppress(BlockingIOError):  # the pipe is full of wake-ups already
                os.write(self._wake_write, b".")


def _ignore(_host: str) -> None:
    """Serve as the listener until somebody listens."""
