"""The one interface of everything that moves bytes between nodes.

A transport neither encodes nor decides: the driver hands it bytes and drains what arrived. Who
sent a packet is never read from the packet but from the key that carried it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import Address, NodeId, Sender
from qallow_agent.base.machine import Instant, Lane
from qallow_agent.base.units import Seconds

Clock = Callable[[], Instant]
"""Reads both clocks at once; called right beside each receive."""

Seal = Callable[[bytes], bytes]
"""Seals a datagram under the mesh keyring."""

Open = Callable[[bytes], tuple[NodeId, bytes]]
"""Opens a datagram to (sender, bytes) or raises PeerError."""


@dataclass(frozen=True, slots=True)
class Packet:
    """Bytes that arrived.

    Args:
        sender: Authenticated node id; ``@door/..`` for a knock; the ``reply_as`` of an answer.
        data: The bytes, within the lane's cap.
        lane: How they came. Beacons and datagrams are DATAGRAM; their sender is whoever sealed
            them, who may not be admitted (yet).
        received: Both clocks, read right after the receive.
    """

    sender: Sender
    data: bytes
    lane: Lane
    received: Instant


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """The link to an admitted node changed.

    ``up``: the handshake succeeded. ``down``: an established link broke. ``refused``: the peer's
    machine answered that nobody listens there (TCP reset or ICMP), so its process is likely gone.
    """

    node: NodeId
    kind: Literal["up", "refused", "down"]
    received: Instant


@dataclass(frozen=True, slots=True)
class KnockFailed:
    """A knock ended without an answer; ``reason`` is one clause for people."""

    reply_as: Sender
    reason: str
    received: Instant


Arrival = Packet | LinkEvent | KnockFailed


class Transport(Protocol):
    """Moves bytes between nodes; every method returns at once."""

    @property
    def contact(self) -> Contact:
        """Where others reach this transport: advertised hosts and the ports really bound."""
        ...

    def unlock(self, seal: Seal, open_sealed: Open) -> None:
        """Open the datagram lane; before this, datagrams are neither sent nor read."""
        ...

    def send(self, to: NodeId, data: bytes, lane: Lane) -> bool:
        """Send to an admitted node.

        DATAGRAM falls back to STREAM when either side has no datagram lane or the bytes do not fit.

        Returns:
            False when nothing was sent: not admitted, link broken, queue full, or too large.
        """
        ...

    def admit(self, node: NodeId, curve_key: bytes, contact: Contact) -> None:
        """Accept this key as this node and keep a link to it; again to update or to hurry."""
        ...

    def expel(self, node: NodeId, *, ban: bool) -> None:
        """Drop the link and stop accepting the node's key; with ``ban`` refuse both for ever."""
        ...

    def knock(
        self, contact: Contact, door_key: bytes, data: bytes, reply_as: Sender, timeout_s: Seconds
    ) -> None:
        """Say something at a door; one Packet from ``reply_as`` or one KnockFailed follows."""
        ...

    def reply(self, to: Sender, data: bytes) -> bool:
        """Answer a knock (``@door/..``); False when the stranger has left."""
        ...

    def broadcast(self, data: bytes, targets: Sequence[Address]) -> None:
        """Shout on loopback and every LAN interface, and send to ``host:port`` targets."""
        ...

    def pollables(self) -> tuple[int, ...]:
        """Return the file descriptors whose readability calls for :meth:`drain`; never changes."""
        ...

    def drain(self) -> list[Arrival]:
        """Return what arrived, at most a fair share; due timers run here too."""
        ...

    def next_deadline(self) -> Seconds | None:
        """Return the monotonic second at which :meth:`drain` is due without readability."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Return what was dropped or refused so far, by reason."""
        ...

    def close(self) -> None:
        """Release every socket; may wait up to the settings' ``flush_s`` for queued bytes."""
        ...
