"""Asks NTP servers now and then, in a thread of its own, and believes no answer unchecked.

``ntplib`` knows the packet; everything a lying, broken or confused server can do is judged here.
Our transmit timestamp is 64 random bits, not the time: nobody off the path can guess them, and
the request tells nobody what our clock says.
"""

import secrets
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import ntplib

from qallow_agent.base.errors import PeerError
from qallow_agent.base.machine import Instant
from qallow_agent.base.message import Message
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.facts import NtpAnswer

PORT = 123
PACKET_BYTES = 48
MAX_DISTANCE_S = 1.5
"""A server this far from its primary source is useless (RFC 5905, MAXDIST; ntpd has 1.5 s too)."""
MAX_REFERENCE_AGE_S = 86_400.0
"""A server that last set its clock more than a day ago (RFC 5905, MAXPOLL) does not follow any."""
MAX_BACKOFF = 16
"""A server that says RATE is asked up to this many times more rarely."""
_RESOLUTION_S = 2e-6
"""ntplib's seconds since 1900 as doubles come in steps of half a microsecond; four are added."""
_ERA_S = 2.0**32
"""NTP's seconds wrap in 2036; differences are folded into half an era, so that passes unnoticed."""
_UNSYNCHRONISED = 3
_SERVER_MODE = 4
_MAX_STRATUM = 15
_STOP_CODES = ("DENY", "RSTR")
"""Kisses after which a client must stop asking (RFC 5905 section 7.4)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A checked answer: the server's clock minus ours, and how far off that can be."""

    offset_s: float
    bound_s: float


@dataclass(frozen=True, slots=True)
class Kiss:
    """A kiss of death: the server answers, but not with time, and says by ``code`` why."""

    code: str


def ask(server: str, timeout_s: Seconds) -> Measured | Kiss:
    """Ask one server once.

    Args:
        server: ``host``, ``host:port`` or ``[v6]:port``.
        timeout_s: How long to wait for the answer; resolving the name comes on top.

    Raises:
        PeerError: The answer broke a rule.
        OSError: No answer came, or the server cannot be reached.
    """
    host, port = _split(server)
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    cookie = secrets.token_bytes(8)
    query = bytearray(ntplib.NTPPacket(mode=3, version=4).to_data())
    query[40:48] = cookie
    deadline_s = time.monotonic() + timeout_s
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        # Connected: the kernel drops what comes from anybody else and reports a closed port.
        channel.connect(address)
        departed_s = time.time()
        started_s = time.monotonic()
        channel.send(query)
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"no answer within {timeout_s:g} s")
            channel.settimeout(left_s)
            data = channel.recv(512)
            # Departure plus elapsed time: a step of our wall clock meanwhile cannot lie to us.
            arrived_s = departed_s + (time.monotonic() - started_s)
            if data[24:32] == cookie:
                return judge(data, departed_s, arrived_s)


def judge(data: bytes, departed_s: float, arrived_s: float) -> Measured | Kiss:
    """Check an answer whose originate timestamp is ours, and measure with it.

    The bound is the root distance: half of all round trips to the primary source, plus what the
    servers on the way say of their own error.

    Args:
        data: The datagram.
        departed_s: Our wall clock when the request left.
        arrived_s: Our wall clock when this arrived.

    Raises:
        PeerError: It breaks a rule; the message names it.

    Source: RFC 5905, sections 7.3, 7.4 and A.5.1.1 (packet sanity, kiss codes), 11.1 (distance).
    """
    if len(data) < PACKET_BYTES:
        raise PeerError(f"an answer of {len(data)} bytes is too short")
    answer = ntplib.NTPStats()
    answer.from_data(data)
    if answer.mode != _SERVER_MODE:
        raise PeerError(f"mode {answer.mode} is no server's answer")
    if answer.stratum == 0:
        return Kiss(data[12:16].decode("ascii", "replace").rstrip("\0 "))
    _check_source(answer)
    forward_s = _fold(answer.recv_timestamp - ntplib.system_to_ntp_time(departed_s))
    back_s = _fold(answer.tx_timestamp - ntplib.system_to_ntp_time(arrived_s))
    held_s = _fold(answer.tx_timestamp - answer.recv_timestamp)
    delay_s = forward_s - back_s
    if held_s < 0 or delay_s < -_RESOLUTION_S:
        raise PeerError("the answer's timestamps contradict each other")
    bound_s = (
        (max(0.0, delay_s) + answer.root_delay) / 2
        + answer.root_dispersion
        + 2.0**answer.precision
        + _RESOLUTION_S
    )
    if bound_s > MAX_DISTANCE_S:
        raise PeerError(f"the server's root distance of {bound_s:.3g} s is too large")
    return Measured((forward_s + back_s) / 2, bound_s)


