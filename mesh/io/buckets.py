"""Token buckets: how much of anything one source may ask for."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from qallow_agent.base.units import Seconds

K = TypeVar("K", bound=Hashable)


class Buckets(Generic[K]):
    """One token bucket per source, for a bounded number of sources.

    Args:
        rate_hz: Tokens that return per second.
        burst: Tokens of a full bucket.
        sources_limit: Buckets kept; the longest unused is forgotten, which refills it.

    Source: Turner, "New directions in communications" (1986), the leaky bucket as a meter.
    """

    def __init__(self, rate_hz: float, burst: float, sources_limit: int) -> None:
        self._rate_hz = rate_hz
        self._burst = burst
        self._sources_limit = sources_limit
        self._levels: OrderedDict[K, tuple[float, Seconds]] = OrderedDict()

    def take(self, source: K, now: Seconds) -> bool:
        """Take one token of ``source``; False when it has none left."""
        level, last = self._levels.pop(source, (self._burst, now))
        level = min(self._burst, level + max(0.0, now - last) * self._rate_hz)
        granted = level >= 1.0
        self._levels[source] = (level - 1.0 if granted else level, now)
        if len(self._levels) > self._sources_limit:
            self._levels.popitem(last=False)
        return granted

    def forget(self, source: K) -> None:
        """Drop the bucket of a source that is gone."""
        self._levels.pop(source, None)
