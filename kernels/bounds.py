"""How fast a kernel could be at most: a machine's limits, and what a kernel demands of them.

A backend's module may define ``bound(limits, values)``, which returns the operations per second (as
its spec counts them) that no code can exceed on a machine of these limits. A rate divided by it is
the share of the machine that the kernel uses.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The best rates of some threads together, each with nothing else to do.

    Args:
        threads: Threads that worked at a time.
        adds_per_s: float32 additions.
        operations_per_s: float32 additions and multiplications in turns, not contracted.
        contracted_per_s: The same contracted: two operations in each multiply-add.
        stores_per_s: float32 values stored to the nearest cache.
        memory_bytes_per_s: Bytes of memory beyond the caches, half of them read, half written.
    """

    threads: int
    adds_per_s: float
    operations_per_s: float
    contracted_per_s: float
    stores_per_s: float
    memory_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Demands:
    """What a kernel asks of a machine for one unit of its work (a tick, a pocket's tick, ...).

    Args:
        adds: float32 additions and subtractions.
        operations: All float32 operations, these additions among them.
        stores: float32 values that must be stored in the nearest cache.
        memory_bytes: Bytes that must be moved between memory and caches.
    """

    adds: float = 0.0
    operations: float = 0.0
    stores: float = 0.0
    memory_bytes: float = 0.0

    def bound(self, limits: Limits) -> float:
        """Return the units per second that no code can exceed: the tightest limit decides."""
        pairs = (
            (limits.adds_per_s, self.adds),
            (limits.operations_per_s, self.operations),
            (limits.stores_per_s, self.stores),
            (limits.memory_bytes_per_s, self.memory_bytes),
        )
        return min(limit / need for limit, need in pairs if need > 0)
