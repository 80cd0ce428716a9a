"""How claims about others become beliefs: judged, merged, timed."""

from msgspec.structs import replace

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Effect, Instant, soonest
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.membership.gossip import GossipQueue
from qallow_agent.mesh.membership.herald import Herald, same_suspicion
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.membership.state import MAX_REFUSED, UP, merge, normal, plausible
from qallow_agent.mesh.membership.suspicion import Suspicion
from qallow_agent.mesh.membership.table import MemberTable
from qallow_agent.mesh.wire.facts import MemberMet
from qallow_agent.mesh.wire.kinds import Incarnation, MemberRecord, MemberState


class Beliefs:
    """What we hold of the other members, and the clocks that run on it.

    Args:
        table: The members.
        queue: Where changed beliefs go to be told.
        settings: The waits.
    """

    def __init__(
        self, table: MemberTable, queue: GossipQueue, settings: MembershipSettings
    ) -> None:
        self._table = table
        self._queue = queue
        self._settings = settings
        self._herald = Herald(table)
        self._suspicions: dict[NodeId, Suspicion] = {}
        self._down_s: dict[NodeId, Seconds] = {}
        self.dropped = 0

    def hear(self, claim: MemberRecord, teller: NodeId, now: Instant) -> list[Effect]:
        """Judge a claim that one member makes about another, and return what follows.

        A death that we only hear of, of a member that we can reach ourselves, is held as a
        suspicion until ours has lasted ``rumour_window_s``: after a cut heals, each half believes
        the other dead at the very incarnation that is alive on its own side.
        """
        if not plausible(claim):
            self.dropped += 1
            return []
        claim = normal(claim)
        held = self._table.get(claim.node)
        objects = held is not None and claim.incarnation >= held.incarnation
        if claim.state is MemberState.DEAD and objects and self._table.is_linked(claim.node):
            return self._doubt(claim, teller, now)
        return self._believe(claim, now)

    def meet(self, met: MemberMet, now: Instant) -> list[Effect]:
        """Take in a member that proved who it is: new, known from gossip, or at a new address."""
        binding, certificate = met.credential.binding, met.credential.certificate
        record = MemberRecord(
            node=certificate.node,
            state=MemberState.ALIVE,
            incarnation=Incarnation(binding.epoch),
            name=certificate.name,
            contact=met.contact,
            curve_key=binding.curve_key,
        )
        if not plausible(record):
            self.dropped += 1
            return []
        self._table.meet(record.node, binding.curve_key, met.contact)
        effects = self._believe(record, now)
        held = self._table.get(record.node)
        if held is not None:
            effects += self._herald.announce(held, held)
        return effects

    def accuse(
        self, node: NodeId, accusers: tuple[NodeId, ...], refused: tuple[NodeId, ...], now: Instant
    ) -> list[Effect]:
        """Suspect a member that these nodes could not reach; ``refused`` saw its link refused."""
        held = self._table.get(node)
        if held is None or held.state not in UP:
            return []
        claim = replace(held, state=MemberState.SUSPECT, accusers=accusers, refused=refused)
        return self._believe(normal(claim), now)

    def expire(self, now: Instant) -> list[Effect]:
        """Declare overdue suspects dead and forget old tombstones."""
        effects: list[Effect] = []
        overdue = [
            node for node, since in self._suspicions.items() if self._ends_s(since) <= now.mono_s
        ]
        for node in sorted(overdue):
            held = self._table.get(node)
            if held is not None:
                effects += self._believe(normal(replace(held, state=MemberState.DEAD)), now)
        while self._down_s:
            node, since_s = next(iter(self._down_s.items()))
            if since_s + self._settings.tombstone_s > now.mono_s:
                break
            del self._down_s[node]
            self._table.forget(node)
            self._queue.withdraw(node)
            self._herald.forget(node)
        return effects

    def shift(self, seconds: Seconds) -> None:
        """Give every suspect the time back in which we were frozen."""
        for suspicion in self._suspicions.values():
            suspicion.shift(seconds)

    def next_deadline(self) -> Seconds | None:
        """Return when the next suspicion or tombstone ends."""
        ends = [self._ends_s(suspicion) for suspicion in self._suspicions.values()]
        oldest = next(iter(self._down_s.values()), None)
        tombstone = None if oldest is None else oldest + self._settings.tombstone_s
        return soonest(*ends, tombstone)

    def check(self) -> None:
        """Raise InvariantBroken when clocks, announcements and beliefs disagree."""
        me = self._table.me.node
        for record in self._table.records():
            node, state = record.node, record.state
            if node == me:
                continue
            if (state is MemberState.SUSPECT) != (node in self._suspicions):
                raise InvariantBroken(f"{node} is {state} but its suspicion clock says otherwise")
            if (state not in UP) != (node in self._down_s):
                raise InvariantBroken(f"{node} is {state} but its tombstone says otherwise")
            if self._herald.is_up(node) != self._table.is_linked(node):
                raise InvariantBroken(f"{node} is {state} but was announced otherwise")
            if record != normal(record):
                raise InvariantBroken(f"the record of {node} is not in normal form")

    def _doubt(self, claim: MemberRecord, teller: NodeId, now: Instant) -> list[Effect]:
        suspected = replace(claim, state=MemberState.SUSPECT, accusers=(teller,))
        known = self._suspicions.get(claim.node)
        window_s = self._settings.rumour_window_s
        if (
            known is not None
            and now.mono_s >= known.began_s + window_s
            and same_suspicion(self._table.get(claim.node), suspected)
        ):
            return self._believe(claim, now)
        effects = self._believe(suspected, now)
        suspicion = self._suspicions[claim.node]
        suspicion.shorten(suspicion.began_s + window_s)
        return effects

    def _believe(self, claim: MemberRecord, now: Instant) -> list[Effect]:
        held = self._table.get(claim.node)
        if held is None and (claim.state not in UP or self._table.full):
            return []
        merged = claim if held is None else merge(held, claim)
        if merged == held:
            return []
        self._table.put(merged)
        self._queue.offer(merged)
        self._keep_time(held, merged, now)
        return self._herald.announce(held, merged)

    def _keep_time(self, held: MemberRecord | None, record: MemberRecord, now: Instant) -> None:
        node = record.node
        if record.state in UP:
            self._down_s.pop(node, None)
        else:
            self._down_s.setdefault(node, now.mono_s)
        if record.state is not MemberState.SUSPECT:
            self._suspicions.pop(node, None)
            return
        if not same_suspicion(held, record):
            self._suspicions[node] = Suspicion(now.mono_s, 0)
        suspicion = self._suspicions[node]
        suspicion.accusers = len(record.accusers)
        if len(record.refused) >= min(MAX_REFUSED, len(self._table.alive()) + 1):
            suspicion.shorten(now.mono_s + self._settings.refused_window_s)

    def _ends_s(self, suspicion: Suspicion) -> Seconds:
        return suspicion.ends_s(len(self._table.alive()), self._settings)
