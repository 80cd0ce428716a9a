"""The transport of a virtual agent: what ``mesh/io`` does with sockets, done in virtual time.

Bytes, caps, allow-list, doors, links with backoff, refusals and sealed datagrams are those of the
real transport; only the wires are virtual. What arrives is pushed, since nobody polls here.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import PeerError
from qallow_agent.base.ids import Address, NodeId, Sender, door
from qallow_agent.base.machine import Lane
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.port import KnockFailed, LinkEvent, Open, Packet, Seal
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.zap import Gate
from qallow_agent.testing.links import Links, Site, unmoved


@dataclass(slots=True, eq=False)
class Question:
    """A knock that waits for its answer."""

    asker: "VirtualTransport"
    reply_as: Sender
    over: bool = False


class VirtualTransport:
    """Moves bytes between agents of one virtual network.

    Args:
        site: Where it stands.
        contact: Where others find it.
        curve_key: Its public CURVE key.
        settings: Caps and patience.
        rng: Jitter of redials.
    """

    def __init__(
        self,
        site: Site,
        *,
        contact: Contact,
        curve_key: bytes,
        settings: TransportSettings,
        rng: Random,
    ) -> None:
        self.gate = Gate()
        self.process = site.process
        self.host = site.host
        self.lan = site.lan
        self.contact = contact
        self.curve_key = curve_key
        self.drops: Counter[str] = Counter()
        self._site = site
        self._network = site.network
        self._settings = settings
        self._links = Links(site, curve_key, settings, rng)
        self._heard: dict[Sender, Question] = {}
        self._strangers = itertools.count()
        self._sealing: tuple[Seal, Open] | None = None
        self._buffered_bytes = 0

    # --- the port ---------------------------------------------------------------------------------

    def unlock(self, seal: Seal, open_sealed: Open) -> None:
        """Open the datagram lane."""
        self._sealing = (seal, open_sealed)

    def send(self, to: NodeId, data: bytes, lane: Lane) -> bool:
        """Send to an admitted node; DATAGRAM falls back to STREAM."""
        contact = self._links.contact_of(to)
        if contact is None or len(data) > self._settings.message_limit_bytes:
            return False
        if lane is Lane.DATAGRAM and contact.datagram:
            sealed = self._seal(data)
            if sealed is not None:
                self._throw(sealed, contact.hosts[0], partial(self._refused, to))
                return True
        return self._links.send(to, data)

    def admit(self, node: NodeId, curve_key: bytes, contact: Contact) -> None:
        """Accept this key as this node and keep a link to it; again to update or to hurry."""
        if not self.gate.allow(node, curve_key):
            self.drops["admit.refused"] += 1
            return
        self._links.admit(node, curve_key, contact)

    def expel(self, node: NodeId, *, ban: bool) -> None:
        """Drop the link and stop accepting the node's key."""
        if ban:
            self.gate.ban(node)
        else:
            self.gate.remove(node)
        self._links.drop(node)

    def knock(
        self, contact: Contact, door_key: bytes, data: bytes, reply_as: Sender, timeout_s: Seconds
    ) -> None:
        """Say something at a door; one Packet from ``reply_as`` or one KnockFailed follows."""
        question = Question(self, reply_as)

        def fail(why: str) -> None:
            if not question.over:
                question.over = True
                places = ", ".join(contact.addresses(contact.door))
                self._site.take(KnockFailed(reply_as, f"{places}: {why}", self._site.clock()))

        def arrive() -> None:
            network, host = self._network, contact.hosts[0]
            if not network.both(self.host, host):
                if network.rejects(self.host, host):
                    fail("nobody listens there")
                return
            other = network.transports.get(host)
            if other is None:
                fail("nobody listens there")
            elif other.curve_key != door_key:
                fail("it closed the handshake: its key is another one, or it is busy")
            else:
                other.process.run(partial(other.hear_knock, question, data))

        self.process.after(self._site.handshake_s(), arrive)
        self.process.after(timeout_s, partial(fail, "no answer"))

    def reply(self, to: Sender, data: bytes) -> bool:
        """Answer a knock."""
        question = self._heard.pop(to, None)
        if question is None or question.over:
            return False
        asker = question.asker

        def arrive() -> None:
            if not question.over and self._network.both(self.host, asker.host):
                question.over = True
                asker.hear(question.reply_as, data, Lane.STREAM)

        asker.process.after(self._network.flight_s(), arrive)
        return True

    def broadcast(self, data: bytes, targets: Sequence[Address]) -> None:
        """Shout on the LAN, ourselves included as multicast does, and send to targets."""
        sealed = self._seal(data)
        if sealed is None:
            self.drops["broadcast.no-lane"] += 1
            return
        if self._settings.beacon:
            for host, other in list(self._network.transports.items()):
                if other.lan == self.lan:
                    self._throw(sealed, host, unmoved)
        for target in targets:
            self._throw(sealed, target.rpartition(":")[0], unmoved)

    # --- what other transports cause here ---------------------------------------------------------

    def hear(self, sender: Sender, data: bytes, lane: Lane) -> None:
        """Take in bytes whose sender is proved."""
        if len(data) > self._settings.message_limit_bytes:
            self.drops["stream.too-large"] += 1
            return
        self._site.take(Packet(sender, data, lane, self._site.clock()))

    def hear_stream(self, curve_key: bytes, data: bytes) -> None:
        """Take in bytes from whoever owns a key now, if that is anybody."""
        node = self.gate.node_of(curve_key.hex())
        if node is None:
            self.drops["stream.stranger"] += 1
            return
        self._links.heard(node)
        self.hear(node, data, Lane.STREAM)

    def hear_knock(self, question: Question, data: bytes) -> None:
        """Take in a knock."""
        self._heard = {name: item for name, item in self._heard.items() if not item.over}
        stranger = door(f"{next(self._strangers):x}")
        self._heard[stranger] = question
        self.hear(stranger, data, Lane.STREAM)

    def hear_datagram(self, sealed: bytes) -> None:
        """Take in a datagram from anywhere."""
        if self._sealing is None or len(sealed) > self._settings.datagram_limit_bytes:
            self.drops["datagram.locked"] += 1
            return
        try:
            node, data = self._sealing[1](sealed)
        except PeerError as error:
            self.drops[f"datagram.{error.code}"] += 1
            return
        if self.gate.is_banned(node):
            self.drops["packet.banned"] += 1
            return
        self._links.heard(node)
        self._site.take(Packet(node, data, Lane.DATAGRAM, self._site.clock()))

    def buffer(self, sealed: bytes) -> None:
        """Keep a datagram until the process reads; drop it when the kernel's buffer is full."""
        if not self.process.waits:
            self.hear_datagram(sealed)
            return
        if self._buffered_bytes + len(sealed) > self._settings.receive_buffer_bytes:
            self.drops["datagram.overflow"] += 1
            return
        self._buffered_bytes += len(sealed)

        def read() -> None:
            self._buffered_bytes -= len(sealed)
            self.hear_datagram(sealed)

        self.process.run(read)

    def greeted_by(self, curve_key: bytes) -> bool:
        """Return whether a peer that dials with this key is let in; it is alive then."""
        node = self.gate.node_of(curve_key.hex())
        if node is not None:
            self.process.run(partial(self._links.heard, node))
        return node is not None

    # --- datagrams --------------------------------------------------------------------------------

    def _seal(self, data: bytes) -> bytes | None:
        if self._sealing is None or not self.contact.datagram:
            return None
        sealed = self._sealing[0](data)
        return sealed if len(sealed) <= self._settings.datagram_limit_bytes else None

    def _throw(self, sealed: bytes, host: str, refuse: Callable[[], None]) -> None:
        self._network.datagram(self.host, host, partial(self._catch, host, sealed), refuse)

    def _catch(self, host: str, sealed: bytes) -> None:
        other = self._network.transports[host]
        if other.process.alive:
            other.buffer(sealed)

    def _refused(self, node: NodeId) -> None:
        event = LinkEvent(node, "refused", self._site.clock())
        self.process.run(partial(self._site.take, event))
