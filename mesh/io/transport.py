"""The embedded transport: ZeroMQ with CURVE for streams, sealed UDP for datagrams, all in one loop.

Two ROUTERs only receive: the mesh for admitted keys, the door for anybody who knows its key (which
an invite or a member tells). To speak, every peer gets a DEALER of its own. So no routing id ever
names anybody: the sender is whoever owns the key that the connection proved.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import zmq

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import Address, NodeId, Sender, door, is_local
from qallow_agent.base.machine import Lane, soonest
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.addresses import split_address
from qallow_agent.mesh.io.buckets import Buckets
from qallow_agent.mesh.io.dns_seeds import Resolver
from qallow_agent.mesh.io.knocks import Knocks
from qallow_agent.mesh.io.links import Links
from qallow_agent.mesh.io.port import Arrival, Open, Packet, Seal
from qallow_agent.mesh.io.readiness import Readiness
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.udp import DatagramLane, Sealing
from qallow_agent.mesh.io.udp_beacon import BeaconPost
from qallow_agent.mesh.io.zap import Gate

_TARGETS_LIMIT = 64
_SENDERS_LIMIT = 4096
_DOOR_PREFIX = door("")


@dataclass(frozen=True, slots=True)
class Servers:
    """The listening sockets of one transport, in the context that holds them."""

    context: "zmq.Context[zmq.Socket[bytes]]"
    zap: "zmq.Socket[bytes]"
    mesh: "zmq.Socket[bytes]"
    door: "zmq.Socket[bytes]"
    door_monitor: "zmq.Socket[bytes]"


@dataclass(frozen=True, slots=True)
class Speakers:
    """What speaks to others."""

    links: Links
    knocks: Knocks
    resolver: Resolver
    lane: DatagramLane | None
    beacon: BeaconPost | None


class CurveTransport:
    """The :class:`~qallow_agent.mesh.io.port.Transport` that ``zmq_curve.bind`` builds."""

    def __init__(
        self,
        settings: TransportSettings,
        contact: Contact,
        servers: Servers,
        speakers: Speakers,
        gate: Gate,
        readiness: Readiness,
    ) -> None:
        self._settings = settings
        self._contact = contact
        self._servers = servers
        self._speakers = speakers
        self._gate = gate
        self._readiness = readiness
        self._drops: Counter[str] = readiness.drops
        self._buckets: Buckets[NodeId] = Buckets(
            settings.peer_rate_hz, settings.peer_burst, _SENDERS_LIMIT
        )
        self._unresolved: dict[str, tuple[bytes, int]] = {}

    @property
    def contact(self) -> Contact:
        """Where others reach this transport."""
        return self._contact

    def unlock(self, seal: Seal, open_sealed: Open) -> None:
        """Open the datagram lane."""
        if self._speakers.lane is not None:
            self._speakers.lane.unlock(Sealing(seal, open_sealed))

    def send(self, to: NodeId, data: bytes, lane: Lane) -> bool:
        """Send to an admitted node; DATAGRAM falls back to STREAM."""
        speakers = self._speakers
        if len(data) > self._settings.message_limit_bytes:
            self._drops["send.too-large"] += 1
            return False
        if lane is Lane.DATAGRAM and speakers.lane is not None and speakers.lane.send(to, data):
            return True
        return speakers.links.send(to, data)

    def admit(self, node: NodeId, curve_key: bytes, contact: Contact) -> None:
        """Accept this key as this node and keep a link to it."""
        if not self._gate.allow(node, curve_key):
            self._drops["admit.refused"] += 1
            return
        is_new_place = self._speakers.links.contact_of(node) != contact
        self._speakers.links.admit(node, curve_key, contact)
        if is_new_place:
            self._place(node)

    def expel(self, node: NodeId, *, ban: bool) -> None:
        """Drop the link and stop accepting the node's key."""
        if ban:
            self._gate.ban(node)
        else:
            self._gate.remove(node)
        if self._speakers.lane is not None:
            self._speakers.lane.expel(node)
        self._speakers.links.expel(node)
        self._buckets.forget(node)

    def knock(
        self, contact: Contact, door_key: bytes, data: bytes, reply_as: Sender, timeout_s: Seconds
    ) -> None:
        """Say something at a door."""
        self._speakers.knocks.knock(contact, door_key, data, reply_as, timeout_s)

    def reply(self, to: Sender, data: bytes) -> bool:
        """Answer a knock."""
        try:
            stranger = bytes.fromhex(to.removeprefix(_DOOR_PREFIX))
            self._servers.door.send_multipart([stranger, data], zmq.DONTWAIT)
        except (ValueError, zmq.ZMQError):
            self._drops["reply.gone"] += 1
            return False
        finally:
            self._readiness.stir(self._servers.door.FD)
        return True

    def broadcast(self, data: bytes, targets: Sequence[Address]) -> None:
        """Shout on loopback and every LAN interface, and send to targets."""
        lane = self._speakers.lane
        sealed = lane.seal(data) if lane is not None else None
        if lane is None or sealed is None:
            self._drops["broadcast.no-lane"] += 1
            return
        if self._speakers.beacon is not None:
            self._speakers.beacon.shout(sealed)
        for target in targets[:_TARGETS_LIMIT]:
            place = split_address(target)
            if place is None:
                self._drops["broadcast.bad-target"] += 1
                continue
            hosts = self._speakers.resolver.hosts(place[0])
            if not hosts and len(self._unresolved) < _TARGETS_LIMIT:
                self._unresolved[place[0]] = (sealed, place[1])
            for host in hosts:
                lane.send_to(sealed, host, place[1])

    def pollables(self) -> tuple[int, ...]:
        """Return the one descriptor that gathers all others."""
        return (self._readiness.fileno(),)

    def drain(self) -> list[Arrival]:
        """Return what arrived, at most a fair share; due timers run here too."""
        arrivals = self._readiness.collect()
        self._speakers.links.tick(arrivals)
        self._speakers.knocks.tick(arrivals)
        return [item for item in arrivals if self._is_welcome(item)]

    def next_deadline(self) -> Seconds | None:
        """Return when :meth:`drain` is due without readability."""
        if self._readiness.stirred:
            return 0.0
        return soonest(self._speakers.links.next_deadline(), self._speakers.knocks.next_deadline())

    def counters(self) -> Mapping[str, int]:
        """Return what was dropped or refused so far, by reason."""
        return dict(sorted(self._drops.items()))

    def close(self) -> None:
        """Release every socket."""
        speakers, servers = self._speakers, self._servers
        speakers.links.close(self._settings.flush_s)
        speakers.knocks.close()
        self._readiness.close()
        speakers.resolver.close()
        if speakers.lane is not None:
            speakers.lane.close()
        if speakers.beacon is not None:
            speakers.beacon.close()
        servers.door.disable_monitor()
        for socket in (servers.door_monitor, servers.mesh, servers.door, servers.zap):
            socket.close(0)
        servers.context.destroy()  # as term, but never waits for a socket that was not closed

    def name_known(self, host: str) -> None:
        """Do what waited for a name."""
        speakers = self._speakers
        waiting = self._unresolved.pop(host, None)
        if waiting is not None and speakers.lane is not None:
            sealed, port = waiting
            for address in speakers.resolver.hosts(host):
                speakers.lane.send_to(sealed, address, port)
        for node in speakers.links.nodes_at(host):
            self._place(node)
        speakers.links.name_known(host)
        speakers.knocks.name_known(host)

    def _place(self, node: NodeId) -> None:
        contact = self._speakers.links.contact_of(node)
        if contact is not None and self._speakers.lane is not None:
            resolve = self._speakers.resolver.hosts
            hosts = [address for host in contact.hosts for address in resolve(host)]
            self._speakers.lane.admit(node, hosts, contact.datagram)

    def _is_welcome(self, item: Arrival) -> bool:
        """Drop packets of the banned and of floods; take the others as signs of life."""
        if not isinstance(item, Packet) or is_local(item.sender):
            return True
        node = NodeId(item.sender)
        if self._gate.is_banned(node):
            self._drops["packet.banned"] += 1
            return False
        if not self._buckets.take(node, item.received.mono_s):
            self._drops["packet.flood"] += 1
            return False
        self._speakers.links.heard(node)
        return True
