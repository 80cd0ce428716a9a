"""Progress in a notebook: one output that is updated in place. Needs nothing that is not there."""

import html
import os
import sys
import time
from typing import Any, Final

from qallow_agent.client.progress import Meter, ProgressLine, describe

_PERIOD_S: Final = 0.25
"""Every update is a message to the browser."""


def meter(what: str, points: int) -> Meter:
    """Return what shows progress to the person who asked: in the notebook, or on stderr.

    Args:
        what: The kernel's name.
        points: How many points there are.
    """
    shell = _shell()
    if shell is None:
        return ProgressLine(what, points, on=True)
    return ProgressCell(what, points, shell.display_pub)


class ProgressCell:
    """Updates one output of a notebook's cell, a few times a second.

    Args:
        what: The kernel's name.
        points: How many points there are.
        publisher: IPython's.
    """

    def __init__(self, what: str, points: int, publisher: Any) -> None:
        self._what = what
        self._points = points
        self._publisher = publisher
        self._id = os.urandom(8).hex()
        self._began_s = time.monotonic()
        self._said_s: float | None = None
        self._last: tuple[int, int, int] | None = None
        """What was not shown yet."""

    def show(self, done: int, failed: int = 0, rerun: int = 0) -> None:
        """Say how far the job is, when the last word is old enough or this is the end."""
        self._last = (done, failed, rerun)
        now_s = time.monotonic()
        fresh = self._said_s is not None and now_s - self._said_s < _PERIOD_S
        if not fresh or done >= self._points:
            self._publish(now_s)

    def end(self) -> None:
        """Show the last word, which stays."""
        if self._last is not None:
            self._publish(time.monotonic())

    def _publish(self, now_s: float) -> None:
        done, failed, rerun = self._last or (0, 0, 0)
        text = describe(self._what, done, self._points, now_s - self._began_s, failed, rerun)
        bar = f'<progress value="{done}" max="{self._points}"></progress>'
        self._publisher.publish(
            {"text/plain": text, "text/html": f"{bar} <code>{html.escape(text)}</code>"},
            transient={"display_id": self._id},
            update=self._said_s is not None,
        )
        self._said_s, self._last = now_s, None


def _shell() -> Any:
    """Return the shell of the notebook kernel that runs us; None when none does."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return None
    shell = ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None
