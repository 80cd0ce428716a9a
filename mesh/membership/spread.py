"""How beliefs travel: gossip, what rides on probes, comparing everything, trying the dead again."""

import math

from msgspec.structs import replace

from qallow_agent.base.ids import Entropy, NodeId
from qallow_agent.base.machine import Effect, Instant, Lane, Send, soonest
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.membership.chance import jitter, sample
from qallow_agent.mesh.membership.gossip import GossipQueue, pages, room_for_gossip, transmissions
from qallow_agent.mesh.membership.recontact import Recontact
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.membership.table import MemberTable
from qallow_agent.mesh.wire.kinds import Ack, Gossip, MemberRecord, MemberState, Probe, PushPull

SMALL_MESH = 32
"""Up to here everybody compares everything with whom it meets, and every ``push_pull_s``.

Source: memberlist, ``pushPullScaleThreshold``.
"""
GREETINGS = 8
"""In a larger mesh about so many members greet a newcomer with everything, the rest briefly."""
GREETING_FIRST_S = 0.5
"""The link of a member just met may still be dialled; a greeting is repeated until answered."""


def push_pull_scale(members: int) -> int:
    """Return the factor on the push-pull period: 1, then one more per doubling beyond 32.

    Source: memberlist, ``pushPullScale``: ceil(log2(n) - log2(32)) + 1.
    """
    if members <= SMALL_MESH:
        return 1
    return math.ceil(math.log2(members) - math.log2(SMALL_MESH)) + 1


class Spread:
    """Everything that this node sends to make the others believe what it believes.

    Args:
        table: The members.
        queue: Beliefs that still travel.
        settings: The waits and budgets.
        rng: Injected entropy.
    """

    def __init__(
        self, table: MemberTable, queue: GossipQueue, settings: MembershipSettings, rng: Entropy
    ) -> None:
        self._table = table
        self._queue = queue
        self._settings = settings
        self._rng = rng
        longest_s = settings.recontact_longest_s
        self._greetings = Recontact(GREETING_FIRST_S, longest_s, 1.0, rng)
        self._dead_tries = Recontact(
            settings.recontact_first_s, longest_s, settings.recontact_share, rng
        )
        self._dead: tuple[NodeId, ...] = ()
        self._gossiped_s = -settings.gossip_period_s
        self._push_pull_s: Seconds | None = None

    # --- on other messages ------------------------------------------------------------------------

    def load(self, node: NodeId, probe: Probe) -> Probe:
        """Put gossip onto a probe: first what its receiver must refute, then what is fresh.

        Source: Lifeguard (2017), section IV-C, Buddy System.
        """
        return replace(probe, gossip=self._draw(node, probe))

    def ack(self, node: NodeId, seq: int) -> Ack:
        """Return the answer to a probe, with gossip."""
        ack = Ack(seq)
        return replace(ack, gossip=self._draw(node, ack))

    # --- comparing everything ---------------------------------------------------------------------

    def everything(self, node: NodeId, *, answer: bool) -> list[Effect]:
        """Send all we believe, in pages; only the last page may ask for an answer."""
        parts = pages(self._table.records())
        last = len(parts) - 1
        return [
            Send(node, PushPull(part, answer=answer or i < last), Lane.STREAM)
            for i, part in enumerate(parts)
        ]

    def greet(self, node: NodeId, now: Instant) -> list[Effect]:
        """Exchange beliefs with a member just met, again and again until it answers."""
        if not self._table.is_linked(node):
            return self._try_dead(node)
        self._greetings.drop(node)
        self._greetings.add(node, now.mono_s)
        return self._greeting(node)

    def answer(self, node: NodeId, heard: PushPull) -> list[Effect]:
        """Answer a member that told us all it believes, if it asks for that."""
        self._greetings.drop(node)
        return [] if heard.answer else self.everything(node, answer=True)

    # --- time -------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Effect]:
        """Gossip, greet, compare and try the dead when each is due."""
        effects: list[Effect] = []
        for node in self._greetings.due(now.mono_s):
            if self._table.is_linked(node):
                effects += self._greeting(node)
            else:
                self._greetings.drop(node)
        for node in self._dead_tries.due(now.mono_s):
            effects += self._try_dead(node)
        linked = self._table.linked()
        if linked and self._queue and self._gossip_due_s() <= now.mono_s:
            effects += self._gossip(linked, now)
        if self._push_pull_s is not None and self._push_pull_s <= now.mono_s:
            self._push_pull_s = self._next_push_pull(now)
            for node in sample(self._rng, linked, 1):
                effects += self.everything(node, answer=False)
        return effects

    def follow(self, now: Instant) -> list[Effect]:
        """Notice who died and who came back since the last step."""
        effects: list[Effect] = []
        if not self._table.linked():
            self._push_pull_s = None
        elif self._push_pull_s is None:
            self._push_pull_s = self._next_push_pull(now)
        dead = self._table.dead()
        if dead is self._dead:
            return effects
        before, self._dead = self._dead, dead
        for node in dead:
            self._dead_tries.add(node, now.mono_s)
        still = frozenset(dead)
        for node in before:
            if node not in still:
                self._dead_tries.drop(node)
                if self._table.is_linked(node):
                    self._dead_tries.hasten(now.mono_s)
                    effects += self.greet(node, now)
        return effects

    def next_deadline(self) -> Seconds | None:
        """Return when something is to be sent."""
        gossip = self._gossip_due_s() if self._queue and self._table.linked() else None
        return soonest(
            gossip,
            self._push_pull_s,
            self._greetings.next_deadline(),
            self._dead_tries.next_deadline(),
        )

    # --- parts ------------------------------------------------------------------------------------

    def _gossip_due_s(self) -> Seconds:
        return self._gossiped_s + self._settings.gossip_period_s

    def _gossip(self, linked: tuple[NodeId, ...], now: Instant) -> list[Effect]:
        self._gossiped_s = now.mono_s
        effects: list[Effect] = []
        for node in sample(self._rng, linked, self._settings.gossip_fanout):
            records = self._draw(node, Gossip(()))
            if records:
                effects.append(Send(node, Gossip(records), Lane.DATAGRAM))
        return effects

    def _draw(self, node: NodeId, message: Probe | Ack | Gossip) -> tuple[MemberRecord, ...]:
        record = self._table.get(node)
        first = () if record is None or record.state is MemberState.ALIVE else (record,)
        room = room_for_gossip(message, self._settings.datagram_bytes)
        return self._queue.draw(room, self._limit(), first)

    def _limit(self) -> int:
        return transmissions(len(self._table), self._settings.gossip_factor)

    def _greeting(self, node: NodeId) -> list[Effect]:
        members = len(self._table)
        if members <= SMALL_MESH or self._rng.randrange(members) < GREETINGS:
            return self.everything(node, answer=False)
        self._greetings.drop(node)
        known = self._table.get(node)
        brief = (self._table.me,) if known is None else (self._table.me, known)
        return [Send(node, PushPull(brief, answer=True), Lane.STREAM)]

    def _try_dead(self, node: NodeId) -> list[Effect]:
        """Tell a dead member that it is dead; if it is not, it says so at once."""
        record = self._table.get(node)
        if record is None:
            return []
        gossip = Gossip((record, self._table.me))
        return [Send(node, gossip, Lane.DATAGRAM), Send(node, gossip, Lane.STREAM)]

    def _next_push_pull(self, now: Instant) -> Seconds:
        scale = push_pull_scale(len(self._table))
        return now.mono_s + jitter(self._rng, self._settings.push_pull_s * scale)
