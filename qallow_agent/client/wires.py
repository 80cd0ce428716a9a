"""Wires: the connections to runners, one a lease, each watched for its end by a socket monitor."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import zmq
from msgspec import structs

from qallow_agent.base.contact import join_address
from qallow_agent.base.errors import Malformed, WireError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import CurveKey, z85
from qallow_agent.base.units import Seconds
from qallow_agent.client.freight import Depot, Freight
from qallow_agent.jobs.manifest import Manifest, Parts
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.parcels import (
    SMALL_BYTES,
    Forget,
    Header,
    ResultParcel,
    TaskHead,
    TaskParcel,
    pack,
    unpack_header,
)
from qallow_agent.mesh.io.monitor import read_event

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

_MOST_HOSTS: Final = 8
_CONNECT_MS: Final = 3_000
_HANDSHAKE_MS: Final = 5_000
DIAL_S: Final = 8.0
"""A little more than connecting and shaking hands may take one after the other."""

_NEVER_MS: Final = 3_600_000
"""A runner that is gone stays gone: its port may belong to anybody next. -1 would say so plainly,
but then libzmq throws away what had arrived and was not read yet."""

_HEARTBEAT_MS: Final = 2_000
_SILENCE_MS: Final = 8_000
"""A machine that loses its power says no goodbye; the mesh's own failure detector is about as
fast, so this is only the second opinion."""

_MOST_FRAME_BYTES: Final = 2 << 30
_MOST_SOCKETS: Final = 8_192
_MOST_PARCELS: Final = 64

_GOOD: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED
_BAD: Final = (
    zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Listener(Protocol):
    """Who uses a wire."""

    def wire_up(self, wire: "Wire") -> None:
        """Note that it carries tasks from now on."""
        ...

    def wire_down(self, wire: "Wire", reason: str) -> None:
        """Note that it is gone for good."""
        ...

    def wire_parcel(self, wire: "Wire", header: Header, parts: Sequence[Parts]) -> None:
        """Take in what the runner said, with the arrays of each result."""
        ...

    def wire_nonsense(self, wire: "Wire", error: WireError) -> None:
        """Note that the runner breaks the protocol."""
        ...


@dataclass(slots=True)
class _Line:
    """One address being tried: a socket that connects once, and its monitor."""

    socket: Socket
    monitor: Socket
    address: str

    def close(self) -> None:
        """Close both; nothing lingers."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)


