"""One outgoing link to every admitted peer, dialled again for ever with growing pauses."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import zmq

from qallow_agent.base.contact import Contact, join_address
from qallow_agent.base.ids import Address, Entropy, NodeId
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.dial import Dial, Outcome
from qallow_agent.mesh.io.dns_seeds import Resolver
from qallow_agent.mesh.io.port import Arrival, Clock, LinkEvent
from qallow_agent.mesh.io.readiness import Readiness
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.timetable import Timetable

StartDial = Callable[[bytes, tuple[Address, ...], int], Dial]
"""(server key, addresses, messages to receive) -> an attempt under way; may raise ZMQError."""

# A contact names at most 16 hosts; a longer list is a peer's attempt to make us look up names.
_HOSTS_LIMIT = 16
# A link that hears nothing still needs one slot each way inside libzmq.
_UNREAD_LIMIT = 2
_BACKOFF_LIMIT = 20
# Sign of life from a peer whose link is down dials at once, but not more often than this.
_HURRY_S: Seconds = 1.0


@dataclass(slots=True, eq=False)
class Link:
    """What is known of the way to one peer."""

    node: NodeId
    curve_key: bytes
    contact: Contact
    broken_since: Seconds
    dialled: Seconds = float("-inf")
    attempts: int = 0
    dial: Dial | None = None
    waiting: deque[tuple[Seconds, bytes]] = field(default_factory=deque)


class Links:
    """Keeps the links of all admitted peers alive and sends over them.

    Args:
        settings: Limits and patience.
        start_dial: Starts one attempt.
        resolver: Turns names in contacts into addresses.
        readiness: Where monitors are watched.
        clock: Both clocks.
        rng: Spreads redials, so that a crowd does not return in step.
    """

    def __init__(
        self,
        settings: TransportSettings,
        start_dial: StartDial,
        resolver: Resolver,
        readiness: Readiness,
        clock: Clock,
        rng: Entropy,
    ) -> None:
        self._settings = settings
        self._start_dial = start_dial
        self._resolver = resolver
        self._readiness = readiness
        self._clock = clock
        self._rng = rng
        self._links: dict[NodeId, Link] = {}
        self._due: Timetable[NodeId] = Timetable()

    def admit(self, node: NodeId, curve_key: bytes, contact: Contact) -> None:
        """Keep a link to a peer; a changed key or contact dials anew, the same one hurries."""
        now = self._clock().mono_s
        link = self._links.get(node)
        if link is not None and (link.curve_key, link.contact) != (curve_key, contact):
            self.expel(node)
            link = None
        if link is None:
            self._links[node] = Link(node, curve_key, contact, broken_since=now)
            self._due.set(node, now)
        elif link.dial is None:
            link.attempts = 0
            link.broken_since = now
            self._due.set(node, now)

    def expel(self, node: NodeId) -> None:
        """Close the link to a peer and forget it."""
        link = self._links.pop(node, None)
        self._due.cancel(node)
        if link is not None:
            self._hang_up(link)

    def nodes_at(self, host: str) -> list[NodeId]:
        """Return the peers whose contact names a host."""
        return [link.node for link in self._links.values() if host in link.contact.hosts]

    def contact_of(self, node: NodeId) -> Contact | None:
        """Return where a peer was last said to be; None when it is not admitted."""
        link = self._links.get(node)
        return link.contact if link else None

    def send(self, node: NodeId, data: bytes) -> bool:
        """Send over a link, or keep the bytes a short while for one being established."""
        link = self._links.get(node)
        if link is None:
            return False
        if link.dial is not None and link.dial.is_up:
            return link.dial.send(data)
        now = self._clock().mono_s
        patient = now - link.broken_since <= self._settings.waiting_s
        if not patient or len(link.waiting) >= self._settings.waiting_limit:
            return False
        link.waiting.append((now, data))
        return True

    def heard(self, node: NodeId) -> None:
        """Take any sign of life from a peer as a reason to dial its dead link now."""
        link = self._links.get(node)
        if link is None or link.dial is not None:
            return
        soon = max(self._clock().mono_s, link.dialled + _HURRY_S)
        due = self._due.when(node)
        if due is None or soon < due:
            self._due.set(node, soon)

    def name_known(self, host: str) -> None:
        """Dial the peers that waited for a name."""
        now = self._clock().mono_s
        for link in self._links.values():
            if link.dial is None and host in link.contact.hosts:
                self._due.set(link.node, now)

    def tick(self, arrivals: list[Arrival]) -> None:
        """Dial whoever is due, and give up attempts that hang."""
        now = self._clock().mono_s
        for node in self._due.pop_due(now):
            link = self._links[node]
            if link.dial is None:
                self._dial(link, now)
            elif not link.dial.is_up:
                self._ended(link, Outcome.SILENT, arrivals)

    def next_deadline(self) -> Seconds | None:
        """Return when :meth:`tick` is due."""
        return self._due.soonest()

    def close(self, linger_s: Seconds) -> None:
        """Hang up everywhere; queued bytes may leave within ``linger_s``."""
        for link in self._links.values():
            self._hang_up(link, linger_s)
        self._links.clear()

    def _dial(self, link: Link, now: Seconds) -> None:
        link.dialled = now
        addresses = resolved(
            self._resolver, link.contact.hosts, link.contact.stream, self._settings.dial_hosts_limit
        )
        if not addresses:
            self._retry(link, now)
            return
        try:
            dial = self._start_dial(link.curve_key, addresses, _UNREAD_LIMIT)
        except zmq.ZMQError as error:  # no descriptor left, or a key that is none
            self._readiness.drops[f"dial.{error.errno}"] += 1
            self._retry(link, now)
            return
        link.dial = dial
        self._readiness.watch(dial.monitor.FD, lambda arrivals: self._watch(link, dial, arrivals))
        patience_s = self._settings.connect_timeout_s + self._settings.handshake_timeout_s
        self._due.set(link.node, now + patience_s)

    def _watch(self, link: Link, dial: Dial, arrivals: list[Arrival]) -> bool:
        was_up = dial.is_up
        outcome = dial.watch(self._clock().mono_s)
        if outcome is Outcome.UP and not was_up:
            self._established(link, dial, arrivals)
        elif dial.is_over:
            if outcome is Outcome.DOWN and not was_up:
                # Up and down again within one reading.
                self._established(link, dial, arrivals)
            self._ended(link, outcome, arrivals)
        return False

    def _established(self, link: Link, dial: Dial, arrivals: list[Arrival]) -> None:
        now = self._clock()
        self._due.cancel(link.node)
        link.attempts = 0
        arrivals.append(LinkEvent(link.node, "up", now))
        while link.waiting:
            queued, data = link.waiting.popleft()
            if now.mono_s - queued <= self._settings.waiting_s:
                dial.send(data)

    def _ended(self, link: Link, outcome: Outcome, arrivals: list[Arrival]) -> None:
        now = self._clock()
        if outcome is Outcome.DOWN:
            link.broken_since = now.mono_s
            arrivals.append(LinkEvent(link.node, "down", now))
        elif outcome is Outcome.REFUSED:
            arrivals.append(LinkEvent(link.node, "refused", now))
        self._hang_up(link)
        self._retry(link, now.mono_s)

    def _retry(self, link: Link, now: Seconds) -> None:
        growth = 2.0 ** min(link.attempts, _BACKOFF_LIMIT)
        pause_s = min(self._settings.retry_limit_s, self._settings.retry_first_s * growth)
        link.attempts += 1
        while link.waiting and now - link.waiting[0][0] > self._settings.waiting_s:
            link.waiting.popleft()
        self._due.set(link.node, now + pause_s * (0.5 + self._rng.random()))

    def _hang_up(self, link: Link, linger_s: Seconds = 0.0) -> None:
        if link.dial is not None:
            self._readiness.forget(link.dial.monitor.FD)
            link.dial.close(linger_s)
            link.dial = None


def resolved(
    resolver: Resolver, hosts: Sequence[str], port: int, limit: int
) -> tuple[Address, ...]:
    """Return ``host:port`` of every address known for some hosts, at most ``limit``."""
    literal = dict.fromkeys(item for host in hosts[:_HOSTS_LIMIT] for item in resolver.hosts(host))
    return tuple(join_address(host, port) for host in list(literal)[:limit])
