"""At whose door to knock, and when: paced, a few at a time, ever more patient."""

from collections.abc import Iterator
from dataclasses import dataclass

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import Entropy, NodeId
from qallow_agent.base.machine import soonest
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.trust.settings import TrustSettings

CANDIDATES = 1024
"""Nodes considered at once; hearsay beyond that waits to be repeated, as discovery does."""

_GRACE_S = 1.0
"""A knock whose outcome the shell never reports counts as failed this long after its timeout."""


@dataclass(slots=True)
class Candidate:
    """A node that somebody named: how to reach it, and how that went so far."""

    node: NodeId
    contact: Contact
    curve_key: bytes
    due_s: Seconds
    tries: int = 0
    under_way: bool = False
    dormant: bool = False


class Knocks:
    """The nodes to be met.

    Args:
        settings: Timeouts, backoff and how many at once.
        rng: Injected entropy for jitter, so that a restarted mesh does not knock in step.
    """

    def __init__(self, settings: TrustSettings, rng: Entropy) -> None:
        self._settings = settings
        self._rng = rng
        self._candidates: dict[NodeId, Candidate] = {}

    def hear(self, node: NodeId, contact: Contact, curve_key: bytes, now_s: Seconds) -> None:
        """Consider a node; a changed contact or key is tried at once, a known one in its time."""
        old = self._candidates.get(node)
        if old is not None and (old.contact, old.curve_key) == (contact, curve_key):
            if old.dormant and old.due_s <= now_s:
                old.dormant = False
            return
        if old is None and len(self._candidates) >= CANDIDATES and not self._make_room():
            return
        self._candidates[node] = Candidate(node, contact, curve_key, now_s)

    def due(self, now_s: Seconds) -> Iterator[Candidate]:
        """Mark as under way, and yield, every candidate whose turn it is."""
        for candidate in self._under_way():
            if candidate.due_s <= now_s:
                self.fail(candidate.node, now_s)
        free = self._settings.knocks_in_flight - len(self._under_way())
        ready = [item for item in self._waiting() if item.due_s <= now_s]
        for candidate in sorted(ready, key=lambda item: (item.due_s, item.node))[: max(free, 0)]:
            candidate.under_way = True
            candidate.due_s = now_s + self._settings.knock_timeout_s + _GRACE_S
            yield candidate

    def pending(self, node: NodeId) -> Candidate | None:
        """Return the candidate whose answer is awaited."""
        candidate = self._candidates.get(node)
        return candidate if candidate is not None and candidate.under_way else None

    def fail(self, node: NodeId, now_s: Seconds) -> None:
        """Note that a knock led nowhere: wait longer, and after some tries until named again."""
        candidate = self._candidates.get(node)
        if candidate is None:
            return
        settings = self._settings
        candidate.under_way = False
        candidate.tries += 1
        wait_s = settings.knock_backoff_s * 2.0 ** min(candidate.tries - 1, 30)
        wait_s = min(wait_s, settings.knock_backoff_max_s)
        candidate.due_s = now_s + wait_s * (0.75 + 0.5 * self._rng.random())
        candidate.dormant = candidate.tries >= settings.knock_tries

    def settle(self, node: NodeId) -> None:
        """Stop considering a node: it was met, or must never be."""
        self._candidates.pop(node, None)

    def next_deadline(self) -> Seconds | None:
        """Return when the next knock is due or overdue."""
        under_way = self._under_way()
        waiting = self._waiting() if len(under_way) < self._settings.knocks_in_flight else []
        return soonest(*(candidate.due_s for candidate in (*under_way, *waiting)))

    def _under_way(self) -> list[Candidate]:
        return [item for item in self._candidates.values() if item.under_way]

    def _waiting(self) -> list[Candidate]:
        return [item for item in self._candidates.values() if not (item.under_way or item.dormant)]

    def _make_room(self) -> bool:
        dormant = [item for item in self._candidates.values() if item.dormant]
        if not dormant:
            return False
        del self._candidates[min(dormant, key=lambda item: (item.due_s, item.node)).node]
        return True
