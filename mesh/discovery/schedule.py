"""When to try again: waits that double up to a bound, with jitter, for ever."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from qallow_agent.base.ids import Entropy
from qallow_agent.base.units import Seconds

K = TypeVar("K", bound=Hashable)


def jitter(rng: Entropy, seconds: Seconds) -> Seconds:
    """Return a wait within 20 % of ``seconds``, so that many nodes do not act in step."""
    return seconds * (0.8 + 0.4 * rng.random())


@dataclass(slots=True)
class _Wait:
    due_s: Seconds
    wait_s: Seconds


class Schedule(Generic[K]):
    """Things to try again, each with its own doubling wait.

    Args:
        first_s: First wait.
        rng: Injected entropy.
    """

    def __init__(self, first_s: Seconds, rng: Entropy) -> None:
        self._first_s = first_s
        self._rng = rng
        self._waits: dict[K, _Wait] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._waits

    def start(self, key: K, due_s: Seconds) -> None:
        """Try something at ``due_s`` and then again and again; restarts what was slow already."""
        known = self._waits.get(key)
        if known is not None:
            due_s = min(due_s, known.due_s)
        self._waits[key] = _Wait(due_s, self._first_s)

    def stop(self, key: K) -> None:
        """Stop trying something."""
        self._waits.pop(key, None)

    def due(self, now_s: Seconds, longest_s: Seconds) -> list[K]:
        """Return what to try now, and set when each is tried next."""
        ready = [key for key, wait in self._waits.items() if wait.due_s <= now_s]
        for key in ready:
            wait = self._waits[key]
            wait.due_s = now_s + jitter(self._rng, min(wait.wait_s, longest_s))
            wait.wait_s = min(wait.wait_s * 2, longest_s)
        return ready

    def next_deadline(self) -> Seconds | None:
        """Return when the next thing is tried."""
        return min((wait.due_s for wait in self._waits.values()), default=None)
