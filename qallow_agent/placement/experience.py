"""What this node has seen of others' devices: links, start-ups, heat. Kept in memory, bounded."""

from collections import OrderedDict
from typing import Final

from qallow_agent.base.units import Seconds
from qallow_agent.placement.cost import MOST_BANDWIDTH, MOST_START_S, sane

_MOST_KEPT: Final = 4_096
"""Nodes or devices remembered each; those not heard of for longest go first."""
_NEWEST: Final = 0.3
"""Weight of the newest measurement: smooths over single odd ones."""


class Experience:
    """Exponentially weighted estimates of what adverts cannot say.

    Args:
        hot_s: A device seen hot counts as hot for this long.
    """

    def __init__(self, hot_s: Seconds) -> None:
        self._hot_s = hot_s
        self._links: OrderedDict[str, float] = OrderedDict()
        self._starts: OrderedDict[str, float] = OrderedDict()
        self._hot: OrderedDict[str, Seconds] = OrderedDict()

    def link(self, node: str) -> float | None:
        """Return the bytes per second that flow to a node; None when nothing large went there."""
        return self._links.get(node)

    def start_s(self, device: str) -> Seconds | None:
        """Return how long a device takes to bring a runner up; None when that was not seen."""
        return self._starts.get(device)

    def learn_link(self, node: str, bytes_per_s: float) -> None:
        """Fold in how fast bytes flowed to a node; nonsense is ignored."""
        _fold(self._links, node, sane(bytes_per_s, MOST_BANDWIDTH))

    def learn_start(self, device: str, seconds: Seconds) -> None:
        """Fold in how long a device without a warm runner took to grant one."""
        _fold(self._starts, device, sane(seconds, MOST_START_S))

    def cooling(self, device: str, now: Seconds) -> bool:
        """Return whether a device counts as hot for having been hot a short while ago."""
        since_s = self._hot.get(device)
        return since_s is not None and now - since_s < self._hot_s

    def hot(self, device: str, now: Seconds, *, seen_hot: bool) -> bool:
        """Return whether a device counts as hot: it is, or was a short while ago.

        A device that cools a little the moment its work is taken away would draw it back at
        once; so it is left alone until it has been cool for a while.
        """
        if seen_hot:
            self._hot[device] = now
            self._hot.move_to_end(device)
            if len(self._hot) > _MOST_KEPT:
                self._hot.popitem(last=False)
            return True
        if self.cooling(device, now):
            return True
        self._hot.pop(device, None)
        return False


def _fold(kept: "OrderedDict[str, float]", key: str, value: float | None) -> None:
    if value is None:
        return
    known = kept.get(key)
    kept[key] = value if known is None else known + _NEWEST * (value - known)
    kept.move_to_end(key)
    if len(kept) > _MOST_KEPT:
        kept.popitem(last=False)