class Exchange:
    """Makes wires, and knows which socket's readiness is whose business.

    Args:
        key: The CURVE key of this session, which leases name.
        here: The agent's node: its runners are on this machine.
    """

    def __init__(self, key: CurveKey, here: NodeId) -> None:
        self._secret = z85(key.secret)
        self._public = z85(key.public)
        self._here = here
        self._context: Context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, _MOST_SOCKETS)
        self._monitors = 0
        self._wires: dict[Wire, None] = {}
        self.depot = Depot()
        self.poller = zmq.Poller()
        self.readers: dict[Any, Callable[[], None]] = {}

    def watch(self, source: Any, reader: Callable[[], None]) -> None:
        """Call ``reader`` whenever a socket or descriptor can be read."""
        self.poller.register(source, zmq.POLLIN)
        self.readers[source] = reader

    def forget(self, source: Any) -> None:
        """Stop watching."""
        if self.readers.pop(source, None) is not None:
            self.poller.unregister(source)

    def dial(self, lease: Lease, listener: Listener, now: Seconds) -> "Wire":
        """Connect to a lease's runner at all of its addresses at once; the first to answer wins."""
        hosts = list(dict.fromkeys(lease.hosts))
        if lease.node == self._here and "127.0.0.1" not in hosts:
            hosts.insert(0, "127.0.0.1")
        wire = Wire(self, lease, listener, hosts[:_MOST_HOSTS], now)
        self._wires[wire] = None
        return wire

    def leave(self, wire: "Wire") -> None:
        """Note that a wire is closed."""
        self._wires.pop(wire, None)

    def tidy(self, now: Seconds) -> None:
        """Give back shared memory that was not used for a while."""
        gone = self.depot.pool.tidy(now)
        if gone:
            for wire in self._wires:
                wire.forget(gone)

    def open(self, lease: Lease, host: str) -> _Line:
        """Return a socket on its way to one address.

        Raises:
            zmq.ZMQError: The address is none, or there are no sockets left.
        """
        line = self._prepare(lease, join_address(host, lease.port))
        try:
            line.socket.ipv6 = ":" in host
            line.socket.connect(f"tcp://{line.address}")
        except zmq.ZMQError:
            line.close()
            raise
        return line

    def _prepare(self, lease: Lease, address: str) -> _Line:
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.curve_secretkey = self._secret
        socket.curve_publickey = self._public
        socket.curve_serverkey = z85(lease.runner_key)
        socket.reconnect_ivl = _NEVER_MS
        socket.connect_timeout = _CONNECT_MS
        socket.handshake_ivl = _HANDSHAKE_MS
        socket.heartbeat_ivl = _HEARTBEAT_MS
        socket.heartbeat_timeout = socket.heartbeat_ttl = _SILENCE_MS
        socket.maxmsgsize = _MOST_FRAME_BYTES
        socket.sndhwm = socket.rcvhwm = 0  # credits bound what is in flight
        self._monitors += 1
        monitor = socket.get_monitor_socket(_GOOD | _BAD, f"inproc://monitor-{self._monitors}")
        monitor.linger = 0
        return _Line(socket, monitor, address)

    def close(self) -> None:
        """Close every socket; nothing lingers."""
        self.readers.clear()
        self.depot.pool.close()
        self._context.destroy(linger=0)


