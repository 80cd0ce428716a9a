"""The datagram lane: sealed UDP, at most one MTU, never relied upon."""

import ipaddress
import socket
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from qallow_agent.base.errors import PeerError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant, Lane
from qallow_agent.mesh.io.addresses import PORT_LIMIT, SocketAddress, fit_family
from qallow_agent.mesh.io.port import Arrival, Clock, LinkEvent, Open, Packet, Seal
from qallow_agent.mesh.io.readiness import FAIR_SHARE
from qallow_agent.mesh.io.refusals import hear_refusals, refused_addresses

# Until a peer was heard, its first few addresses each get a copy; the replay window drops doubles.
_COPIES_LIMIT = 3


@dataclass(frozen=True, slots=True)
class Sealing:
    """How datagrams are sealed and opened."""

    seal: Seal
    open_sealed: Open


class DatagramLane:
    """One UDP socket for probes, gossip and pulses with every admitted peer.

    Args:
        lane: Bound, non-blocking.
        limit_bytes: Largest sealed datagram, both ways.
        clock: Both clocks, read right after each receive.
        drops: Counts what was dropped, by reason.
    """

    def __init__(
        self, lane: socket.socket, limit_bytes: int, clock: Clock, drops: Counter[str]
    ) -> None:
        self._lane = lane
        self._family = lane.family
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._drops = drops
        self._sealing: Sealing | None = None
        self._routes: dict[NodeId, tuple[SocketAddress, ...]] = {}
        self._nodes: dict[SocketAddress, NodeId] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when datagrams wait."""
        return self._lane.fileno()

    @property
    def port(self) -> int:
        """The UDP port really bound."""
        return int(self._lane.getsockname()[1])

    def unlock(self, sealing: Sealing) -> None:
        """Start sealing and opening; before this nothing is sent or read."""
        self._sealing = sealing

    def admit(self, node: NodeId, hosts: Iterable[str], port: int) -> None:
        """Learn the literal hosts of a peer's lane; a port that is none says that it has none.

        What its own datagrams showed is forgotten.
        """
        self.expel(node)
        usable = hosts if 0 < port <= PORT_LIMIT else ()
        places = [fit_family(host, port, self._family) for host in usable]
        self._route(node, tuple(place for place in places if place)[:_COPIES_LIMIT])

    def expel(self, node: NodeId) -> None:
        """Forget where a peer's lane is."""
        for place in self._routes.pop(node, ()):
            if self._nodes.get(place) == node:
                del self._nodes[place]

    def send(self, node: NodeId, data: bytes) -> bool:
        """Seal and send to a peer; False when it has no lane, or the bytes do not fit or leave."""
        routes = self._routes.get(node)
        if not routes or self._sealing is None:
            return False
        sealed = self.seal(data)
        if sealed is None:
            return False
        left = [self._push(sealed, place) for place in routes]
        return any(left)

    def seal(self, data: bytes) -> bytes | None:
        """Return sealed bytes; None while locked or when they would not fit a datagram."""
        if self._sealing is None or len(data) > self._limit_bytes:
            return None
        sealed = self._sealing.seal(data)
        return sealed if len(sealed) <= self._limit_bytes else None

    def send_to(self, sealed: bytes, host: str, port: int) -> bool:
        """Send sealed bytes to any literal address."""
        place = fit_family(host, port, self._family)
        return place is not None and self._push(sealed, place)

    def drain(self, arrivals: list[Arrival]) -> bool:
        """Read what waits, and who refused; a readiness source."""
        for _ in range(FAIR_SHARE):
            try:
                data, source = self._lane.recvfrom(self._limit_bytes + 1)
            except BlockingIOError:
                self._refusals(arrivals)
                return False
            except OSError:  # an earlier send was refused: the error queue says by whom
                self._refusals(arrivals)
                continue
            now = self._clock()
            node = self.accept(data, now, arrivals)
            if node is not None:
                self._learn(node, (source[0], source[1]))
        return True

    def accept(self, data: bytes, now: Instant, arrivals: list[Arrival]) -> NodeId | None:
        """Open one datagram into a packet and return its sender; count it when it is no good."""
        if self._sealing is None:
            self._drops["datagram.locked"] += 1
            return None
        if len(data) > self._limit_bytes:
            self._drops["datagram.too-large"] += 1
            return None
        try:
            node, opened = self._sealing.open_sealed(data)
        except PeerError as error:
            self._drops[f"datagram.{error.code}"] += 1
            return None
        arrivals.append(Packet(node, opened, Lane.DATAGRAM, now))
        return node

    def close(self) -> None:
        """Release the socket."""
        self._lane.close()

    def _route(self, node: NodeId, places: tuple[SocketAddress, ...]) -> None:
        self._routes[node] = places
        for place in places:
            self._nodes[place] = node

    def _learn(self, node: NodeId, place: SocketAddress) -> None:
        """Send to where a peer's datagrams come from, whatever its contact says.

        Only admitted peers: their number is bounded by whoever admits.
        """
        routes = self._routes.get(node)
        if routes is None or routes == (place,):
            return
        self.expel(node)
        self._route(node, (place,))

    def _push(self, sealed: bytes, place: SocketAddress) -> bool:
        for _ in range(2):  # the first error may be an earlier datagram's refusal
            try:
                self._lane.sendto(sealed, place)
            except ConnectionRefusedError:
                continue
            except OSError as error:
                self._drops[f"datagram.unsent.{error.errno}"] += 1
                return False
            return True
        return False

    def _refusals(self, arrivals: list[Arrival]) -> None:
        for place in refused_addresses(self._lane):
            node = self._nodes.get(place)
            if node is not None:
                arrivals.append(LinkEvent(node, "refused", self._clock()))


def open_lane(bind: str, port: int, buffer_bytes: int) -> socket.socket:
    """Return a bound, non-blocking datagram socket that hears refusals.

    Raises:
        OSError: The address or port is not available.
    """
    is_v6 = ipaddress.ip_address(bind).version == 6  # noqa: PLR2004
    lane = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        lane.setblocking(False)
        if is_v6:
            lane.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        lane.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        hear_refusals(lane)
        lane.bind((bind, port))
    except OSError:
        lane.close()
        raise
    return lane
