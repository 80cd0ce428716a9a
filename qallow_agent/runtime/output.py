"""What runners print: read from their pipe into the agent's log, never onto its stdout."""

import logging
import os
from typing import Final

LOGGER: Final = logging.getLogger("qallow_agent.runner")

_CHUNK_BYTES: Final = 64 << 10
_LINE_BYTES: Final = 1000
"""A longer line is cut: log readers and journald choke on megabytes in one line."""


class OutputLog:
    """Reads one pipe and logs its lines, a few a second; the others are counted.

    A process that prints without end is not read any more until the second is over: its own
    writes then block, and the agent spends nothing on it.

    Args:
        descriptor: The pipe's read end; ours to close.
        source: Who prints, for the log.
        lines_per_s: Lines logged each second.
    """

    def __init__(self, descriptor: int, source: str, lines_per_s: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._source = source
        self._lines_per_s = lines_per_s
        self._rest = b""
        self._window_s = 0.0
        self._logged = 0
        self._dropped = 0
        self._read_bytes = 0

    def resumes_s(self) -> float | None:
        """Return when reading goes on if this second's share is used up, else None."""
        return self._window_s + 1.0 if self._read_bytes >= _CHUNK_BYTES else None

    def read(self, now_s: float) -> bool:
        """Log what is there; False once the other side is closed."""
        self._turn(now_s)
        while self._read_bytes < _CHUNK_BYTES:
            try:
                data = os.read(self.descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._read_bytes += len(data)
            self._take(data)
        return True

    def close(self) -> None:
        """Log the unfinished last line and what was left out, and close the pipe."""
        if self._rest:
            self._take(b"\n")
        self._confess()
        os.close(self.descriptor)

    def _turn(self, now_s: float) -> None:
        if now_s - self._window_s >= 1.0:
            self._confess()
            self._window_s, self._logged, self._read_bytes = now_s, 0, 0

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_LINE_BYTES]
        spare = self._lines_per_s - self._logged
        for line in lines[:spare]:
            self._say(line[:_LINE_BYTES].decode(errors="backslashreplace"))
        self._logged += min(len(lines), spare)
        self._dropped += max(0, len(lines) - spare)

    def _confess(self) -> None:
        if self._dropped:
            self._say(f"({self._dropped} more lines were not logged)")
            self._dropped = 0

    def _say(self, text: str) -> None:
        LOGGER.info("%s", text, extra={"event": "runner.output", "facts": {"runner": self._source}})
