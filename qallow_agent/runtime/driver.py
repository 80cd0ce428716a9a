"""The shell around the node: one loop that waits, delivers what arrived and does what is said.

Order is the contract: the effects of a step are executed one by one, and a Persist or Append is on
disk before any later Send or Reply leaves. When the disk refuses, what depended on it is not said:
later sends of the step are dropped and later replies become the storage error.
"""

import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import zmq

from qallow_agent.base.errors import QallowError, StorageError
from qallow_agent.base.ids import OPERATOR, SENSORS, STORE, Sender, is_local
from qallow_agent.base.machine import (
    Admit,
    Append,
    Broadcast,
    Effect,
    Expel,
    Instant,
    Knock,
    Machine,
    Persist,
    Reply,
    Send,
    Shutdown,
    Start,
    Stop,
)
from qallow_agent.base.message import Message, failure
from qallow_agent.base.notice import Notice
from qallow_agent.ledger.messages import LogFailed, LogKept
from qallow_agent.mesh.io.port import Arrival, Transport
from qallow_agent.node.commands import StopAgent, StoreState
from qallow_agent.node.post import Post, instead
from qallow_agent.runtime.control import ControlServer
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.mirrors import Mirrors
from qallow_agent.runtime.sensing.lateness import Lateness
from qallow_agent.runtime.store import StateStore
from qallow_agent.runtime.yard import RunnerYard

MAX_WAIT_S = 1.0
"""The loop looks at the world at least this often, whatever the deadlines say."""

_REPLIES_TO_CONTROL = "@control/"
_REPLIES_TO_DOOR = "@door/"


