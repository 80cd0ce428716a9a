"""One attempt to reach a peer: a socket, everything known about it, and how it ended."""

import itertools
from contextlib import suppress
from enum import Enum

import zmq

from qallow_agent.base.ids import Address
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.monitor import read_event
from qallow_agent.mesh.io.readiness import FAIR_SHARE

_MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
)

# A connect that fails this fast was refused by the other machine; a silent one runs into the
# connect timeout, and an absent neighbour takes the kernel a second of ARP to notice.
_REFUSED_WITHIN_S: Seconds = 0.9

_names = itertools.count()


class Outcome(Enum):
    """How an attempt stands."""

    DIALLING = "dialling"
    UP = "up"
    REFUSED = "nobody listens there"
    REJECTED = "it does not accept our key"
    UNPROVEN = "it closed the handshake: its key is another one, or it is busy"
    SILENT = "no answer"
    DOWN = "the connection broke"


_TELLING = (Outcome.REJECTED, Outcome.UNPROVEN, Outcome.REFUSED, Outcome.SILENT)
"""When several addresses failed differently, the outcome that says most about the peer."""


class Dial:
    """A DEALER that tries some addresses at once and keeps the first that proves its key.

    Args:
        socket: Not yet connected.
        monitor: PAIR connected to the socket's monitor.
        addresses: ``host:port`` with literal IP addresses.
        started: Monotonic second of the attempt.
    """

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        monitor: "zmq.Socket[bytes]",
        addresses: tuple[Address, ...],
        started: Seconds,
    ) -> None:
        self.socket = socket
        self.monitor = monitor
        self.outcome = Outcome.DIALLING
        self._started = started
        self._pending = {f"tcp://{address}": Outcome.SILENT for address in addresses}
        self._ended: list[Outcome] = []
        self._chosen = ""

    def connect(self) -> None:
        """Start connecting to every address."""
        for endpoint in list(self._pending):
            try:
                self.socket.connect(endpoint)
            except zmq.ZMQError:
                # Not an address libzmq can use; another one may be.
                self._end(endpoint, Outcome.SILENT)

    @property
    def is_up(self) -> bool:
        """Whether bytes can be sent."""
        return self.outcome is Outcome.UP

    @property
    def is_over(self) -> bool:
        """Whether this attempt has failed or its connection broke."""
        return self.outcome not in (Outcome.DIALLING, Outcome.UP)

    def watch(self, now: Seconds) -> Outcome:
        """Take in what the monitor saw and return how the attempt stands."""
        for _ in range(FAIR_SHARE):
            try:
                frames = self.monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            event = read_event(frames)
            self._take(event.event, event.endpoint.decode(), now)
        return self.outcome

    def send(self, data: bytes) -> bool:
        """Queue bytes on the connection; False when it is not up or its queue is full."""
        if not self.is_up:
            return False
        try:
            self.socket.send(data, zmq.DONTWAIT)
        except zmq.Again:
            # A fresh connection may not have reached the socket yet: asking for its events makes
            # libzmq process what is pending, which the send may skip.
            if not int(self.socket.get(zmq.EVENTS)) & zmq.POLLOUT:
                return False
            try:
                self.socket.send(data, zmq.DONTWAIT)
            except zmq.Again:
                return False
        return True

    def close(self, linger_s: Seconds = 0.0) -> None:
        """Release both sockets; unsent bytes may leave within ``linger_s`` if the link is up."""
        with suppress(zmq.ZMQError):
            self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(int(linger_s * 1000) if self.is_up else 0)

    def _take(self, event: int, endpoint: str, now: Seconds) -> None:
        if self._chosen:
            if event == zmq.EVENT_DISCONNECTED and endpoint == self._chosen:
                self.outcome = Outcome.DOWN
        elif endpoint not in self._pending:
            return
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._choose(endpoint)
        elif event == zmq.EVENT_CONNECTED:
            self._pending[endpoint] = Outcome.UNPROVEN
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._pending[endpoint] = Outcome.REJECTED
        elif event == zmq.EVENT_CLOSED:
            quick = now - self._started < _REFUSED_WITHIN_S
            self._end(endpoint, Outcome.REFUSED if quick else Outcome.SILENT)
        elif event == zmq.EVENT_DISCONNECTED:
            self._end(endpoint, self._pending[endpoint])

    def _choose(self, endpoint: str) -> None:
        self._chosen = endpoint
        self.outcome = Outcome.UP
        for other in self._pending:
            if other != endpoint:
                with suppress(zmq.ZMQError):  # it may have ended by itself
                    self.socket.disconnect(other)

    def _end(self, endpoint: str, outcome: Outcome) -> None:
        del self._pending[endpoint]
        self._ended.append(outcome)
        if not self._pending:
            self.outcome = min(self._ended, key=_TELLING.index)


def start_dial(
    context: "zmq.Context[zmq.Socket[bytes]]",
    socket: "zmq.Socket[bytes]",
    addresses: tuple[Address, ...],
    now: Seconds,
) -> Dial:
    """Return an attempt under way from a fresh client socket.

    Raises:
        zmq.ZMQError: No descriptor is left; the socket is closed.
    """
    try:
        monitor = open_monitor(context, socket, _MONITORED)
    except zmq.ZMQError:
        socket.close(0)
        raise
    dial = Dial(socket, monitor, addresses, now)
    dial.connect()
    return dial


def open_monitor(
    context: "zmq.Context[zmq.Socket[bytes]]", socket: "zmq.Socket[bytes]", events: int
) -> "zmq.Socket[bytes]":
    """Return a PAIR that hears the chosen events of a socket, in order."""
    # pyzmq names monitors after descriptors, which are reused before the old name is free.
    name = f"inproc://qallow.monitor.{next(_names)}"
    socket.monitor(name, events)
    monitor = context.socket(zmq.PAIR)
    monitor.linger = 0
    monitor.connect(name)
    return monitor
