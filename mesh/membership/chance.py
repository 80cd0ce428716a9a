"""Fair draws from injected entropy."""

from collections.abc import Sequence
from typing import TypeVar

from qallow_agent.base.ids import Entropy

T = TypeVar("T")


def sample(rng: Entropy, items: Sequence[T], count: int) -> list[T]:
    """Return up to ``count`` distinct items in random order.

    Source: Fisher and Yates; Knuth, TAOCP volume 2, algorithm 3.4.2P, stopped early.
    """
    pool = list(items)
    size = min(count, len(pool))
    for i in range(size):
        j = i + rng.randrange(len(pool) - i)
        pool[i], pool[j] = pool[j], pool[i]
    return pool[:size]


def jitter(rng: Entropy, seconds: float) -> float:
    """Return a wait within 20 % of ``seconds``, so that many nodes do not act in step."""
    return seconds * (0.8 + 0.4 * rng.random())
