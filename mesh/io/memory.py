"""A network inside one process with the semantics of the real one, for tests and simulations.

Bytes move when the hub is asked to, in order; there is no loss here, faults belong to the
simulator. What a transport refuses (strangers, oversized messages, closed doors) it refuses too.
"""

import itertools
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import ConfigError, PeerError
from qallow_agent.base.ids import Address, NodeId, Sender, door
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.machine import Lane, soonest
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.port import (
    Arrival,
    Clock,
    KnockFailed,
    LinkEvent,
    Open,
    Packet,
    Seal,
)
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.zap import Gate

_HOST = "memory"
_FIRST_PORT = 1024


@dataclass(slots=True)
class _Peer:
    curve_key: bytes
    contact: Contact
    broken_since: Seconds
    is_up: bool = False
    waiting: deque[tuple[Seconds, bytes]] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class _Question:
    asker: "MemoryTransport"
    reply_as: Sender
    deadline: Seconds
    is_over: bool = False


class MemoryNetwork:
    """Everybody who can be reached, by port."""

    def __init__(self) -> None:
        self._ports = itertools.count(_FIRST_PORT)
        self._listeners: dict[int, MemoryTransport] = {}

    def join(
        self,
        settings: TransportSettings,
        curve: CurveKey,
        *,
        clock: Clock,
        contact: Contact | None = None,
    ) -> "MemoryTransport":
        """Return a transport of this network; with ``contact`` on its earlier ports.

        Raises:
            ConfigError: Somebody listens on one of those ports.
        """
        if contact is None:
            stream, door_port, datagram = (next(self._ports) for _ in range(3))
            contact = Contact((_HOST,), stream, door_port, datagram if settings.datagrams else 0)
        transport = MemoryTransport(self, settings, curve, contact, clock)
        ports = _ports(contact)
        for port in ports:
            if port in self._listeners:
                raise ConfigError(f"port {port} is taken", hint="close its holder first")
        self._listeners.update(dict.fromkeys(ports, transport))
        return transport

    def at(self, port: int) -> "MemoryTransport | None":
        """Return who listens on a port."""
        return self._listeners.get(port)

    def everyone(self) -> tuple["MemoryTransport", ...]:
        """Return every transport, in order of joining."""
        return tuple(dict.fromkeys(self._listeners.values()))

    def leave(self, transport: "MemoryTransport") -> None:
        """Remove a transport from its ports."""
        for port in _ports(transport.contact):
            self._listeners.pop(port, None)


