"""Speaking to doors: one question, one answer, one deadline."""

import itertools
from collections import deque
from dataclasses import dataclass

import zmq

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import Address, Sender
from qallow_agent.base.machine import Lane
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.dial import Dial, Outcome
from qallow_agent.mesh.io.dns_seeds import Resolver
from qallow_agent.mesh.io.links import StartDial, resolved
from qallow_agent.mesh.io.port import Arrival, Clock, KnockFailed, Packet
from qallow_agent.mesh.io.readiness import Readiness
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.timetable import Timetable

_ANSWERS_LIMIT = 2
_QUEUE_LIMIT = 1024


@dataclass(slots=True, eq=False)
class _Knock:
    number: int
    contact: Contact
    door_key: bytes
    data: bytes
    reply_as: Sender
    deadline: Seconds
    dial: Dial | None = None
    said: bool = False


class Knocks:
    """Every knock under way; those beyond the limit wait their turn within their deadline."""

    def __init__(
        self,
        settings: TransportSettings,
        start_dial: StartDial,
        resolver: Resolver,
        readiness: Readiness,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._start_dial = start_dial
        self._resolver = resolver
        self._readiness = readiness
        self._clock = clock
        self._knocks: dict[int, _Knock] = {}
        self._turn: deque[int] = deque()
        self._dialling = 0
        self._due: Timetable[int] = Timetable()
        self._numbers = itertools.count()
        self._failed: list[Arrival] = []

    def knock(
        self, contact: Contact, door_key: bytes, data: bytes, reply_as: Sender, timeout_s: Seconds
    ) -> None:
        """Start a knock, or queue it; exactly one arrival follows."""
        now = self._clock()
        if len(self._knocks) >= _QUEUE_LIMIT:
            self._failed.append(KnockFailed(reply_as, "too many knocks are under way", now))
            return
        number = next(self._numbers)
        knock = _Knock(number, contact, door_key, data, reply_as, now.mono_s + timeout_s)
        self._knocks[number] = knock
        self._due.set(number, knock.deadline)
        self._turn.append(number)
        self._next()

    def tick(self, arrivals: list[Arrival]) -> None:
        """Fail the knocks whose deadline has passed."""
        now = self._clock()
        for number in self._due.pop_due(now.mono_s):
            knock = self._knocks[number]
            self._fail(knock, self._late_reason(knock), arrivals)
        arrivals += self._failed
        self._failed.clear()

    def next_deadline(self) -> Seconds | None:
        """Return when :meth:`tick` is due."""
        return 0.0 if self._failed else self._due.soonest()

    def name_known(self, _host: str) -> None:
        """Try the knocks again that waited for a name."""
        for number, knock in self._knocks.items():
            if knock.dial is None and number not in self._turn:
                self._turn.append(number)
        self._next()

    def close(self) -> None:
        """Drop every knock unanswered."""
        self._turn.clear()
        for knock in list(self._knocks.values()):
            self._forget(knock)

    def _next(self) -> None:
        for _ in range(len(self._turn)):
            if self._dialling >= self._settings.knocks_limit:
                return
            knock = self._knocks.get(self._turn.popleft())
            if knock is None or knock.dial is not None:
                continue
            addresses = resolved(
                self._resolver,
                knock.contact.hosts,
                knock.contact.door,
                self._settings.dial_hosts_limit,
            )
            if addresses:
                self._start(knock, addresses)

    def _start(self, knock: _Knock, addresses: tuple[Address, ...]) -> None:
        try:
            dial = self._start_dial(knock.door_key, addresses, _ANSWERS_LIMIT)
        except zmq.ZMQError as error:  # no descriptor left, or a key that is none
            self._fail(knock, str(error), self._failed)
            return
        knock.dial = dial
        self._dialling += 1
        self._readiness.watch(dial.monitor.FD, lambda out: self._watch(knock, dial, out))
        self._readiness.watch(dial.socket.FD, lambda out: self._listen(knock, dial, out))

    def _watch(self, knock: _Knock, dial: Dial, arrivals: list[Arrival]) -> bool:
        outcome = dial.watch(self._clock().mono_s)
        if dial.is_up and not knock.said:
            knock.said = dial.send(knock.data)
            self._readiness.stir(dial.socket.FD)
        elif dial.is_over:
            # The answer may have come just before the door closed.
            self._listen(knock, dial, arrivals)
            if knock.number in self._knocks:
                self._fail(knock, outcome.value, arrivals)
        return False

    def _listen(self, knock: _Knock, dial: Dial, arrivals: list[Arrival]) -> bool:
        try:
            frames = dial.socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return False
        now = self._clock()
        self._forget(knock)
        if len(frames) == 1 and len(frames[0]) <= self._settings.message_limit_bytes:
            arrivals.append(Packet(knock.reply_as, frames[0], Lane.STREAM, now))
        else:
            arrivals.append(KnockFailed(knock.reply_as, "the answer is malformed", now))
        return False

    def _fail(self, knock: _Knock, why: str, arrivals: list[Arrival]) -> None:
        self._forget(knock)
        places = ", ".join(knock.contact.addresses(knock.contact.door)) or "no address"
        arrivals.append(KnockFailed(knock.reply_as, f"{places}: {why}", self._clock()))

    def _late_reason(self, knock: _Knock) -> str:
        if knock.said:
            return "connected, but no answer in time"
        if knock.dial is None:
            return "its name was not resolved in time, or too many knocks were waiting"
        return Outcome.SILENT.value

    def _forget(self, knock: _Knock) -> None:
        del self._knocks[knock.number]
        self._due.cancel(knock.number)
        if knock.dial is not None:
            self._readiness.forget(knock.dial.monitor.FD)
            self._readiness.forget(knock.dial.socket.FD)
            knock.dial.close()
            self._dialling -= 1
            knock.dial = None
            self._next()
