"""The toll: hashes in a thread of its own, for SHA-256 lets other threads run meanwhile."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

APART_BYTES: Final = 64 << 10
"""Below this handing it over costs more than it saves."""

MOST_WAITING_BYTES: Final = 64 << 20
"""What waits is not freed; beyond this whoever brings more hashes it at once."""

_REST_S: Final = 1.0

Work = Callable[[], None]


class Toll:
    """Has work done by one thread, in order; the thread ends when it has rested for a while.

    One caller at a time brings work. What is small is done by the caller while nothing waits.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[int, Work]] = SimpleQueue()
        self._changed = threading.Condition()
        self._waiting = 0
        self._waiting_bytes = 0
        self._running = False
        self._error: Exception | None = None

    def hash(self, size_bytes: int, work: Work) -> None:
        """Have some bytes hashed, after all that was brought before."""
        if self._waiting_bytes > MOST_WAITING_BYTES:
            self.wait()
        if size_bytes < APART_BYTES and not self._waiting:
            work()
            return
        with self._changed:
            self._waiting += 1
            self._waiting_bytes += size_bytes
            begin = not self._running
            self._running = True
        self._queue.put((size_bytes, work))
        if begin:
            threading.Thread(target=self._run, name="qallow-hash", daemon=True).start()

    def wait(self) -> None:
        """Wait until everything is hashed; what that raised is raised here."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            try:
                size_bytes, work = self._queue.get(timeout=_REST_S)
            except Empty:
                with self._changed:
                    self._running = self._waiting > 0
                    if not self._running:
                        return
                continue
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whoever waits raises it
                self._error = error
            del work  # and with it the frames that it holds
            with self._changed:
                self._waiting -= 1
                self._waiting_bytes -= size_bytes
                self._changed.notify_all()