class MemoryTransport:
    """A :class:`qallow_agent.mesh.io.port.Transport` in a :class:`MemoryNetwork`."""

    def __init__(
        self,
        network: MemoryNetwork,
        settings: TransportSettings,
        curve: CurveKey,
        contact: Contact,
        clock: Clock,
    ) -> None:
        self.gate = Gate()
        self.key = curve.public
        self._network = network
        self._settings = settings
        self._contact = contact
        self._clock = clock
        self._peers: dict[NodeId, _Peer] = {}
        self._arrivals: list[Arrival] = []
        self._asked: list[_Question] = []
        self._heard: dict[Sender, _Question] = {}
        self._strangers = itertools.count()
        self._drops: Counter[str] = Counter()
        self._sealing: tuple[Seal, Open] | None = None

    @property
    def contact(self) -> Contact:
        """Where others reach this transport."""
        return self._contact

    def unlock(self, seal: Seal, open_sealed: Open) -> None:
        """Open the datagram lane."""
        self._sealing = (seal, open_sealed)

    def send(self, to: NodeId, data: bytes, lane: Lane) -> bool:
        """Send to an admitted node; DATAGRAM falls back to STREAM."""
        peer = self._peers.get(to)
        if peer is None or len(data) > self._settings.message_limit_bytes:
            return False
        if lane is Lane.DATAGRAM and peer.contact.datagram:
            sealed = self._seal(data)
            if sealed is not None:
                listener = self._network.at(peer.contact.datagram)
                if listener is not None:
                    listener.hear_datagram(sealed)
                return True
        reached = self._reach(peer)
        if reached is not None and peer.is_up:
            other, me = reached
            other.deliver(me, data)
            return True
        now = self._clock().mono_s
        patient = now - peer.broken_since <= self._settings.waiting_s
        if not patient or len(peer.waiting) >= self._settings.waiting_limit:
            return False
        peer.waiting.append((now, data))
        return True

    def admit(self, node: NodeId, curve_key: bytes, contact: Contact) -> None:
        """Accept this key as this node and keep a link to it."""
        if not self.gate.allow(node, curve_key):
            self._drops["admit.refused"] += 1
            return
        now = self._clock().mono_s
        peer = self._peers.get(node)
        if peer is None or (peer.curve_key, peer.contact) != (curve_key, contact):
            self._peers[node] = _Peer(curve_key, contact, broken_since=now)
        elif not peer.is_up:
            peer.broken_since = now

    def expel(self, node: NodeId, *, ban: bool) -> None:
        """Drop the link and stop accepting the node's key."""
        if ban:
            self.gate.ban(node)
        else:
            self.gate.remove(node)
        self._peers.pop(node, None)

    def knock(
        self, contact: Contact, door_key: bytes, data: bytes, reply_as: Sender, timeout_s: Seconds
    ) -> None:
        """Say something at a door."""
        now = self._clock()
        other = self._network.at(contact.door)
        if other is None or other.key != door_key:
            why = "nobody listens there" if other is None else "its key is another one"
            self._arrivals.append(KnockFailed(reply_as, why, now))
            return
        question = _Question(self, reply_as, now.mono_s + timeout_s)
        self._asked.append(question)
        other.hear_knock(question, data)

    def reply(self, to: Sender, data: bytes) -> bool:
        """Answer a knock."""
        question = self._heard.pop(to, None)
        if question is None or question.is_over:
            return False
        question.is_over = True
        question.asker.deliver(question.reply_as, data)
        return True

    def broadcast(self, data: bytes, targets: Sequence[Address]) -> None:
        """Shout to everybody who listens for beacons, and send to targets."""
        sealed = self._seal(data)
        if sealed is None:
            self._drops["broadcast.no-lane"] += 1
            return
        for other in self._network.everyone():
            own = other.contact.addresses(other.contact.datagram)
            if self._settings.beacon or any(place in targets for place in own):
                other.hear_datagram(sealed)

    def pollables(self) -> tuple[int, ...]:
        """Return nothing: whoever drives this network drains everybody after every step."""
        return ()

    def drain(self) -> list[Arrival]:
        """Return what arrived; links come up and break here."""
        now = self._clock()
        for node, peer in self._peers.items():
            if (self._reach(peer) is not None) != peer.is_up:
                self._turn(node, peer)
        for question in self._asked:
            if not question.is_over and question.deadline <= now.mono_s:
                question.is_over = True
                late = KnockFailed(question.reply_as, "connected, but no answer in time", now)
                self._arrivals.append(late)
        self._asked = [question for question in self._asked if not question.is_over]
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def next_deadline(self) -> Seconds | None:
        """Return when a knock runs out of time, or 0 when something waits."""
        if self._arrivals:
            return 0.0
        return soonest(*(question.deadline for question in self._asked))

    def counters(self) -> Mapping[str, int]:
        """Return what was dropped or refused so far, by reason."""
        return dict(sorted(self._drops.items()))

    def close(self) -> None:
        """Leave the network."""
        self._network.leave(self)

    def deliver(self, sender: Sender, data: bytes) -> None:
        """Take in bytes whose sender the network has proved."""
        if len(data) > self._settings.message_limit_bytes:
            self._drops["stream.too-large"] += 1
            return
        self._arrivals.append(Packet(sender, data, Lane.STREAM, self._clock()))

    def hear_datagram(self, sealed: bytes) -> None:
        """Take in a datagram from anywhere."""
        if self._sealing is None or len(sealed) > self._settings.datagram_limit_bytes:
            self._drops["datagram.locked"] += 1
            return
        try:
            node, data = self._sealing[1](sealed)
        except PeerError as error:
            self._drops[f"datagram.{error.code}"] += 1
            return
        if not self.gate.is_banned(node):
            self._arrivals.append(Packet(node, data, Lane.DATAGRAM, self._clock()))

    def hear_knock(self, question: _Question, data: bytes) -> None:
        """Take in a knock at the door."""
        self._heard = {name: item for name, item in self._heard.items() if not item.is_over}
        stranger = door(f"{next(self._strangers):x}")
        self._heard[stranger] = question
        self.deliver(stranger, data)

    def _seal(self, data: bytes) -> bytes | None:
        if self._sealing is None or not self._contact.datagram:
            return None
        sealed = self._sealing[0](data)
        return sealed if len(sealed) <= self._settings.datagram_limit_bytes else None

    def _reach(self, peer: _Peer) -> "tuple[MemoryTransport, NodeId] | None":
        """Return who a link ends at and as whom it knows us; None when either refuses."""
        other = self._network.at(peer.contact.stream)
        if other is None or other.key != peer.curve_key:
            return None
        me = other.gate.node_of(self.key.hex())
        return (other, me) if me is not None else None

    def _turn(self, node: NodeId, peer: _Peer) -> None:
        """Note that a link came up or broke, and send what waited for it."""
        now = self._clock()
        peer.is_up = not peer.is_up
        self._arrivals.append(LinkEvent(node, "up" if peer.is_up else "down", now))
        if not peer.is_up:
            peer.broken_since = now.mono_s
        while peer.is_up and peer.waiting:
            queued, data = peer.waiting.popleft()
            reached = self._reach(peer)
            if reached is not None and now.mono_s - queued <= self._settings.waiting_s:
                other, me = reached
                other.deliver(me, data)


def _ports(contact: Contact) -> list[int]:
    return [port for port in (contact.stream, contact.door, contact.datagram) if port]
