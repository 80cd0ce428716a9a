"""Sampling: which finished tasks are run once more elsewhere, to see whether others agree."""

import math

from qallow_agent.base.ids import Entropy
from qallow_agent.base.units import Seconds


class Sampler:
    """Draws a share of the small tasks.

    The gap to the next one is drawn, not each task: what is not drawn costs a subtraction.

    Args:
        rng: Entropy for the draws.
    """

    def __init__(self, rng: Entropy) -> None:
        self._rng = rng
        self._share = 0.0
        self._task_s: Seconds = 0.0
        self._gap = 0
        self.begun = 0
        """Audits that were begun."""
        self.skipped = 0
        """Tasks that were drawn and not audited: no second device, or too many under way."""

    @property
    def share(self) -> float:
        """Share of the small tasks that is drawn."""
        return self._share

    def set(self, share: float, task_s: Seconds) -> None:
        """Draw this share of the tasks shorter than ``task_s`` from now on; 0 draws none."""
        sound = 0 < share <= 1 and 0 < task_s < math.inf
        self._share, self._task_s = (share, task_s) if sound else (0.0, 0.0)
        self._gap = self._draw()

    def takes(self, seconds: Seconds, *, every: bool = False) -> bool:
        """Return whether a task that took so long is to be audited; ``every`` is, if small."""
        if seconds >= self._task_s:
            return False
        if every:
            return True
        self._gap -= 1
        if self._gap >= 0:
            return False
        self._gap = self._draw()
        return True

    def _draw(self) -> int:
        """Return how many tasks to pass over: geometric, as if each were drawn by itself."""
        if not 0 < self._share < 1:
            return 0
        return int(math.log1p(-self._rng.random()) / math.log1p(-self._share))
