"""Beacons: one sealed datagram on every network this machine is in, and on loopback.

Several agents on one machine hear each other because multicast and broadcast reach every socket
that shares the port by SO_REUSEADDR; loopback works with no network at all.
"""

import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.addresses import LOOPBACK, Interface, ipv4_interfaces
from qallow_agent.mesh.io.port import Arrival, Clock
from qallow_agent.mesh.io.readiness import FAIR_SHARE

Accept = Callable[[bytes, Instant, list[Arrival]], NodeId | None]
"""Opens one datagram into a packet."""

_INTERFACES_REFRESH_S: Seconds = 30.0


class BeaconPost:
    """Shouts on every network and hears the shouts of others.

    Args:
        ear: Bound to the beacon port on every address.
        mouth: Unbound; sends.
        group: Multicast group.
        port: Beacon port.
        loopback_only: Keep to this machine.
        limit_bytes: Largest datagram read.
        accept: Opens what was heard.
        clock: Both clocks.
        drops: Counts what could not be sent.
    """

    def __init__(  # noqa: PLR0913 - built in one place, each part plain
        self,
        ear: socket.socket,
        mouth: socket.socket,
        *,
        group: str,
        port: int,
        loopback_only: bool,
        limit_bytes: int,
        accept: Accept,
        clock: Clock,
        drops: Counter[str],
    ) -> None:
        self._ear = ear
        self._mouth = mouth
        self._group = group
        self._port = port
        self._loopback_only = loopback_only
        self._limit_bytes = limit_bytes
        self._accept = accept
        self._clock = clock
        self._drops = drops
        self._interfaces: tuple[Interface, ...] = ()
        self._refreshed: Seconds | None = None

    def fileno(self) -> int:
        """Return the descriptor that is readable when beacons wait."""
        return self._ear.fileno()

    def refresh(self, now: Seconds) -> None:
        """Join the group on interfaces that appeared since the last look."""
        if self._refreshed is not None and now - self._refreshed < _INTERFACES_REFRESH_S:
            return
        self._refreshed = now
        found = ipv4_interfaces()
        if self._loopback_only:
            found = tuple(item for item in found if item.address == LOOPBACK)
        for interface in found:
            membership = socket.inet_aton(self._group) + socket.inet_aton(interface.address)
            with suppress(OSError):  # joined already, or an interface without multicast
                self._ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        self._interfaces = found

    def shout(self, sealed: bytes) -> None:
        """Send sealed bytes to the group and the broadcast address of every interface."""
        self.refresh(self._clock().mono_s)
        for interface in self._interfaces:
            address = socket.inet_aton(interface.address)
            with suppress(OSError):  # the address went away; the next refresh sees it
                self._mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, address)
                self._mouth.sendto(sealed, (self._group, self._port))
            if interface.broadcast is None:
                continue
            try:
                self._mouth.sendto(sealed, (interface.broadcast, self._port))
            except OSError as error:
                self._drops[f"beacon.unsent.{error.errno}"] += 1

    def drain(self, arrivals: list[Arrival]) -> bool:
        """Read what was heard; a readiness source."""
        for _ in range(FAIR_SHARE):
            try:
                data = self._ear.recv(self._limit_bytes + 1)
            except BlockingIOError:
                return False
            self._accept(data, self._clock(), arrivals)
        return True

    def close(self) -> None:
        """Release both sockets."""
        self._ear.close()
        self._mouth.close()


def open_ear(port: int) -> socket.socket:
    """Return the listening socket, sharing its port with every agent of this machine.

    Raises:
        OSError: Somebody holds the port alone.
    """
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        ear.setblocking(False)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux":  # BSDs share multicast ports by this option instead
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ear.bind(("", port))
    except OSError:
        ear.close()
        raise
    return ear


def open_mouth() -> socket.socket:
    """Return the sending socket: broadcast allowed, multicast heard here and one hop far."""
    mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mouth.setblocking(False)
    mouth.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("b", 1))
    mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, struct.pack("b", 1))
    return mouth
