"""When a member is tried again: often at first, ever more rarely, for ever."""

from dataclasses import dataclass

from qallow_agent.base.ids import Entropy, NodeId
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.membership.chance import jitter


@dataclass(slots=True)
class _Try:
    since_s: Seconds
    due_s: Seconds


class Recontact:
    """Tries of several members, each at waits that grow with the time it has been tried.

    Args:
        first_s: Shortest wait.
        longest_s: Longest wait.
        share: The wait as a share of the time since trying began: 1 doubles it at each try; 0.04
            heals a cut of 75 s within 3 s and reaches 30 s after 12 min.
        rng: Injected entropy.
    """

    def __init__(self, first_s: Seconds, longest_s: Seconds, share: float, rng: Entropy) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._share = share
        self._rng = rng
        self._tries: dict[NodeId, _Try] = {}

    def __contains__(self, node: NodeId) -> bool:
        return node in self._tries

    def add(self, node: NodeId, now_s: Seconds) -> None:
        """Start trying a member, unless that is under way."""
        if node not in self._tries:
            self._tries[node] = _Try(now_s, now_s + jitter(self._rng, self._first_s))

    def drop(self, node: NodeId) -> None:
        """Stop trying a member."""
        self._tries.pop(node, None)

    def hasten(self, now_s: Seconds) -> None:
        """Try everybody soon: one came back, so a cut may be healing."""
        for item in self._tries.values():
            item.since_s = now_s
            item.due_s = min(item.due_s, now_s + self._first_s * self._rng.random())

    def due(self, now_s: Seconds) -> list[NodeId]:
        """Return whom to try now, and set when each is tried next."""
        ready = [node for node, item in self._tries.items() if item.due_s <= now_s]
        for node in ready:
            item = self._tries[node]
            wait_s = self._share * (now_s - item.since_s)
            wait_s = min(max(wait_s, self._first_s), self._longest_s)
            item.due_s = now_s + jitter(self._rng, wait_s)
        return ready

    def next_deadline(self) -> Seconds | None:
        """Return when the next member is tried."""
        return min((item.due_s for item in self._tries.values()), default=None)
