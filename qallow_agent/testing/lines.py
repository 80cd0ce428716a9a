"""The lines of a virtual client: one stream to the runner of each lease it was granted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from qallow_agent.base.contact import join_address
from qallow_agent.base.ids import LeaseId
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.manifest import unpack
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.parcels import Header, LeaseUnknown, ResultParcel, pack
from qallow_agent.testing.links import unmoved
from qallow_agent.testing.network import Network, Side, Stream
from qallow_agent.testing.timeline import Process

PATIENCE_S: Seconds = 5.0
"""How long a stream may make no progress: ZeroMQ's heartbeats find out."""
DIAL_S: Seconds = 2.0
GRACE_S: Seconds = 1.0
"""A runner that dies breaks its streams before its bench can say which task killed it."""
_FLIGHTS = 4
"""One-way trips of a handshake, about."""


@dataclass(frozen=True, slots=True)
class Fates:
    """What becomes of lines.

    Args:
        up: A runner is connected.
        broken: A runner cannot be used: its lease, how that lease ends, and why.
        results: A runner has answered.
    """

    up: Callable[[Lease], None]
    broken: Callable[[LeaseId, LeaseEnd, str], None]
    results: Callable[[ResultParcel], None]


@dataclass(slots=True)
class _Line:
    lease: Lease
    stream: Stream | None = None


class Lines:
    """Connects to runners and talks to them.

    Args:
        network: The wires.
        host: Where the client runs.
        process: The client's.
        key: The CURVE key it shows.
        fates: Told what becomes of lines.
    """

    def __init__(
        self, network: Network, host: str, process: Process, key: bytes, fates: Fates
    ) -> None:
        self._network = network
        self._host = host
        self._process = process
        self._key = key
        self._fates = fates
        self._lines: dict[LeaseId, _Line] = {}

    def grant(self, lease: Lease) -> None:
        """Connect to the runner of a lease."""
        if lease.id in self._lines:
            return
        line = self._lines[lease.id] = _Line(lease)
        dial_s = sum(self._network.flight_s() for _ in range(_FLIGHTS))
        self._process.after(dial_s, partial(self._dialled, line))
        self._process.after(DIAL_S, partial(self._too_long, line))

    def send(self, lease: LeaseId, header: Header) -> None:
        """Send a parcel without arrays."""
        stream = self._lines[lease].stream
        if stream is not None:
            stream.send(0, (pack(header),))

    def drop(self, lease: LeaseId) -> None:
        """Hang up and forget a line."""
        line = self._lines.pop(lease, None)
        if line is not None and line.stream is not None:
            line.stream.close(0)

    def close(self) -> None:
        """Hang up everywhere."""
        for lease in list(self._lines):
            self.drop(lease)

    def _dialled(self, line: _Line) -> None:
        lease = line.lease
        there = lease.hosts[0]
        if self._lines.get(lease.id) is not line or not self._network.both(self._host, there):
            return
        runner = self._network.runners.get(join_address(there, lease.port))
        if runner is None or not runner.lets_in(self._key):
            self._await_verdict(lease.id, "its runner is gone")
            return
        broke = partial(self._await_verdict, lease.id, "the connection to its runner broke")
        near = Side(self._host, self._process, partial(self._heard, lease.id), broke)

        def hear(frames: tuple[bytes, ...]) -> None:
            if line.stream is not None:
                runner.hear(line.stream, self._key, frames)

        far = Side(there, runner.process, hear, unmoved)
        line.stream = self._network.connect(near, far, PATIENCE_S)
        self._fates.up(lease)

    def _too_long(self, line: _Line) -> None:
        if self._lines.get(line.lease.id) is line and line.stream is None:
            self._fates.broken(line.lease.id, LeaseEnd.BROKEN, "its runner cannot be reached")

    def _await_verdict(self, lease: LeaseId, reason: str) -> None:
        """Wait for the bench to say who is to blame, and complain only when nobody does."""

        def complain() -> None:
            if lease in self._lines:
                self._fates.broken(lease, LeaseEnd.BROKEN, reason)

        self._process.after(GRACE_S, complain)

    def _heard(self, lease: LeaseId, frames: Sequence[bytes]) -> None:
        header = unpack(frames)
        if isinstance(header, ResultParcel):
            self._fates.results(header)
        elif isinstance(header, LeaseUnknown):
            self._fates.broken(lease, LeaseEnd.UNKNOWN, "its runner does not know the lease")
