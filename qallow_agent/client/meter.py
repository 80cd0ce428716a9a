"""One line on stderr that says how far a sweep is, for scripts and notebooks."""

import sys
import time

from qallow_agent.base.units import show_seconds

_PERIOD_S = 0.5
_WIDTH = 79


class Meter:
    """Rewrites its line at most twice a second.

    Args:
        what: The kernel's name.
        points: How many points there are.
    """

    def __init__(self, what: str, points: int) -> None:
        self._what = what
        self._points = points
        self._began_s = time.monotonic()
        self._said_s = -_PERIOD_S

    def show(self, done: int, failed: int = 0, rerun: int = 0) -> None:
        """Say how far it is, unless it was said just now."""
        now_s = time.monotonic()
        if now_s - self._said_s < _PERIOD_S and done < self._points:
            return
        self._said_s = now_s
        rate = done / max(now_s - self._began_s, 1e-9)
        text = f"{self._what}  {done:,}/{self._points:,}  {rate:,.0f}/s"
        if 0 < done < self._points:
            text += f"  {show_seconds((self._points - done) / rate)} left"
        if failed or rerun:
            text += f"  failed {failed:,}  re-run {rerun:,}"
        sys.stderr.write(f"\r{text[:_WIDTH]:<{_WIDTH}}")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._said_s >= self._began_s:
            sys.stderr.write("\n")
            sys.stderr.flush()
