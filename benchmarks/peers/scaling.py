"""How work spreads over 1, 2, 4 and 8 runners: work that waits, and work that computes."""

import time
from collections.abc import Callable

from peers.protocol import Values

COUNTS = (1, 2, 4, 8)
WAIT_S = 0.02
"""What waits: a sensor, a disk, another service. It needs no core, so eight fit on two."""


TASKS_A_RUNNER = 40
"""Enough that the last ones, for which some runner has nothing left to do, hardly count."""


def wait_a_moment(_: object = None) -> None:
    """Wait as a task that asks something else does."""
    time.sleep(WAIT_S)


def scaling_rates(what: str, measure: Callable[[int, float], float], seconds: float) -> Values:
    """Return the rate at each number of runners as ``scaling_WHAT_N``.

    Args:
        what: Names the work.
        measure: Runners and seconds -> tasks a second.
        seconds: For all numbers together.
    """
    share_s = seconds / len(COUNTS)
    return {f"scaling_{what}_{count}": measure(count, share_s) for count in COUNTS}
