"""One line on stderr that says how far a job is: rate, time left, failed, re-run."""

import sys
import time
from typing import Protocol

from qallow_agent.base.units import show_seconds

_PERIOD_S = 0.1
_WIDTH = 79


class Meter(Protocol):
    """Shows progress to a person."""

    def show(self, done: int, failed: int = 0, rerun: int = 0) -> None:
        """Say how far the job is."""
        ...

    def end(self) -> None:
        """Leave the last word as it is."""
        ...


class ProgressLine:
    """Rewrites one line on stderr, at most ten times a second.

    Args:
        what: The kernel's name.
        points: How many points there are.
        on: Whether it says anything; default only on a terminal.
    """

    def __init__(self, what: str, points: int, *, on: bool | None = None) -> None:
        self._what = what
        self._points = points
        self._began_s = time.monotonic()
        self._said_s = 0.0
        self._on = sys.stderr.isatty() if on is None else on

    @property
    def elapsed_s(self) -> float:
        """Seconds since the line was made."""
        return time.monotonic() - self._began_s

    def show(self, done: int, failed: int = 0, rerun: int = 0) -> None:
        """Say how far the job is, when the last word is old enough or this is the end."""
        now_s = time.monotonic()
        if not self._on or (now_s - self._said_s < _PERIOD_S and done < self._points):
            return
        self._said_s = now_s
        text = describe(self._what, done, self._points, self.elapsed_s, failed, rerun)
        self._write(f"\r{text[:_WIDTH]:<{_WIDTH}}")

    def end(self) -> None:
        """Leave the line, so that what follows starts a new one."""
        if self._on and self._said_s:
            self._write("\n")
            self._said_s = 0.0

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal was closed; the results matter more
            self._on = False


def describe(what: str, done: int, points: int, elapsed_s: float, failed: int, rerun: int) -> str:
    """Return the line: share, rate, time left, and what went wrong if anything did."""
    parts = [f"{what}  {done:,}/{points:,}  {done / max(points, 1):4.0%}"]
    if done and elapsed_s > 0:
        rate = done / elapsed_s
        parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")  # noqa: PLR2004 - digits
        if done < points:
            parts.append(f"ETA {show_seconds((points - done) / rate)}")
    if failed:
        parts.append(f"failed {failed:,}")
    if rerun:
        parts.append(f"re-run {rerun:,}")
    return "  ".join(parts)