class Source(Protocol):
    """A background reader of the world (sensors, NTP) that hands over messages in the loop."""

    def poll(self, now: Instant) -> Iterable[Message]:
        """Return what there is to tell; never blocks."""
        ...

    def next_deadline(self) -> float | None:
        """Return the monotonic second at which to ask again."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """Everything around a node.

    Args:
        post: Encodes and judges letters.
        transport: The mesh sockets.
        yard: The runner processes.
        control: The control socket.
        store: Durable bytes.
        logbook: The node's own log.
        mirrors: Other nodes' logs.
        sources: Readers of the world.
        say: Takes every notice.
        clock: Reads both time axes.
        lateness: Told how late timed waits end.
    """

    post: Post
    transport: Transport
    yard: RunnerYard
    control: ControlServer
    store: StateStore
    logbook: Logbook
    mirrors: Mirrors
    sources: tuple[Source, ...]
    say: Callable[[Notice], None]
    clock: Callable[[], Instant]
    lateness: Lateness = field(default_factory=Lateness)


class Driver:
    """Runs one node until it says Shutdown.

    Args:
        node: The machine that decides.
        world: What it may touch.
    """

    def __init__(self, node: Machine, world: World) -> None:
        self._node = node
        self._post = world.post
        self._transport = world.transport
        self._yard = world.yard
        self._control = world.control
        self._store = world.store
        self._logbook = world.logbook
        self._mirrors = world.mirrors
        self._sources = world.sources
        self._say = world.say
        self._clock = world.clock
        self._lateness = world.lateness
        self._poller = zmq.Poller()
        self._watched: dict[object, int] = {}
        self._stopping: str | None = None
        self._trouble = ""
        self._alarm, self._bell = socket.socketpair()

    def run(self) -> str:
        """Run the loop and return why it stopped."""
        self._catch_signals()
        self._poller.register(self._alarm, zmq.POLLIN)
        try:
            while self._stopping is None:
                now = self._clock()
                self._do(self._node.tick(now))
                self._ask_sources()
                self._watch()
                ready = dict(self._pause(self._wait_ms()))
                self._serve(ready)
        finally:
            signal.set_wakeup_fd(-1)  # a second signal must not ring a bell that is gone
            self._alarm.close()
            self._bell.close()
        return self._stopping

    def _catch_signals(self) -> None:
        self._alarm.setblocking(False)
        self._bell.setblocking(False)
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def _hear_alarm(self) -> None:
        for number in self._alarm.recv(64):
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._deliver(OPERATOR, StopAgent(now=number == signal.SIGINT))

    def _pause(self, wait_ms: int) -> Iterable[tuple[object, int]]:
        """Wait for something to arrive; note by how much a wait that nothing ended overran."""
        began_s = self._clock().mono_s
        ready = self._poller.poll(wait_ms)
        if wait_ms and not ready:
            now_s = self._clock().mono_s
            self._lateness.note(now_s, now_s - began_s - wait_ms / 1000)
        return ready

    def _wait_ms(self) -> int:
        now_s = self._clock().mono_s
        deadlines = [
            self._node.next_deadline(),
            self._transport.next_deadline(),
            self._yard.next_deadline(),
            *(source.next_deadline() for source in self._sources),
        ]
        soonest_s = min(
            (item for item in deadlines if item is not None), default=now_s + MAX_WAIT_S
        )
        wait_s = min(max(soonest_s - now_s, 0.0), MAX_WAIT_S)
        return 0 if wait_s <= 0 else max(1, round(wait_s * 1000))

    def _watch(self) -> None:
        wanted: dict[object, int] = dict.fromkeys(self._transport.pollables(), zmq.POLLIN)
        wanted |= dict.fromkeys(self._yard.pollables(), zmq.POLLIN)
        for descriptor, writes in self._control.interest().items():
            wanted[descriptor] = zmq.POLLIN | (zmq.POLLOUT if writes else 0)
        for gone in self._watched.keys() - wanted.keys():
            self._poller.unregister(gone)
        for item, flags in wanted.items():
            if self._watched.get(item) != flags:
                self._poller.register(item, flags)
        self._watched = wanted

    def _serve(self, ready: dict[object, int]) -> None:
        if self._alarm.fileno() in ready:
            self._hear_alarm()
        for event in self._transport.drain():
            self._take(event)
        for sender, message in self._yard.drain():
            self._deliver(sender, message)
        for descriptor in self._control.interest():
            if descriptor in ready:
                for sender, message in self._control.serve(descriptor):
                    self._deliver(sender, message)

    def _ask_sources(self) -> None:
        now = self._clock()
        for source in self._sources:
            for message in source.poll(now):
                self._deliver(SENSORS, message)
        for sender, message in self._yard.busy():
            self._deliver(sender, message)

    def _take(self, arrival: Arrival) -> None:
        read = self._post.read(arrival)
        if isinstance(read, Notice):
            self._say(read)
        elif read is not None:
            self._do(self._node.receive(*read, arrival.received))

    def _deliver(self, sender: Sender, message: Message) -> None:
        self._do(self._node.receive(sender, message, self._clock()))

    def _do(self, effects: Iterable[Effect]) -> None:
        broken: StorageError | None = None
        for effect in effects:
            if isinstance(effect, Persist):
                try:
                    self._store.put(effect.name, effect.data)
                    self._tell_store("")
                except StorageError as error:
                    broken = error
                    self._tell_store(error.message)
                    facts: dict[str, str | int | float | bool | None] = {"why": error.message}
                    self._say(Notice("store.failed", "state was not written", "error", facts))
            elif isinstance(effect, Append):
                broken = self._append(effect) or broken
            elif broken is not None and isinstance(effect, Send | Reply):
                answer = instead(effect, broken)
                if answer is not None:
                    self._reply(answer)
            else:
                self._execute(effect)

    def _append(self, effect: Append) -> StorageError | None:
        """Carry out an Append, let the node act upon how it went, and return what was wrong."""
        book = self._mirrors.book(effect.log) if effect.log else self._logbook
        try:
            book.append(effect.first, effect.entries, effect.head)
        except StorageError as error:
            final = not error.retryable
            self._deliver(STORE, LogFailed(book.size, error.message, final, effect.log))
            return error
        self._deliver(STORE, LogKept(book.size, effect.head, effect.log))
        return None

    def _tell_store(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._node.receive(STORE, StoreState(trouble), self._clock())

    def _execute(self, effect: Effect) -> None:  # noqa: C901 - one arm an effect, nothing else
        match effect:
            case Send(to, message, lane):
                sealed = self._post.seal(message, self._clock())
                if not self._transport.send(to, sealed, lane):
                    facts: dict[str, str | int | float | bool | None] = {"node": to}
                    self._say(Notice("link.unsent", "no link took a message", "debug", facts))
            case Broadcast(message, targets):
                self._transport.broadcast(self._post.seal(message, self._clock()), targets)
            case Knock(contact, door_key, message, reply_as, timeout_s):
                sealed = self._post.seal(message, self._clock(), at_door=True)
                self._transport.knock(contact, door_key, sealed, reply_as, timeout_s)
            case Admit(member, curve_key, contact):
                self._transport.admit(member, curve_key, contact)
            case Expel(member, ban):
                self._transport.expel(member, ban=ban)
            case Start(runner_id, device, kind):
                self._yard.start(runner_id, device, kind)
            case Stop(runner_id, kill):
                self._yard.stop(runner_id, kill=kill)
            case Reply():
                self._reply(effect)
            case Notice():
                self._say(effect)
            case Shutdown(reason):
                self._stopping = reason

    def _reply(self, reply: Reply) -> None:
        if reply.to.startswith(_REPLIES_TO_CONTROL):
            try:
                self._control.reply(reply.to, reply.message)
            except QallowError as error:
                self._control.reply(reply.to, failure(error))
        elif reply.to.startswith(_REPLIES_TO_DOOR):
            sealed = self._post.seal(reply.message, self._clock(), at_door=True)
            self._transport.reply(reply.to, sealed)
        elif is_local(reply.to):
            self._yard.tell(reply.to, reply.message)
