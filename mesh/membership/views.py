"""Views: how alike this node's live set is to those of its peers.

Every few seconds a node tells some peers whom it holds for alive; who hears it compares. Only sets
that have been calm for a while are compared, so that a join or a death, which reaches one node a
second before another, is no disagreement.

Source: Broder, "On the resemblance and containment of documents" (1997): of large sets the least
hashes are compared, which estimates the Jaccard similarity of the whole.
"""

import hashlib
from statistics import median

from qallow_agent.base.errors import InvariantBroken, Malformed
from qallow_agent.base.ids import Entropy, NodeId, Sender, is_local
from qallow_agent.base.machine import Effect, Instant, Send
from qallow_agent.base.message import Message
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.facts import MemberDown, MemberUp
from qallow_agent.mesh.wire.kinds import LiveSet

TELL_S: Seconds = 5.0
PEERS = 3
CALM_S: Seconds = 2.0
"""A set that changed less long ago is not compared: news takes so long to reach everybody."""
FRESH_S: Seconds = 20.0
"""What a peer said before that counts no more."""
PREFIX_BYTES = 8
MOST_HASHES = 1_024
"""Hashes in one message: 8 KiB; a larger set is sampled."""


class Views:
    """Tells peers whom we hold for alive, and compares what they tell; a Machine.

    Args:
        me: Our node id.
        rng: Draws whom to tell.
    """

    def __init__(self, *, me: NodeId, rng: Entropy) -> None:
        self.me = me
        self._rng = rng
        self._alive: dict[NodeId, bytes] = {me: _prefix(me)}
        self._changed_s: Seconds = 0.0
        self._due_s: Seconds | None = None
        self._heard: dict[NodeId, tuple[Seconds, int]] = {}

    def likeness(self, now_s: Seconds) -> tuple[int, Seconds] | None:
        """Return the median likeness to peers, in millionths, and when one last spoke.

        None while no peer said anything that can be compared.
        """
        fresh = [word for word in self._heard.values() if now_s - word[0] <= FRESH_S]
        if not fresh:
            return None
        return round(median(alike for _, alike in fresh)), max(at_s for at_s, _ in fresh)

    def likeness_to(self, node: NodeId, now_s: Seconds) -> int | None:
        """Return how alike one peer's view is, in millionths; None while it said nothing lately."""
        word = self._heard.get(node)
        return None if word is None or now_s - word[0] > FRESH_S else word[1]

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in a peer's set, and facts about members.

        Raises:
            Malformed: The bytes are no set.
        """
        if isinstance(message, MemberUp):
            self._enter(message.record.node, now)
        elif isinstance(message, MemberDown):
            self._leave(message.node, now)
        elif isinstance(message, LiveSet) and not is_local(sender) and sender in self._alive:
            self._compare(NodeId(sender), message, now)
        return []

    def tick(self, now: Instant) -> list[Effect]:
        """Tell some peers whom we hold for alive."""
        if self._due_s is None or now.mono_s < self._due_s:
            return []
        self._due_s = now.mono_s + TELL_S * (0.75 + self._rng.random() / 2)
        pool = [node for node in sorted(self._alive) if node != self.me]
        chosen = [pool.pop(self._rng.randrange(len(pool))) for _ in range(min(PEERS, len(pool)))]
        told = LiveSet(b"".join(self._hashes()), max(0.0, now.mono_s - self._changed_s))
        return [Send(node, told) for node in chosen]

    def next_deadline(self) -> Seconds | None:
        """Return when somebody is to be told; None without peers."""
        return self._due_s

    def check(self) -> None:
        """Raise InvariantBroken when somebody who is gone is still believed."""
        if any(node not in self._alive for node in self._heard):
            raise InvariantBroken("a view of a member that is gone is kept")

    def _enter(self, node: NodeId, now: Instant) -> None:
        if node in self._alive:
            return
        self._alive[node] = _prefix(node)
        self._changed_s = now.mono_s
        if self._due_s is None:
            self._due_s = now.mono_s + TELL_S * (0.5 + self._rng.random() / 2)

    def _leave(self, node: NodeId, now: Instant) -> None:
        if node == self.me or self._alive.pop(node, None) is None:
            return
        self._heard.pop(node, None)
        self._changed_s = now.mono_s
        if len(self._alive) == 1:
            self._due_s = None

    def _compare(self, node: NodeId, told: LiveSet, now: Instant) -> None:
        size = len(told.members)
        if size % PREFIX_BYTES or not 0 < size <= PREFIX_BYTES * MOST_HASHES:
            raise Malformed(f"a live set of {size} bytes")
        if not told.calm_s >= CALM_S or now.mono_s - self._changed_s < CALM_S:
            return
        theirs = [told.members[at : at + PREFIX_BYTES] for at in range(0, size, PREFIX_BYTES)]
        self._heard[node] = (now.mono_s, alike(self._hashes(), theirs))

    def _hashes(self) -> list[bytes]:
        return sorted(self._alive.values())[:MOST_HASHES]


def alike(ours: list[bytes], theirs: list[bytes]) -> int:
    """Return the Jaccard similarity of two sets by their least hashes, in millionths."""
    one, other = frozenset(ours), frozenset(theirs)
    least = sorted(one | other)[:MOST_HASHES]
    return sum(each in one and each in other for each in least) * 1_000_000 // len(least)


def _prefix(node: NodeId) -> bytes:
    return hashlib.sha256(node.encode()).digest()[:PREFIX_BYTES]
