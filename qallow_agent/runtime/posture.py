"""Posture: what a kernel can bend in its process for the next job, and how it is put straight.

Done when a runner turns to another lease, not for every task: a job's tasks are one kernel's, and
several microseconds would be a good part of a small one.
"""

import locale
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Posture:
    """The settings of a process that every job finds as the first one did.

    Args:
        folder: The working directory.
        mask: What the permissions of new files leave out.
        signals: The signals this thread blocks.
        words: The locale.
        errors: How NumPy treats floating-point errors.
    """

    folder: str
    mask: int
    signals: frozenset[int]
    words: str
    errors: dict[str, Any]

    def resume(self) -> None:
        """Take it again."""
        with suppress(OSError):  # a kernel has removed it
            os.chdir(self.folder)
        os.umask(self.mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.signals)
        if locale.setlocale(locale.LC_ALL) != self.words:
            locale.setlocale(locale.LC_ALL, self.words)
        np.seterr(**self.errors)


def read_posture() -> Posture:
    """Return how this process stands now."""
    mask = os.umask(0o077)
    os.umask(mask)
    return Posture(
        folder=os.getcwd(),  # noqa: PTH109 - its text is all that is wanted
        mask=mask,
        signals=frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        words=locale.setlocale(locale.LC_ALL),
        errors=dict(np.geterr()),
    )
