"""The links of a virtual agent: one to each admitted peer, dialled again for ever."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.port import Arrival, LinkEvent
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.testing.network import Network, Side, Stream
from qallow_agent.testing.timeline import Process

if TYPE_CHECKING:
    from qallow_agent.testing.transport import VirtualTransport

HURRY_S: Seconds = 1.0
"""Sign of life from a peer whose link is down dials at once, but not more often than this."""

_ROUND_TRIPS = 2
"""TCP and CURVE handshakes together, about."""
_MOST_GROWTH = 20


@dataclass(frozen=True, slots=True)
class Site:
    """Where a transport stands, and who it serves.

    Args:
        network: The wires.
        process: Whose transport it is.
        host: The address it listens on.
        lan: The LAN on which its beacons are heard.
        clock: Both clocks of its host.
        take: Takes what arrives.
    """

    network: Network
    process: Process
    host: str
    lan: str
    clock: Callable[[], Instant]
    take: Callable[[Arrival], None]

    def handshake_s(self) -> Seconds:
        """Return how long it takes to connect to somebody."""
        return sum(self.network.flight_s() for _ in range(2 * _ROUND_TRIPS))


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


class Links:
    """Keeps the links of all admitted peers alive and sends over them.

    Args:
        site: Where it stands.
        curve_key: The key it shows.
        settings: Patience and limits.
        rng: Jitter of redials.
    """

    def __init__(
        self, site: Site, curve_key: bytes, settings: TransportSettings, rng: Random
    ) -> None:
        self._site = site
        self._curve_key = curve_key
        self._settings = settings
        self._rng = rng
        self._links: dict[NodeId, Link] = {}

    def contact_of(self, node: NodeId) -> Contact | None:
        """Return where a peer was last said to be; None when it is not admitted."""
        link = self._links.get(node)
        return None if link is None else link.contact

    def admit(self, node: NodeId, curve_key: bytes, contact: Contact) -> None:
        """Keep a link to a peer; a changed key or contact dials anew, the same one hurries."""
        link = self._links.get(node)
        if link is not None and (link.curve_key, link.contact) != (curve_key, contact):
            self.drop(node)
            link = None
        now_s = self._site.clock().mono_s
        if link is None:
            link = self._links[node] = Link(node, curve_key, contact, now_s)
            self._dial(link)
        elif link.stream is None and not link.dialling:
            link.attempts = 0
            link.broken_since = now_s
            self._dial(link)

    def drop(self, node: NodeId) -> None:
        """Close the link to a peer and forget it."""
        link = self._links.pop(node, None)
        if link is not None:
            link.turn += 1
            if link.stream is not None:
                link.stream.close(0)

    def send(self, node: NodeId, data: bytes) -> bool:
        """Send over a link, or keep the bytes a short while for one being established."""
        link = self._links.get(node)
        if link is None:
            return False
        if link.stream is not None:
            return link.stream.send(0, data)
        now_s = self._site.clock().mono_s
        patient = now_s - link.broken_since <= self._settings.waiting_s
        if not patient or len(link.waiting) >= self._settings.waiting_limit:
            return False
        link.waiting.append((now_s, data))
        return True

    def heard(self, node: NodeId) -> None:
        """Take any sign of life from a peer as a reason to dial its dead link now."""
        link = self._links.get(node)
        if link is None or link.stream is not None or link.dialling:
            return
        if self._site.clock().mono_s - link.dialled >= HURRY_S:
            self._dial(link)

    def _dial(self, link: Link) -> None:
        link.turn += 1
        turn = link.turn
        link.dialling = True
        link.dialled = self._site.clock().mono_s
        patience_s = self._settings.connect_timeout_s + self._settings.handshake_timeout_s

        def answer() -> None:
            if link.turn == turn:
                self._outcome(link)

        def timeout() -> None:
            if link.turn == turn and link.dialling:
                self._retry(link)

        process = self._site.process
        process.after(self._site.handshake_s(), answer)
        process.after(patience_s, timeout)

    def _outcome(self, link: Link) -> None:
        network, here, there = self._site.network, self._site.host, link.contact.hosts[0]
        if not network.both(here, there):
            if network.rejects(here, there):
                self._refused(link)
            return
        other = network.transports.get(there)
        if other is None:
            self._refused(link)
        elif other.process.waits:
            return  # the kernel accepts, nobody shakes hands
        elif other.curve_key != link.curve_key or not other.greeted_by(self._curve_key):
            self._retry(link)
        else:
            self._established(link, other)

    def _established(self, link: Link, other: "VirtualTransport") -> None:
        site, settings = self._site, self._settings
        link.dialling = False
        link.attempts = 0
        near = Side(site.host, site.process, _deaf, partial(self._broke, link))
        far = Side(other.host, other.process, partial(other.hear_stream, self._curve_key), unmoved)
        patience_s = settings.heartbeat_s + settings.heartbeat_timeout_s
        link.stream = site.network.connect(near, far, patience_s)
        now = site.clock()
        site.take(LinkEvent(link.node, "up", now))
        while link.waiting and link.stream is not None:
            queued_s, data = link.waiting.popleft()
            if now.mono_s - queued_s <= settings.waiting_s:
                link.stream.send(0, data)

    def _refused(self, link: Link) -> None:
        self._retry(link)
        self._site.take(LinkEvent(link.node, "refused", self._site.clock()))

    def _broke(self, link: Link) -> None:
        now = self._site.clock()
        link.stream = None
        link.broken_since = now.mono_s
        if self._links.get(link.node) is link:
            self._retry(link)
            self._site.take(LinkEvent(link.node, "down", now))

    def _retry(self, link: Link) -> None:
        settings = self._settings
        growth = 2.0 ** min(link.attempts, _MOST_GROWTH)
        pause_s = min(settings.retry_limit_s, settings.retry_first_s * growth)
        link.attempts += 1
        link.dialling = False
        link.turn += 1
        turn = link.turn
        now_s = self._site.clock().mono_s
        while link.waiting and now_s - link.waiting[0][0] > settings.waiting_s:
            link.waiting.popleft()

        def redial() -> None:
            if link.turn == turn:
                self._dial(link)

        self._site.process.after(pause_s * (0.5 + self._rng.random()), redial)


def unmoved() -> None:
    """Do nothing: some ends do not care."""


def _deaf(_: object) -> None:
    """Hear nothing: a link only carries what its own side says."""
