"""Whom to probe next: everybody once per lap, in an order that nobody can predict."""

from collections.abc import Sequence

from qallow_agent.base.ids import Entropy, NodeId
from qallow_agent.mesh.membership.chance import sample


class Roster:
    """A shuffled lap over the members; a newcomer enters at a random place of the lap.

    So the first probe of a crashed member comes after at most 2n - 1 periods.

    Args:
        rng: Injected entropy.

    Source: SWIM (2002), section 4.3, Round-Robin Probe Target Selection.
    """

    def __init__(self, rng: Entropy) -> None:
        self._rng = rng
        self._lap: list[NodeId] = []
        self._seen: frozenset[NodeId] = frozenset()
        self._members: Sequence[NodeId] = ()

    def next(self, members: Sequence[NodeId]) -> NodeId | None:
        """Return the next member to probe; None when there is none.

        Args:
            members: Who may be probed now, sorted.
        """
        if members is not self._members:
            self._update(members)
        if not self._lap:
            self._lap = sample(self._rng, members, len(members))
        return self._lap.pop() if self._lap else None

    def _update(self, members: Sequence[NodeId]) -> None:
        present = frozenset(members)
        self._lap = [node for node in self._lap if node in present]
        for node in members:
            if node not in self._seen:
                self._lap.insert(self._rng.randrange(len(self._lap) + 1), node)
        self._members = members
        self._seen = present
