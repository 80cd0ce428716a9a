"""The shell around a virtual agent: carries effects out in the order of the real driver.

A Persist or Append is on the disk before any later Send leaves; when the disk refuses, later sends
of the step are dropped and later replies become the storage error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from qallow_agent.base.errors import InvariantBroken, StorageError
from qallow_agent.base.ids import STORE, NodeId, Sender, is_local
from qallow_agent.base.machine import (
    Admit,
    Append,
    Broadcast,
    Effect,
    Expel,
    Knock,
    Persist,
    Reply,
    Send,
    Shutdown,
    Start,
    Stop,
)
from qallow_agent.base.message import Message, kind_of
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.messages import LogFailed, LogKept
from qallow_agent.mesh.io.port import Arrival
from qallow_agent.node.commands import StoreState
from qallow_agent.node.node import Node
from qallow_agent.node.post import Post, instead
from qallow_agent.testing.host import Clocks, Disk
from qallow_agent.testing.timeline import Process
from qallow_agent.testing.transport import VirtualTransport
from qallow_agent.testing.yard import VirtualYard

MOST_TICKS = 1_000
"""Ticks without any passing of time after which a node counts as spinning."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on.

    Args:
        notice: Takes every notice.
        step: Called after each step with what caused it and who said it.
        sent: Called with the bytes of everything that leaves for a peer.
        reply: Takes what goes to a control connection.
        stopped: Called when the agent ended by itself, with the reason.
    """

    notice: Callable[[Notice], None]
    step: Callable[[str, Sender], None]
    sent: Callable[[bytes], None]
    reply: Callable[[Sender, Message], None]
    stopped: Callable[[str], None]


class Shell:
    """Runs one node in virtual time.

    Args:
        node: The machine that decides.
        post: Encodes and judges letters.
        transport: The wires.
        yard: The runners.
        disk: Durable bytes.
        clocks: Both clocks.
        process: Its life.
        watch: Who looks on.
    """

    def __init__(
        self,
        node: Node,
        *,
        post: Post,
        transport: VirtualTransport,
        yard: VirtualYard,
        disk: Disk,
        clocks: Clocks,
        process: Process,
        watch: Watch,
    ) -> None:
        self._node = node
        self._post = post
        self._transport = transport
        self._yard = yard
        self._disk = disk
        self._logbook = disk.logbook(node.me.mesh)
        self._clocks = clocks
        self._process = process
        self._watch = watch
        self._planned_s: Seconds | None = None
        self._ticked_s: Seconds = -1.0
        self._ticks = 0
        self._trouble = ""
        self._broken: StorageError | None = None

    def start(self) -> None:
        """Let the node have its first tick."""
        self._process.run(self._tick)

    def deliver(self, sender: Sender, message: Message) -> None:
        """Hand the node a message of its own machine."""
        self._process.run(lambda: self._receive(sender, message))

    def take(self, arrival: Arrival) -> None:
        """Hand the node what its transport brought."""
        read = self._post.read(arrival)
        if isinstance(read, Notice):
            self._watch.notice(read)
        elif read is not None:
            self._receive(*read)

    # --- steps ------------------------------------------------------------------------------------

    def _receive(self, sender: Sender, message: Message) -> None:
        effects = self._node.receive(sender, message, self._clocks.read())
        self._step(effects, kind_of(message), sender)

    def _tick(self, deadline_s: Seconds = 0.0) -> None:
        self._planned_s = None
        now_s = self._process.timeline.now
        self._ticks = self._ticks + 1 if now_s == self._ticked_s else 0
        self._ticked_s = now_s
        if self._ticks > MOST_TICKS:
            raise InvariantBroken(f"{self._node.me.name} is ticked for ever at {now_s} s")
        effects = self._node.tick(self._clocks.read(deadline_s))
        self._step(effects, "tick", "")

    def _step(self, effects: Sequence[Effect], cause: str, sender: Sender) -> None:
        self._broken = None
        self._do(effects, 0)
        self._watch.step(cause, sender)
        self._plan()

    def _plan(self) -> None:
        """See to it that the node is ticked at its next deadline."""
        deadline_s = self._node.next_deadline()
        if deadline_s is None or not self._process.alive:
            return
        if self._planned_s is not None and self._planned_s <= deadline_s:
            return
        self._planned_s = deadline_s

        def fire() -> None:
            if self._planned_s == deadline_s:
                self._tick(deadline_s)

        moment_s = self._clocks.moment(deadline_s)
        self._process.timeline.at(moment_s, lambda: self._process.run(fire))

    # --- effects ----------------------------------------------------------------------------------

    def _do(self, effects: Sequence[Effect], first: int) -> None:
        for index in range(first, len(effects)):
            if not self._process.alive:
                return
            effect = effects[index]
            if isinstance(effect, Persist | Append):
                if isinstance(effect, Append):
                    self._append(effect)
                else:
                    self._persist(effect)
                if self._disk.slow_s:
                    rest = partial(self._go_on, effects, index + 1)
                    self._process.stall(self._disk.slow_s, rest)
                    return
            elif self._broken is not None and isinstance(effect, Send | Reply):
                answer = instead(effect, self._broken)
                if answer is not None:
                    self._reply(answer)
            else:
                self._execute(effect)

    def _go_on(self, effects: Sequence[Effect], first: int) -> None:
        self._do(effects, first)
        self._plan()

    def _persist(self, effect: Persist) -> None:
        trouble = ""
        try:
            self._disk.put(effect.name, effect.data)
        except StorageError as error:
            self._broken = error
            trouble = error.message
            facts: dict[str, str | int | float | bool | None] = {"why": error.message}
            self._watch.notice(Notice("store.failed", "state was not written", "error", facts))
        if trouble != self._trouble:
            self._trouble = trouble
            self._node.receive(STORE, StoreState(trouble), self._clocks.read())

    def _append(self, effect: Append) -> None:
        answer: LogKept | LogFailed = LogKept(effect.first + len(effect.entries), effect.head)
        broken = self._broken
        try:
            self._logbook.append(effect.first, effect.entries, effect.head)
        except StorageError as error:
            broken = error
            answer = LogFailed(self._logbook.size, error.message, not error.retryable)
        self._receive(STORE, answer)
        self._broken = broken

    def _execute(self, effect: Effect) -> None:  # noqa: C901 - one arm an effect, nothing else
        transport, now = self._transport, self._clocks.read()
        match effect:
            case Send(to, message, lane):
                data = self._post.seal(message, now)
                self._watch.sent(data)
                if not transport.send(to, data, lane):
                    self._unsent(to)
            case Broadcast(message, targets):
                data = self._post.seal(message, now)
                self._watch.sent(data)
                transport.broadcast(data, targets)
            case Knock(contact, door_key, message, reply_as, timeout_s):
                data = self._post.seal(message, now, at_door=True)
                self._watch.sent(data)
                transport.knock(contact, door_key, data, reply_as, timeout_s)
            case Admit(member, curve_key, contact):
                transport.admit(member, curve_key, contact)
            case Expel(member, ban):
                transport.expel(member, ban=ban)
            case Start(runner_id, device, _):
                self._yard.start(runner_id, device)
            case Stop(runner_id, kill):
                self._yard.stop(runner_id, kill=kill)
            case Reply():
                self._reply(effect)
            case Notice():
                self._watch.notice(effect)
            case Shutdown(reason):
                self._watch.stopped(reason)

    def _unsent(self, to: NodeId) -> None:
        facts: dict[str, str | int | float | bool | None] = {"node": to}
        self._watch.notice(Notice("link.unsent", "no link took a message", "debug", facts))

    def _reply(self, reply: Reply) -> None:
        if reply.to.startswith("@control/"):
            self._watch.reply(reply.to, reply.message)
        elif reply.to.startswith("@door/"):
            data = self._post.seal(reply.message, self._clocks.read(), at_door=True)
            self._watch.sent(data)
            self._transport.reply(reply.to, data)
        elif is_local(reply.to):
            self._yard.tell(reply.to, reply.message)