class Wire:
    """The way to one lease's runner.

    Args:
        exchange: Makes its sockets.
        lease: Whose runner it leads to.
        listener: Told of everything that happens.
        hosts: Where the runner may be.
        now: Monotonic seconds.
    """

    def __init__(
        self,
        exchange: Exchange,
        lease: Lease,
        listener: Listener,
        hosts: Sequence[str],
        now: Seconds,
    ) -> None:
        self.lease = lease
        self.label = f"{lease.node_name}/{lease.device}"
        self.dial_until_s: Seconds | None = now + DIAL_S
        self.silent_s: Seconds | None = None
        """Since when the connection is down, while the reason is still awaited."""
        self.flights: dict[int, int] = {}
        """Points of the tasks it was sent and has not answered, by number."""
        self.every = 0
        """Ticks between the states of long runs that the runner shall tell; 0 leaves it to it."""
        self._exchange = exchange
        self._listener = listener
        self._lines: list[_Line] = []
        self._live: _Line | None = None
        self._why: list[str] = []
        self._freight = Freight(lease, exchange.depot, self._post)
        for host in hosts:
            self._try(host)

    @property
    def hopeless(self) -> str:
        """Why no address can be reached; empty while one may."""
        return "" if self._lines else "; ".join(self._why) or "it has no address"

    def send(self, tasks: tuple[TaskHead, ...], buffers: list[Any]) -> None:
        """Send tasks and their arrays, which are not copied; lost when the runner is gone."""
        if self._live is None:
            return
        self.flights.update([(task.number, task.points) for task in tasks])
        if buffers:
            tasks, buffers = self._freight.load(tasks, buffers)
        self._post(TaskParcel(self.lease.id, tasks), buffers)

    def forget(self, names: list[bytes]) -> None:
        """Tell the runner that some shared memory is gone."""
        told = self._freight.forgotten(names)
        if told:
            self._post(Forget(self.lease.id, told), ())

    def _post(self, header: Header, frames: Sequence[Any]) -> None:
        if self._live is None:
            return
        if self.every and isinstance(header, TaskParcel):
            header = structs.replace(header, every=self.every)
        packed = pack(header)
        try:
            if frames:
                self._live.socket.send_multipart([packed, *frames], zmq.NOBLOCK, copy=False)
            else:
                self._live.socket.send(packed, zmq.NOBLOCK)
        except zmq.ZMQError:
            return  # its monitor is about to tell that it is down

    def close(self) -> None:
        """Close all of it; the listener is not told."""
        for line in self._lines:
            self._drop(line)
        self._lines = []
        self._live = None
        self._freight.close()
        self._exchange.leave(self)

    def _try(self, host: str) -> None:
        try:
            line = self._exchange.open(self.lease, host)
        except zmq.ZMQError as error:
            self._why.append(f"{host}: {error}")
            return
        self._lines.append(line)
        self._exchange.watch(line.monitor, lambda: self._hear(line))

    def _drop(self, line: _Line) -> None:
        self._exchange.forget(line.monitor)
        self._exchange.forget(line.socket)
        line.close()

    def _hear(self, line: _Line) -> None:
        """Take in what a monitor says of its socket."""
        while line in self._lines:
            try:
                frames = line.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event, value, _ = read_event(frames)
            if event == _GOOD:
                self._choose(line)
            else:
                self._lose(line, event, value)

    def _choose(self, line: _Line) -> None:
        if self._live is not None:
            return
        for other in self._lines:
            if other is not line:
                self._drop(other)
        self._lines = [line]
        self._live = line
        self.dial_until_s = None
        self._exchange.watch(line.socket, lambda: self._read(line))
        self._listener.wire_up(self)

    def _lose(self, line: _Line, event: int, value: int) -> None:
        if line is self._live:
            self._read(line)  # what it said before it went
            if line is not self._live:
                return
            self._live = None
        self._lines.remove(line)
        self._drop(line)
        refused = event in {zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL}
        what = f"refuses us ({value})" if refused else "closed the connection"
        if event == zmq.EVENT_CLOSED:
            what = "does not answer"
        self._why.append(f"{line.address} {what}")
        if not self._lines:
            self._listener.wire_down(self, self.hopeless)

    def _read(self, line: _Line) -> None:
        """Take in the parcels that have arrived, not so many that others starve."""
        for _ in range(_MOST_PARCELS):
            if line is not self._live:
                return
            try:
                first = line.socket.recv(zmq.NOBLOCK)
            except zmq.ZMQError:
                return
            try:
                self._take(line.socket, unpack_header(first))
            except WireError as error:
                self._listener.wire_nonsense(self, error)
                return

    def _take(self, socket: Socket, header: Header) -> None:
        manifest = Manifest(header)
        frames = _receive(socket, manifest.sizes)
        freight = self._freight
        now = time.monotonic()
        if freight.hear(header, frames, now):
            return
        parts = manifest.parts(frames, lambda head: freight.find(head, now))
        if isinstance(header, ResultParcel):
            last = header.results[-1].number if header.results else 0
            freight.answered(header.results, parts, self.flights.get(last, 1))
        self._listener.wire_parcel(self, header, parts)


def _receive(socket: Socket, sizes: Sequence[int]) -> list[Any]:
    """Return the raw frames that a header announces, each checked.

    Counting frames by the header costs a seventh of asking after each whether one more follows.

    Raises:
        Malformed: More or fewer frames than announced, or other lengths.
    """
    frames: list[Any] = []
    for size in sizes:
        try:
            frame = socket.recv(zmq.NOBLOCK, size < SMALL_BYTES)
        except zmq.ZMQError as error:
            raise Malformed(f"{len(sizes)} frames are announced, {len(frames)} came") from error
        if len(frame) != size:
            raise Malformed(f"a frame of {len(frame)} bytes where {size} were announced")
        frames.append(frame if isinstance(frame, bytes) else frame.buffer)
    if socket.getsockopt(zmq.RCVMORE):
        raise Malformed(f"more frames than the {len(frames)} announced")
    return frames
