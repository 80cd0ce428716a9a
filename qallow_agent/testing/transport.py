"""The transport of a virtual agent: what ``mesh/io`` does with sockets, done in virtual time.

Bytes, caps, allow-list, doors, links with backoff, refusals and sealed datagrams are those of the
real transport; only the wires are virtual. What arrives is pushed, since nobody polls here.
"""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import PeerError
from qallow_agent.base.ids import Address, NodeId, Sender, door
from qallow_agent.base.machine import Instant, Lane
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.port import Arrival, KnockFailed, LinkEvent, Open, Packet, Seal
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.zap import Gate
from qallow_agent.testing.network import Network, Side, Stream
from qallow_agent.testing.timeline import Process

HURRY_S: Seconds = 1.0
"""Sign of life from a peer whose link is down dials at once, but not more often than this."""

_ROUND_TRIPS = 2
"""TCP and CURVE handshakes together, about."""
_MOST_GROWTH = 20


@dataclass(slots=True, eq=False)
class Link:
    """The way to one admitted peer."""

    node: NodeId
    curve_key: bytes
    contact: Contact
    broken_since: Seconds
    stream: Stream | None = None
    dialled: Seconds = float("-inf")
    attempts: int = 0
    turn: int = 0
    """Which dial or pause is the current one; timers of earlier ones mean nothing."""
    dialling: bool = False
    waiting: deque[tuple[Seconds, bytes]] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class Question:
    """A knock that waits for its answer."""

    asker: "VirtualTransport"
    reply_as: Sender
    over: bool = False


