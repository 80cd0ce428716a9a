"""The sync pulse: clocks compared many times a second, without ever touching the system clock."""

from collections import Counter
from typing import Any, NamedTuple

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import Entropy, NodeId, Sender, is_local
from qallow_agent.base.machine import Effect, Instant, Lane, Send
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.sync.offset import Consensus, Interval, Verdict, agree
from qallow_agent.mesh.sync.pacing import (
    CycleMeter,
    coherence,
    harmonic_mean,
    mesh_tick,
    phase,
    stride,
)
from qallow_agent.mesh.sync.peer import MAX_FLYING, PeerPulse
from qallow_agent.mesh.sync.reference import Reference
from qallow_agent.mesh.sync.settings import SyncSettings
from qallow_agent.mesh.sync.steady import SteadyClock
from qallow_agent.mesh.wire.facts import MemberDown, MemberUp, NtpAnswer
from qallow_agent.mesh.wire.kinds import Pulse, PulseEcho

REVIEW_TICKS = 10
"""Pacing is reviewed on every tenth tick, about once a second: it follows load, not jitter."""


class PeerOffset(NamedTuple):
    """A peer's clock minus ours, how far off that may be, and the shortest recent round trip."""

    offset_s: float
    bound_s: float
    rtt_s: float


class Sync:
    """Pulses live peers, answers theirs, and keeps an interval of every clock; a Machine.

    It wants departures stamped early and arrivals late. The ``now`` of a tick and of an arrival
    are exactly that, so the intervals stay honest whatever the driver's delays.

    Args:
        me: Our node id.
        settings: Periods and the assumed drift.
        rng: Draws the peers to pulse in a large mesh.
    """

    def __init__(self, *, me: NodeId, settings: SyncSettings, rng: Entropy) -> None:
        self.me = me
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._rng = rng
        self._drift = settings.drift_ppm / 1e6
        self._steady = SteadyClock(settings.jump_s)
        self._peers: dict[NodeId, PeerPulse] = {}
        self._reference = Reference(self._drift, settings.ntp_period_s)
        self._meter = CycleMeter(settings.pulse_s)
        self._longest_s = max(settings.pulse_s, settings.pulse_max_s)
        self._tick_s = settings.pulse_s
        self._mean_s = settings.pulse_s
        self._stride = 1
        self._ticks = 0
        self._seq = 0
        self._due_s: Seconds | None = None

    @property
    def tick_s(self) -> Seconds:
        """The mesh tick T*: how often members pulse."""
        return self._tick_s

    def peer_offset(self, node: NodeId) -> PeerOffset | None:
        """Return a peer's clock minus ours, as of the last event; None before the first echo."""
        peer = self._peers.get(node)
        interval = peer.offset(self._steady, self._steady.mono_s) if peer else None
        if peer is None or interval is None:
            return None
        return PeerOffset(interval.middle_s, interval.half_s, peer.clock.rtt_s)

    def slow(self) -> tuple[NodeId, ...]:
        """Return the peers marked slow: they pulse more rarely and are never evicted."""
        return tuple(node for node in sorted(self._peers) if self._peers[node].slow)

    def mesh_offset(self, now: Instant) -> Consensus | None:
        """Return where the clocks of the peers and NTP agree, relative to ours.

        ``hull.middle_s`` is their time minus our clock. Ours is one of the clocks of which a third
        may lie, but no witness of itself: it would pin the hull to zero. None before any other
        clock was heard.
        """
        others = self._clocks(now)[1:] + self._reference.intervals(now.mono_s)
        return agree(others, faulty=len(others) // 3)

    def wall_error_s(self, now: Instant) -> Seconds:
        """Return how far our wall clock may be from the others'; infinite when nobody was heard."""
        together = self.mesh_offset(now)
        if together is None:
            return float("inf")
        return abs(together.hull.middle_s) + together.hull.half_s + together.spread_s

    def document(self, now: Instant) -> dict[str, Any]:
        """Return everything about time that ``status`` and ``peers`` show; JSON-shaped."""
        together = self.mesh_offset(now)
        phases = [peer.phase for peer in self._peers.values() if peer.phase is not None]
        return {
            "offset_s": together.hull.middle_s if together else None,
            # Clocks that are honestly apart meet in one point: how far apart is part of the bound.
            "bound_s": together.hull.half_s + together.spread_s if together else None,
            "spread_s": together.spread_s if together else None,
            "pace_s": self._tick_s,
            "harmonic_mean_s": self._mean_s,
            "cycle_s": self._meter.cycle_s,
            "slowdown": self._meter.cycle_s / self._tick_s,
            "slow": self._stride > 1,
            "phase_coherence": coherence([*phases, phase(self.me)]) if phases else None,
            "peers": {
                node: self._peers[node].document(self._steady, self._tick_s, now.mono_s)
                for node in sorted(self._peers)
            },
            "ntp": self._reference.document(now.mono_s),
            "counts": dict(sorted(self.counts.items())),
        }

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in pulses and echoes of peers, facts about members, and NTP answers."""
        effects = self._watch(now)
        if isinstance(message, Pulse):
            effects += self._echo(NodeId(sender), message, now)
        elif isinstance(message, PulseEcho):
            effects += self._heard(NodeId(sender), message, now)
        elif not is_local(sender) and sender != self.me:
            return effects
        elif isinstance(message, MemberUp):
            self._join(message.record.node, now)
        elif isinstance(message, MemberDown):
            self._peers.pop(message.node, None)
            if not self._peers:
                self._due_s = None
        elif isinstance(message, NtpAnswer):
            effects += self._reference.take(message, self._clocks(now), now)
        return effects

    def tick(self, now: Instant) -> list[Effect]:
        """Send the pulses that are due and now and then review the pace."""
        effects = self._watch(now)
        if self._due_s is None or now.mono_s < self._due_s:
            return effects
        late_s = now.mono_s - self._due_s
        self._meter.ticked(late_s)
        self._due_s = now.mono_s + self._tick_s - late_s % self._tick_s
        self._ticks += 1
        if self._ticks % REVIEW_TICKS == 0:
            effects += self._review()
        if self._ticks % self._stride == 0:
            effects += self._pulse(now)
        return effects

    def next_deadline(self) -> Seconds | None:
        """Return when the next pulse is due; None while there is nobody to pulse."""
        return self._due_s

    def check(self) -> None:
        """Raise InvariantBroken when pacing left its bounds or somebody unwanted is pulsed."""
        if not self.settings.pulse_s <= self._tick_s <= self._longest_s:
            raise InvariantBroken(f"the mesh tick of {self._tick_s} s is out of bounds")
        if self.me in self._peers:
            raise InvariantBroken("a node pulses itself")
        if any(peer.flying() > MAX_FLYING for peer in self._peers.values()):
            raise InvariantBroken("too many unanswered pulses are remembered")

    # --- pulses ----------------------------------------------------------------------------------

    def _join(self, node: NodeId, now: Instant) -> None:
        if node == self.me or node in self._peers:
            return
        self._peers[node] = PeerPulse(self._drift, self.settings.pulse_s, now.mono_s)
        if self._due_s is None:
            # Our own place in the mesh's tick: members must not all pulse at the same moment.
            into_s = (now.wall_ns / 1e9 - phase(self.me) * self._tick_s) % self._tick_s
            self._due_s = now.mono_s + self._tick_s - into_s

    def _pulse(self, now: Instant) -> list[Effect]:
        self._seq += 1
        pulse = Pulse(seq=self._seq, t1_ns=now.wall_ns, cycle_s=self._meter.cycle_s)
        steady_ns = self._steady.ns(now)
        drawn = self._draw()
        for node in drawn:
            self._peers[node].flew(pulse, steady_ns)
        return [Send(node, pulse, Lane.DATAGRAM) for node in drawn]

    def _draw(self) -> list[NodeId]:
        pool = sorted(self._peers)
        if len(pool) <= self.settings.peers:
            return pool
        return [pool.pop(self._rng.randrange(len(pool))) for _ in range(self.settings.peers)]

    def _echo(self, sender: NodeId, pulse: Pulse, now: Instant) -> list[Effect]:
        peer = self._peers.get(sender)
        if peer is None:
            self.counts["pulse from no live member"] += 1
            return []
        if not peer.is_owed_echo(now):
            self.counts["pulse beyond the rate"] += 1
            return []
        peer.noted(pulse.cycle_s, now)
        peer.phase = now.wall_ns / 1e9 % self._tick_s / self._tick_s
        echo = PulseEcho(
            seq=pulse.seq,
            t1_ns=pulse.t1_ns,
            t2_ns=now.wall_ns,
            t3_ns=now.wall_ns,
            cycle_s=self._meter.cycle_s,
        )
        return [Send(sender, echo, Lane.DATAGRAM)]

    def _heard(self, sender: NodeId, echo: PulseEcho, now: Instant) -> list[Effect]:
        peer = self._peers.get(sender)
        verdict = peer.landed(echo, self._steady.ns(now), now) if peer else None
        if verdict is None:
            self.counts["echo of no pulse"] += 1
        elif verdict is Verdict.IMPOSSIBLE:
            self.counts["impossible stamps"] += 1
        elif verdict is Verdict.STEPPED:
            self.counts["peer clock stepped"] += 1
            text = "a peer's clock was stepped; its offset starts anew"
            return [Notice("sync.peer-stepped", text, "warning", {"node": sender})]
        return []

    # --- pace and clocks -------------------------------------------------------------------------

    def _review(self) -> list[Effect]:
        own_s = self._meter.cycle_s
        self._mean_s = harmonic_mean([own_s, *(peer.cycle_s for peer in self._peers.values())])
        self._tick_s = mesh_tick(self._mean_s, self.settings.pulse_s, self._longest_s)
        self._stride = stride(own_s, self._tick_s, self.settings.slow_factor)
        notices: list[Effect] = []
        for node, peer in sorted(self._peers.items()):
            if not peer.judge_pace(self._tick_s * self.settings.slow_factor):
                continue
            event = "sync.slow" if peer.slow else "sync.recovered"
            text = "a member cannot keep the pace" if peer.slow else "a member keeps the pace again"
            facts: dict[str, str | int | float | bool | None] = {
                "node": node,
                "cycle_s": peer.cycle_s,
                "tick_s": self._tick_s,
            }
            notices.append(Notice(event, text, "info", facts))
        return notices

    def _watch(self, now: Instant) -> list[Effect]:
        """Notice a jump of our own wall clock: every offset to it is void from that moment."""
        jump_s = self._steady.observe(now)
        if not jump_s:
            return []
        for peer in self._peers.values():
            peer.forget_clock()
        self._reference.forget()
        self.counts["own clock jumped"] += 1
        text = "the wall clock jumped or the machine slept; all offsets start anew"
        return [Notice("clock.jump", text, "warning", {"jump_s": round(jump_s, 6)})]

    def _clocks(self, now: Instant) -> list[Interval]:
        known = [self._peers[node].offset(self._steady, now.mono_s) for node in sorted(self._peers)]
        return [Interval(0.0, 0.0), *(interval for interval in known if interval is not None)]
