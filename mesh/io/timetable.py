"""Due times by key, cheapest to ask for the next one."""

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from qallow_agent.base.units import Seconds

K = TypeVar("K", bound=Hashable)


class Timetable(Generic[K]):
    """One due time per key; setting it again moves it.

    A heap with stale entries left in place: asking costs O(1), and a stale entry is dropped when
    it surfaces.
    """

    def __init__(self) -> None:
        self._due: dict[K, Seconds] = {}
        self._heap: list[tuple[Seconds, int, K]] = []
        self._count = 0

    def set(self, key: K, when: Seconds) -> None:
        """Make ``key`` due at ``when``."""
        if self._due.get(key) == when:
            return
        self._due[key] = when
        self._count += 1  # breaks ties, so that keys need no order
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 4 * len(self._due) + 64:
            self._compact()

    def cancel(self, key: K) -> None:
        """Forget ``key``; harmless when it is not due."""
        self._due.pop(key, None)

    def when(self, key: K) -> Seconds | None:
        """Return when ``key`` is due; None when it is not."""
        return self._due.get(key)

    def pop_due(self, now: Seconds) -> list[K]:
        """Return and forget every key due by ``now``, earliest first."""
        ready: list[K] = []
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                ready.append(key)
        return ready

    def soonest(self) -> Seconds | None:
        """Return the earliest due time; None when nothing is due."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
        heapq.heapify(self._heap)
