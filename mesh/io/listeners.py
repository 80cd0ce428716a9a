"""Sockets that listen: packets from a ROUTER, and how many stand at the door."""

from collections import Counter
from collections.abc import Callable

import zmq

from qallow_agent.base.ids import Sender
from qallow_agent.base.machine import Lane
from qallow_agent.mesh.io.monitor import read_event
from qallow_agent.mesh.io.port import Arrival, Clock, Packet
from qallow_agent.mesh.io.readiness import FAIR_SHARE

SenderOf = Callable[[bytes, str], Sender | None]
"""(routing id, CURVE key in hex as the ZAP handler attested it) -> sender, None if unwelcome."""

_FRAMES = 2  # routing id, data


class Listener:
    """Turns what a ROUTER receives into packets.

    Args:
        socket: Bound.
        limit_bytes: Longer data is dropped.
        sender_of: Names the sender from what the handshake proved, never from the bytes.
        clock: Both clocks, read right after each receive.
        drops: Counts what was dropped, by reason.
    """

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        limit_bytes: int,
        sender_of: SenderOf,
        clock: Clock,
        drops: Counter[str],
    ) -> None:
        self._socket = socket
        self._limit_bytes = limit_bytes
        self._sender_of = sender_of
        self._clock = clock
        self._drops = drops

    def drain(self, arrivals: list[Arrival]) -> bool:
        """Read what waits; a readiness source."""
        for _ in range(FAIR_SHARE):
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return False
            now = self._clock()
            if len(frames) != _FRAMES:
                self._drops["stream.malformed"] += 1
                continue
            routing_id, body = frames
            if len(body) > self._limit_bytes:
                self._drops["stream.too-large"] += 1
                continue
            sender = self._sender_of(routing_id.bytes, str(body.get("User-Id")))
            if sender is None:
                self._drops["stream.stranger"] += 1
                continue
            arrivals.append(Packet(sender, body.bytes, Lane.STREAM, now))
        return True


class Crowd:
    """Counts the open connections of a listening socket through its monitor."""

    EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED

    def __init__(self, monitor: "zmq.Socket[bytes]") -> None:
        self._monitor = monitor
        self._open: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def drain(self, _arrivals: list[Arrival]) -> bool:
        """Take in who came and left; a readiness source."""
        for _ in range(FAIR_SHARE):
            try:
                event = read_event(self._monitor.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                return False
            if event.event == zmq.EVENT_ACCEPTED:
                self._open[event.value] = None
            else:
                self._open.pop(event.value, None)
        return True
