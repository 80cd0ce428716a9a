"""Spreading: offers of the newest policy, so that everybody learns of it and nobody is flooded."""

from qallow_agent.base.ids import Entropy, NodeId
from qallow_agent.base.machine import Effect, Instant, Send
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.messages import PolicyDocument, PolicyOffer, PolicyWanted

FANOUT = 16
"""Members told at once of a new policy; each tells as many, so that four rounds reach 65,000."""
PATIENCE_S: Seconds = 2.0
"""A member is asked again for what it offered, or given it again, after this long."""


class Spread:
    """Knows who is there, what was asked of whom, and when somebody is to be told again.

    Args:
        period_s: One member is told of our policy this often.
        rng: Picks whom to tell.
    """

    def __init__(self, period_s: Seconds, rng: Entropy) -> None:
        self._period_s = period_s
        self._rng = rng
        self._peers: dict[NodeId, None] = {}
        self._asked_s: dict[NodeId, tuple[bytes, Seconds]] = {}
        self._served_s: dict[NodeId, Seconds] = {}
        self._told_s: dict[NodeId, Seconds] = {}
        self._due_s: Seconds | None = None

    def member_up(self, node: NodeId, offer: PolicyOffer, now: Instant) -> list[Effect]:
        """Take in that a member is there, and tell it which policy we hold."""
        self._peers[node] = None
        if self._due_s is None:
            self._due_s = now.mono_s + self._period_s
        return [Send(node, offer)]

    def member_down(self, node: NodeId) -> None:
        """Take in that a member is gone."""
        for table in (self._peers, self._asked_s, self._served_s, self._told_s):
            table.pop(node, None)
        if not self._peers:
            self._due_s = None

    def tell_many(self, offer: PolicyOffer) -> list[Effect]:
        """Tell as many members as one node shall tell at once."""
        rest = list(self._peers)
        while len(rest) > FANOUT:
            rest[self._rng.randrange(len(rest))] = rest[-1]
            rest.pop()
        return [Send(node, offer) for node in rest]

    def ask(self, node: NodeId, offer: PolicyOffer, now: Instant) -> list[Effect]:
        """Ask a member for what it offers, unless it was just asked for that."""
        asked = self._asked_s.get(node)
        if asked is not None and asked[0] == offer.digest and now.mono_s < asked[1] + PATIENCE_S:
            return []
        self._asked_s[node] = (offer.digest, now.mono_s)
        return [Send(node, PolicyWanted(offer.version))]

    def answer(self, node: NodeId, offer: PolicyOffer, now: Instant) -> list[Effect]:
        """Tell a member that ours is later, unless it was just told."""
        told_s = self._told_s.get(node)
        if told_s is not None and now.mono_s < told_s + PATIENCE_S:
            return []
        self._told_s[node] = now.mono_s
        return [Send(node, offer)]

    def serve(self, node: NodeId, document: PolicyDocument, now: Instant) -> list[Effect]:
        """Give a member our policy, unless it just got it: a request is small, an answer large."""
        served_s = self._served_s.get(node)
        if served_s is not None and now.mono_s < served_s + PATIENCE_S:
            return []
        self._served_s[node] = now.mono_s
        return [Send(node, document)]

    def tick(self, offer: PolicyOffer, now: Instant) -> list[Effect]:
        """Tell one member, when that is due."""
        if self._due_s is None or now.mono_s < self._due_s:
            return []
        self._due_s = now.mono_s + self._period_s
        peers = list(self._peers)
        return [Send(peers[self._rng.randrange(len(peers))], offer)]

    def next_deadline(self) -> Seconds | None:
        """Return when somebody is to be told again; None while nobody is there."""
        return self._due_s
