"""The failure detector: probe one member a period, ask others when it is silent, accuse.

Source: SWIM (Das, Gupta, Motivala, 2002), section 3.1, with the local-health probing, the nack
and the buddy system of Lifeguard (Dadgar, Phillips, Currey, 2017), section IV.
"""

from collections.abc import Callable

from qallow_agent.base.ids import Entropy, NodeId
from qallow_agent.base.machine import Effect, Instant, Lane, Send, soonest
from qallow_agent.base.message import Message
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.membership.awareness import Awareness
from qallow_agent.mesh.membership.beliefs import Beliefs
from qallow_agent.mesh.membership.chance import sample
from qallow_agent.mesh.membership.roster import Roster
from qallow_agent.mesh.membership.rounds import Errand, Round
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.membership.table import MemberTable
from qallow_agent.mesh.wire.kinds import Ack, Nack, Probe, ProbeRelay

MAX_ROUNDS = 64
"""Probes in flight: one regular, the rest after refused links; a mesh dials that many links."""
MAX_ERRANDS = 64
"""Probes for others in flight; who asks for more is not served, and asks somebody else."""

Loaded = Callable[[NodeId, Probe], Message]
"""Puts gossip onto a probe to a member."""


class Detector:
    """Probes in flight, ours and those for others.

    Args:
        table: The members.
        beliefs: Takes our accusations.
        health: Our local health; stretches our waits.
        load: Puts gossip onto a probe.
        settings: The waits.
        rng: Injected entropy.
    """

    def __init__(
        self,
        table: MemberTable,
        beliefs: Beliefs,
        health: Awareness,
        load: Loaded,
        settings: MembershipSettings,
        rng: Entropy,
    ) -> None:
        self._table = table
        self._beliefs = beliefs
        self._health = health
        self._load = load
        self._settings = settings
        self._rng = rng
        self._roster = Roster(rng)
        self._rounds: dict[int, Round] = {}
        self._errands: dict[int, Errand] = {}
        self._seq = rng.getrandbits(31)
        self._next_s: Seconds | None = None

    # --- stimuli ----------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Effect]:
        """Start, advance and judge probes."""
        effects: list[Effect] = []
        for seq in list(self._rounds):
            effects += self._advance(self._rounds[seq], now)
        for seq, errand in list(self._errands.items()):
            if errand.ends_s <= now.mono_s:
                del self._errands[seq]
                effects.append(Send(errand.origin, Nack(errand.origin_seq, errand.target)))
        return [*effects, *self._start(now)]

    def refused(self, node: NodeId, now: Instant) -> list[Effect]:
        """Probe a member at once whose link was refused: its process may be gone."""
        if (
            not self._table.is_linked(node)
            or len(self._rounds) >= MAX_ROUNDS
            or any(each.refused and each.target == node for each in self._rounds.values())
        ):
            return []
        record = self._table.get(node)
        if record is not None and self._table.me.node in record.refused:
            return []
        return self._begin(node, now, refused=True)

    def relay(self, origin: NodeId, asked: ProbeRelay, now: Instant) -> list[Effect]:
        """Probe a member for another; asked about ourselves, answer on the link it came by."""
        if asked.target == self._table.me.node:
            return [Send(origin, Ack(asked.seq, asked.target))]
        if not self._table.is_linked(asked.target) or len(self._errands) >= MAX_ERRANDS:
            return []
        seq = self._draw_seq()
        ends_s = now.mono_s + self._settings.relay_patience_s
        self._errands[seq] = Errand(origin, asked.seq, asked.target, ends_s)
        return [self._probe(asked.target, seq), _ask_over_link(asked.target, seq)]

    def ack(self, sender: NodeId, ack: Ack) -> list[Effect]:
        """Take in that a member is there, by its own word or a relay's."""
        errand = self._errands.get(ack.seq)
        if errand is not None and errand.target == sender and ack.target in (None, sender):
            del self._errands[ack.seq]
            return [Send(errand.origin, Ack(errand.origin_seq, errand.target))]
        probe = self._rounds.get(ack.seq)
        if probe is None or ack.target not in (None, probe.target):
            return []
        if sender == probe.target or (ack.target is not None and sender in probe.relays):
            del self._rounds[ack.seq]
            self._health.note(-1)
        return []

    def nack(self, sender: NodeId, nack: Nack) -> None:
        """Take in that a relay works but hears nothing either."""
        probe = self._rounds.get(nack.seq)
        if (
            probe is not None
            and probe.target == nack.target
            and sender in probe.relays
            and sender not in probe.nacks
        ):
            probe.nacks.append(sender)

    def void(self, now: Instant) -> None:
        """Drop every probe in flight: we were frozen, so their silence is ours."""
        self._rounds.clear()
        self._errands.clear()
        if self._next_s is not None:
            self._next_s = now.mono_s

    def next_deadline(self) -> Seconds | None:
        """Return when the next probe starts, advances or ends."""
        return soonest(
            self._next_s if self._table.linked() else None,
            *(self._due_s(each) for each in self._rounds.values()),
            *(errand.ends_s for errand in self._errands.values()),
        )

    # --- one round --------------------------------------------------------------------------------

    def wake(self, now: Instant) -> None:
        """Start probing when the first member can be probed; stop when none can."""
        if not self._table.linked():
            self._next_s = None
        elif self._next_s is None:
            self._next_s = now.mono_s + self._settings.probe_period_s * self._rng.random()

    def _start(self, now: Instant) -> list[Effect]:
        self.wake(now)
        if self._next_s is None or self._next_s > now.mono_s:
            return []
        self._next_s = now.mono_s + self._settings.probe_period_s * self._health.stretch
        target = self._roster.next(self._table.linked())
        if target is None or len(self._rounds) >= MAX_ROUNDS:
            return []
        return self._begin(target, now, refused=False)

    def _begin(self, target: NodeId, now: Instant, *, refused: bool) -> list[Effect]:
        seq = self._draw_seq()
        probe = Round(seq, target, now.mono_s, self._health.stretch, refused)
        self._rounds[seq] = probe
        return self._advance(probe, now)

    def _advance(self, probe: Round, now: Instant) -> list[Effect]:
        if not self._table.is_linked(probe.target):
            del self._rounds[probe.seq]
            return []
        effects: list[Effect] = []
        copy_s = probe.copy_due_s(self._settings)
        if copy_s is not None and copy_s <= now.mono_s:
            probe.copies += 1
            effects.append(self._probe(probe.target, probe.seq))
        relays_s = probe.relays_due_s(self._settings)
        if relays_s is not None and relays_s <= now.mono_s:
            effects += self._ask_others(probe, now)
        if probe.verdict_s(self._settings) <= now.mono_s:
            effects += self._judge(probe, now)
        return effects

    def _ask_others(self, probe: Round, now: Instant) -> list[Effect]:
        others = [node for node in self._table.alive() if node != probe.target]
        probe.relays = tuple(sample(self._rng, others, self._settings.relays))
        probe.relayed_s = now.mono_s
        asked = ProbeRelay(probe.seq, probe.target)
        return [
            _ask_over_link(probe.target, probe.seq),
            *(Send(node, asked) for node in probe.relays),
        ]

    def _judge(self, probe: Round, now: Instant) -> list[Effect]:
        """Accuse; relays that heard nothing are named as witnesses, silent ones are our doubt.

        Source: Lifeguard (2017), section IV-A: a missing nack is evidence against ourselves.
        """
        del self._rounds[probe.seq]
        missing = len(probe.relays) - len(probe.nacks)
        self._health.note(missing if probe.relays else +1)
        me = self._table.me.node
        refused = (me,) if probe.refused else ()
        return self._beliefs.accuse(probe.target, (me, *probe.nacks), refused, now)

    def _probe(self, target: NodeId, seq: int) -> Send:
        return Send(target, self._load(target, Probe(seq)), Lane.DATAGRAM)

    def _due_s(self, probe: Round) -> Seconds | None:
        return soonest(
            probe.copy_due_s(self._settings),
            probe.relays_due_s(self._settings),
            probe.verdict_s(self._settings),
        )

    def _draw_seq(self) -> int:
        self._seq = (self._seq + 1) & 0x7FFF_FFFF
        return self._seq


def _ask_over_link(target: NodeId, seq: int) -> Send:
    """Ask a member over the warm link to probe itself, so that it answers over the link too."""
    return Send(target, ProbeRelay(seq, target), Lane.STREAM)
