"""Membership: the machine that decides who is in the mesh and who is gone."""

from collections.abc import Mapping

from qallow_agent.base.ids import Entropy, NodeId, Sender, is_local
from qallow_agent.base.machine import Effect, Instant, Lane, Send, soonest
from qallow_agent.base.message import Message
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.membership.awareness import Awareness
from qallow_agent.mesh.membership.beliefs import Beliefs
from qallow_agent.mesh.membership.detector import Detector
from qallow_agent.mesh.membership.gossip import GossipQueue
from qallow_agent.mesh.membership.oneself import Oneself, first_record
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.membership.spread import Spread
from qallow_agent.mesh.membership.table import MemberTable
from qallow_agent.mesh.wire.facts import LinkRefused, MemberMet
from qallow_agent.mesh.wire.kinds import (
    Ack,
    Gossip,
    MemberRecord,
    Nack,
    Probe,
    ProbeRelay,
    PushPull,
)


class Membership:
    """SWIM with Lifeguard, named witnesses, refused links as evidence, and repair after a cut.

    Only members whose credential was verified (:class:`MemberMet`) are heard, probed or told
    anything; beliefs about others are held and passed on, and announced as heard of.

    Args:
        me: Our own record: alive, with this boot's epoch.
        settings: The waits and budgets.
        rng: Injected entropy.
        kept: Bytes persisted under this room's names by an earlier run.

    Raises:
        ConfigError: Our name or addresses exceed what others accept.
        StorageCorrupt: A kept file does not decode.
    """

    def __init__(
        self,
        *,
        me: MemberRecord,
        settings: MembershipSettings,
        rng: Entropy,
        kept: Mapping[str, bytes],
    ) -> None:
        self._settings = settings
        self._table = MemberTable(first_record(me, kept), settings.max_members)
        self._queue = GossipQueue()
        self._health = Awareness(settings.health_limit)
        self._beliefs = Beliefs(self._table, self._queue, settings)
        self._oneself = Oneself(self._table, self._queue, self._health)
        self._spread = Spread(self._table, self._queue, settings, rng)
        self._detector = Detector(
            self._table, self._beliefs, self._health, self._spread.load, settings, rng
        )
        self._promised_s: Seconds | None = None

    # --- the Machine interface --------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in a message of a member or a fact of our own node.

        A refused link may come under the name of the peer that it leads to: no peer can say it.
        """
        if self._oneself.left:
            return []
        self._thaw(now)
        if is_local(sender) or sender == self._table.me.node:
            effects = self._take_fact(message, now)
        elif self._table.has_met(NodeId(sender)):
            effects = self._take(NodeId(sender), message, now)
        else:
            self._beliefs.dropped += 1
            return []
        return self._settle(effects, now)

    def tick(self, now: Instant) -> list[Effect]:
        """Probe, judge, gossip, compare, forget: whatever is due."""
        if self._oneself.left:
            return []
        self._thaw(now)
        effects = self._detector.tick(now)
        effects += self._beliefs.expire(now)
        effects += self._spread.tick(now)
        return self._settle(effects, now)

    def next_deadline(self) -> Seconds | None:
        """Return when ``tick`` has something to do; None in a mesh of one."""
        if self._oneself.left:
            return None
        return soonest(
            self._detector.next_deadline(),
            self._beliefs.next_deadline(),
            self._spread.next_deadline(),
        )

    def check(self) -> None:
        """Raise InvariantBroken when clocks, announcements and beliefs disagree."""
        self._beliefs.check()

    # --- for the rest of the node -----------------------------------------------------------------

    def members(self) -> tuple[MemberRecord, ...]:
        """Return every belief, in all states, our own record included, sorted by node."""
        return self._table.records()

    def alive(self) -> tuple[NodeId, ...]:
        """Return the members that we have met and nobody suspects, ourselves included, sorted."""
        me = self._table.me.node
        own = () if self._oneself.left else (me,)
        return tuple(sorted((*self._table.alive(), *own)))

    def record_of(self, node: NodeId) -> MemberRecord | None:
        """Return the belief about one member; None when we never heard of it."""
        return self._table.get(node)

    def has_met(self, node: NodeId) -> bool:
        """Return whether a member proved to us who it is."""
        return node == self._table.me.node or self._table.has_met(node)

    def set_advert(self, version: int) -> None:
        """Let the mesh know that our advert has a new version."""
        self._oneself.set_advert(version)

    def leave(self, now: Instant) -> list[Effect]:
        """Say farewell to every member; afterwards this machine is silent."""
        self._thaw(now)
        return self._oneself.leave(self._table.linked())

    def health(self) -> int:
        """Return our local health score: 0 is well; probes wait 1 + this times longer."""
        return self._health.score

    @property
    def dropped(self) -> int:
        """Claims out of bounds and messages of strangers that were not heard."""
        return self._beliefs.dropped

    # --- stimuli ----------------------------------------------------------------------------------

    def _take_fact(self, message: Message, now: Instant) -> list[Effect]:
        if isinstance(message, LinkRefused):
            return self._detector.refused(message.node, now)
        if not isinstance(message, MemberMet):
            return []
        node = message.credential.certificate.node
        if node == self._table.me.node:
            return []
        before = self._table.get(node) if self._table.is_linked(node) else None
        effects = self._beliefs.meet(message, now)
        if before is not None and self._table.get(node) == before:
            return effects
        return [*effects, *self._spread.greet(node, now)]

    def _take(self, sender: NodeId, message: Message, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        match message:
            case Probe():
                effects += self._hear(message.gossip, sender, now)
                effects.append(Send(sender, self._spread.ack(sender, message.seq), Lane.DATAGRAM))
            case Ack():
                effects += self._detector.ack(sender, message)
                effects += self._hear(message.gossip, sender, now)
            case Nack():
                self._detector.nack(sender, message)
            case ProbeRelay():
                effects += self._detector.relay(sender, message, now)
            case Gossip():
                effects += self._hear(message.records, sender, now)
            case PushPull():
                effects += self._hear(message.records, sender, now)
                effects += self._spread.answer(sender, message)
            case LinkRefused(node=node) if node == sender:
                effects += self._detector.refused(node, now)
            case _:
                pass
        return effects

    def _hear(self, claims: tuple[MemberRecord, ...], teller: NodeId, now: Instant) -> list[Effect]:
        me = self._table.me.node
        effects: list[Effect] = []
        for claim in claims:
            if claim.node == me:
                effects += self._oneself.hear(claim, teller)
            else:
                effects += self._beliefs.hear(claim, teller, now)
        return effects

    # --- after and before every step --------------------------------------------------------------

    def _thaw(self, now: Instant) -> None:
        """Notice that we were frozen (SIGSTOP, a suspended laptop) and blame nobody for it.

        Suspects get the lost time back and that of one more probe, in which to tell us again that
        they live: what they said meanwhile may have overflowed our buffers.
        """
        late_s = 0.0 if self._promised_s is None else now.mono_s - self._promised_s
        if late_s > self._settings.stall_s:
            self._beliefs.shift(late_s + self._settings.verdict_after_s)
            self._detector.void(now)
            self._health.note(+1)
        self._promised_s = None

    def _settle(self, effects: list[Effect], now: Instant) -> list[Effect]:
        effects += self._spread.follow(now)
        self._detector.wake(now)
        deadline_s = self.next_deadline()
        self._promised_s = None if deadline_s is None else max(deadline_s, now.mono_s)
        return effects
