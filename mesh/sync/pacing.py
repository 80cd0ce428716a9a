"""Pacing: how often a mesh of unequal nodes can tick together."""

import cmath
import hashlib
import math
from collections import deque
from collections.abc import Sequence

from qallow_agent.base.ids import NodeId
from qallow_agent.base.units import Seconds

CYCLE_WINDOW = 64
"""Ticks over which a node judges itself: six seconds, so that one pause does not mark it slow."""
CYCLE_PERCENTILE = 0.95
MAX_CYCLE_S = 60.0
"""A claimed cycle beyond this is cut: who needs a minute a tick is slow, however slow exactly."""
_MESH_TICK_STEP_S = 1e-3
"""The mesh tick is rounded up to whole milliseconds, so that it does not wobble with the mean."""


class CycleMeter:
    """Measures the cycle this node can sustain: how late its ticks come, never below the shortest.

    Args:
        shortest_s: The tick the node was asked to keep; it cannot have shown to be faster.
    """

    def __init__(self, shortest_s: Seconds) -> None:
        self._shortest_s = shortest_s
        self._late: deque[Seconds] = deque(maxlen=CYCLE_WINDOW)

    def ticked(self, late_s: Seconds) -> None:
        """Take in how long after its due time one tick came."""
        self._late.append(max(0.0, late_s))

    @property
    def cycle_s(self) -> Seconds:
        """The 95th percentile over the window: what the node sustains nearly always."""
        if not self._late:
            return self._shortest_s
        rank = math.ceil(CYCLE_PERCENTILE * len(self._late)) - 1
        return min(MAX_CYCLE_S, max(self._shortest_s, sorted(self._late)[rank]))


def admissible_cycle(claimed_s: float, shortest_s: Seconds) -> Seconds | None:
    """Return a peer's claimed cycle within what can be true; None when it is no number at all."""
    if not math.isfinite(claimed_s):
        return None
    return min(MAX_CYCLE_S, max(shortest_s, claimed_s))


def harmonic_mean(cycles: Sequence[Seconds]) -> Seconds:
    """Return the harmonic mean without the f shortest and f longest, f = (n - 1) // 3.

    Without trimming, one forged cycle of a microsecond would collapse the mean.

    Args:
        cycles: At least one, each above 0.
    """
    ordered = sorted(cycles)
    trim = (len(ordered) - 1) // 3
    kept = ordered[trim : len(ordered) - trim]
    return len(kept) / sum(1 / cycle_s for cycle_s in kept)


def mesh_tick(mean_s: Seconds, shortest_s: Seconds, longest_s: Seconds) -> Seconds:
    """Return T*: the mean, in whole milliseconds, within [shortest, longest]."""
    whole_s = math.ceil(round(mean_s / _MESH_TICK_STEP_S, 6)) * _MESH_TICK_STEP_S
    return max(shortest_s, min(longest_s, whole_s))


def stride(cycle_s: Seconds, tick_s: Seconds, slow_factor: float) -> int:
    """Return on which ticks a node pulses: every one, or every n-th when it is slow."""
    if cycle_s <= slow_factor * tick_s:
        return 1
    return math.ceil(cycle_s / tick_s)


def phase(node: NodeId) -> float:
    """Return where in the tick a node pulses, in [0, 1): spread evenly by the hash of its id."""
    return int.from_bytes(hashlib.sha256(node.encode()).digest()[:8]) / 2**64


def coherence(phases: Sequence[float]) -> float:
    """Return |mean of exp(2 pi i phase)|: 1 when all pulse at once, near 0 when well spread.

    Args:
        phases: Positions within the tick, each in [0, 1); empty gives 0.

    Source: the order parameter of Kuramoto's model of coupled oscillators.
    """
    if not phases:
        return 0.0
    total = sum(cmath.exp(2j * math.pi * position) for position in phases)
    return abs(total) / len(phases)