class VirtualTransport:
    """Moves bytes between agents of one virtual network.

    Args:
        network: The wires.
        process: Whose transport it is.
        host: The address it listens on.
        lan: The LAN on which its beacons are heard.
        contact: Where others find it.
        curve_key: Its public CURVE key.
        settings: Caps and patience.
        rng: Jitter of redials.
        clock: Both clocks of its host.
        take: Takes what arrives.
    """

    def __init__(
        self,
        *,
        network: Network,
        process: Process,
        host: str,
        lan: str,
        contact: Contact,
        curve_key: bytes,
        settings: TransportSettings,
        rng: Random,
        clock: Callable[[], Instant],
        take: Callable[[Arrival], None],
    ) -> None:
        self.gate = Gate()
        self.process = process
        self.host = host
        self.lan = lan
        self.contact = contact
        self.curve_key = curve_key
        self.drops: Counter[str] = Counter()
        self._network = network
        self._settings = settings
        self._rng = rng
        self._clock = clock
        self._take = take
        self._links: dict[NodeId, Link] = {}
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
        link = self._links.get(to)
        if link is None or len(data) > self._settings.message_limit_bytes:
            return False
        if lane is Lane.DATAGRAM and link.contact.datagram:
            sealed = self._seal(data)
            if sealed is not None:
                self._throw(sealed, link.contact.hosts[0], partial(self._refused, to))
                return True
        if link.stream is not None:
            return link.stream.send(0, data)
        now_s = self._clock().mono_s
        patient = now_s - link.broken_since <= self._settings.waiting_s
        if not patient or len(link.waiting) >= self._settings.waiting_limit:
            return False
        link.waiting.append((now_s, data))
        return True

    def admit(self, node: NodeId, curve_key: bytes, contact: Contact) -> None:
        """Accept this key as this node and keep a link to it; again to update or to hurry."""
        if not self.gate.allow(node, curve_key):
            self.drops["admit.refused"] += 1
            return
        link = self._links.get(node)
        if link is not None and (link.curve_key, link.contact) != (curve_key, contact):
            self._unlink(node)
            link = None
        if link is None:
            link = self._links[node] = Link(node, curve_key, contact, self._clock().mono_s)
            self._dial(link)
        elif link.stream is None and not link.dialling:
            link.attempts = 0
            link.broken_since = self._clock().mono_s
            self._dial(link)

    def expel(self, node: NodeId, *, ban: bool) -> None:
        """Drop the link and stop accepting the node's key."""
        if ban:
            self.gate.ban(node)
        else:
            self.gate.remove(node)
        self._unlink(node)

    def knock(
        self, contact: Contact, door_key: bytes, data: bytes, reply_as: Sender, timeout_s: Seconds
    ) -> None:
        """Say something at a door; one Packet from ``reply_as`` or one KnockFailed follows."""
        question = Question(self, reply_as)

        def fail(why: str) -> None:
            if not question.over:
                question.over = True
                places = ", ".join(contact.addresses(contact.door))
                self._take(KnockFailed(reply_as, f"{places}: {why}", self._clock()))

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

        self.process.after(self._round_trips_s(), arrive)
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
                    self._throw(sealed, host, _nothing)
        for target in targets:
            self._throw(sealed, target.rpartition(":")[0], _nothing)

    # --- what other transports cause here -----------------------------------------------------------

    def hear(self, sender: Sender, data: bytes, lane: Lane) -> None:
        """Take in bytes whose sender is proved."""
        if len(data) > self._settings.message_limit_bytes:
            self.drops["stream.too-large"] += 1
            return
        self._take(Packet(sender, data, lane, self._clock()))

    def hear_stream(self, curve_key: bytes, data: bytes) -> None:
        """Take in bytes from whoever owns a key now, if that is anybody."""
        node = self.gate.node_of(curve_key.hex())
        if node is None:
            self.drops["stream.stranger"] += 1
            return
        self._alive(node)
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
        self._alive(node)
        self._take(Packet(node, data, Lane.DATAGRAM, self._clock()))

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
            self.process.run(partial(self._alive, node))
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
        self.process.run(lambda: self._take(LinkEvent(node, "refused", self._clock())))

    # --- links ------------------------------------------------------------------------------------

    def _round_trips_s(self) -> Seconds:
        return sum(self._network.flight_s() for _ in range(2 * _ROUND_TRIPS))

    def _dial(self, link: Link) -> None:
        link.turn += 1
        turn = link.turn
        link.dialling = True
        link.dialled = self._clock().mono_s
        patience_s = self._settings.connect_timeout_s + self._settings.handshake_timeout_s

        def answer() -> None:
            if link.turn == turn:
                self._outcome(link)

        def timeout() -> None:
            if link.turn == turn and link.dialling:
                self._retry(link)

        self.process.after(self._round_trips_s(), answer)
        self.process.after(patience_s, timeout)

    def _outcome(self, link: Link) -> None:
        network, host = self._network, link.contact.hosts[0]
        if not network.both(self.host, host):
            if network.rejects(self.host, host):
                self._dial_refused(link)
            return
        other = network.transports.get(host)
        if other is None:
            self._dial_refused(link)
        elif other.process.waits:
            return  # the kernel accepts, nobody shakes hands
        elif other.curve_key != link.curve_key or not other.greeted_by(self.curve_key):
            self._retry(link)
        else:
            self._established(link, other)

    def _established(self, link: Link, other: "VirtualTransport") -> None:
        settings = self._settings
        link.dialling = False
        link.attempts = 0
        near = Side(self.host, self.process, _deaf, partial(self._broke, link))
        far = Side(other.host, other.process, partial(other.hear_stream, self.curve_key), _nothing)
        patience_s = settings.heartbeat_s + settings.heartbeat_timeout_s
        link.stream = self._network.connect(near, far, patience_s)
        now = self._clock()
        self._take(LinkEvent(link.node, "up", now))
        while link.waiting and link.stream is not None:
            queued_s, data = link.waiting.popleft()
            if now.mono_s - queued_s <= settings.waiting_s:
                link.stream.send(0, data)

    def _dial_refused(self, link: Link) -> None:
        self._retry(link)
        self._take(LinkEvent(link.node, "refused", self._clock()))

    def _broke(self, link: Link) -> None:
        now = self._clock()
        link.stream = None
        link.broken_since = now.mono_s
        if self._links.get(link.node) is link:
            self._retry(link)
            self._take(LinkEvent(link.node, "down", now))

    def _retry(self, link: Link) -> None:
        settings = self._settings
        growth = 2.0 ** min(link.attempts, _MOST_GROWTH)
        pause_s = min(settings.retry_limit_s, settings.retry_first_s * growth)
        link.attempts += 1
        link.dialling = False
        link.turn += 1
        turn = link.turn
        now_s = self._clock().mono_s
        while link.waiting and now_s - link.waiting[0][0] > settings.waiting_s:
            link.waiting.popleft()

        def redial() -> None:
            if link.turn == turn:
                self._dial(link)

        self.process.after(pause_s * (0.5 + self._rng.random()), redial)

    def _alive(self, node: NodeId) -> None:
        """Take any sign of life from a peer as a reason to dial its dead link now."""
        link = self._links.get(node)
        if link is None or link.stream is not None or link.dialling:
            return
        if self._clock().mono_s - link.dialled >= HURRY_S:
            self._dial(link)

    def _unlink(self, node: NodeId) -> None:
        link = self._links.pop(node, None)
        if link is not None:
            link.turn += 1
            if link.stream is not None:
                link.stream.close(0)


def _nothing() -> None:
    """Do nothing: who shouts does not care who hears."""


def _deaf(_: object) -> None:
    """Hear nothing: a link only carries what its own side says."""