def _check_source(answer: ntplib.NTPStats) -> None:
    if answer.stratum > _MAX_STRATUM or answer.leap == _UNSYNCHRONISED:
        raise PeerError(
            f"the server is not synchronised (stratum {answer.stratum}, leap {answer.leap})"
        )
    if not answer.tx_timestamp or not answer.recv_timestamp:
        raise PeerError("the answer carries no time")
    set_ago_s = _fold(answer.tx_timestamp - answer.ref_timestamp)
    if not 0 <= set_ago_s <= MAX_REFERENCE_AGE_S:
        raise PeerError(f"the server's clock was last set {set_ago_s:.0f} s ago")


class NtpSettings(Protocol):
    """The slice of the sync settings that asking needs."""

    @property
    def ntp_servers(self) -> tuple[str, ...]:
        """Servers as in :func:`ask`."""

    @property
    def ntp_period_s(self) -> Seconds:
        """How often each is asked; one that says RATE gets longer periods."""

    @property
    def ntp_timeout_s(self) -> Seconds:
        """How long one answer is awaited."""


class NtpSource:
    """Asks each server once a period in one daemon thread: a source of the driver.

    Args:
        settings: The servers (none: no thread is started), period and patience.
    """

    def __init__(self, settings: NtpSettings) -> None:
        self._servers = tuple(dict.fromkeys(settings.ntp_servers))
        self._period_s = settings.ntp_period_s
        self._timeout_s = settings.ntp_timeout_s
        # Bounded: a driver that stopped asking must not make us grow.
        self._answers: deque[NtpAnswer] = deque(maxlen=4 * max(1, len(self._servers)))
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def poll(self, now: Instant) -> list[Message]:
        """Return the answers that came since the last call, oldest first; starts on the first."""
        del now
        if self._servers and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ntp", daemon=True)
            self._thread.start()
        return [self._answers.popleft() for _ in range(len(self._answers))]

    def next_deadline(self) -> Seconds | None:
        """Return None: an answer may wait until the driver looks at the world anyway."""
        return None

    def close(self) -> None:
        """Stop asking; waits at most for the answer that is awaited just now."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(self._timeout_s + 0.5)

    def _run(self) -> None:
        plan = {server: _Plan() for server in self._servers}
        while plan:
            now_s = time.monotonic()
            for server in [name for name, turn in plan.items() if turn.due_s <= now_s]:
                kiss = self._ask(server)
                if self._closed.is_set():
                    return
                if kiss in _STOP_CODES:
                    del plan[server]
                    continue
                turn = plan[server]
                turn.factor = min(MAX_BACKOFF, turn.factor * 2) if kiss == "RATE" else 1
                turn.due_s = time.monotonic() + self._period_s * turn.factor
            soonest_s = min((turn.due_s for turn in plan.values()), default=0.0)
            if self._closed.wait(max(0.0, soonest_s - time.monotonic())):
                return

    def _ask(self, server: str) -> str:
        kiss = ""
        try:
            result = ask(server, self._timeout_s)
        except (OSError, ValueError, PeerError) as error:
            # ValueError: a name that the resolver cannot even encode (an over-long label).
            answer = NtpAnswer(server, None, None, str(error) or type(error).__name__)
        else:
            if isinstance(result, Kiss):
                kiss = result.code
                why = f"the server sent the kiss of death {kiss!r}"
                why += "; it is not asked again" if kiss in _STOP_CODES else ""
                answer = NtpAnswer(server, None, None, why)
            else:
                answer = NtpAnswer(server, result.offset_s, result.bound_s)
        self._answers.append(answer)
        return kiss


@dataclass(slots=True)
class _Plan:
    due_s: Seconds = 0.0
    factor: int = 1


def _fold(difference_s: float) -> float:
    return (difference_s + _ERA_S / 2) % _ERA_S - _ERA_S / 2


def _split(server: str) -> tuple[str, int]:
    """Return host and port of ``host``, ``host:port``, ``v6`` or ``[v6]:port``."""
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        return host, int(rest[1:]) if rest else PORT
    host, separator, port = server.partition(":")
    if not separator or ":" in port:
        return server, PORT
    return host, int(port)
