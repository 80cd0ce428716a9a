"""An agenda: who must be looked at when, cheap to write in and cheap to read."""

import heapq
from typing import Generic, TypeVar

from qallow_agent.base.units import Seconds

Key = TypeVar("Key", bound=str)


class Agenda(Generic[Key]):
    """Remembers the earliest reminder per key; who is reminded early just looks again.

    A later reminder for a key that has an earlier one is dropped: whoever is reminded computes
    its next due time anew. So each key has one live entry and nothing is ever rescanned.
    """

    def __init__(self) -> None:
        self._when: dict[Key, Seconds] = {}
        self._heap: list[tuple[Seconds, Key]] = []

    def remind(self, key: Key, when: Seconds | None) -> None:
        """Look at ``key`` no later than ``when``; None is no wish."""
        if when is None:
            return
        known = self._when.get(key)
        if known is None or when < known:
            self._when[key] = when
            heapq.heappush(self._heap, (when, key))

    def forget(self, key: Key) -> None:
        """Drop the reminder of a key, if any."""
        self._when.pop(key, None)

    def due(self, now: Seconds) -> list[Key]:
        """Return the keys whose time has come, earliest first, and drop their reminders."""
        keys: list[Key] = []
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._when.get(key) == when:
                del self._when[key]
                keys.append(key)
        return keys

    def next(self) -> Seconds | None:
        """Return the earliest reminder; None when the agenda is empty."""
        while self._heap and self._when.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
