"""A small mesh of Membership machines on a virtual network, with a seed for everything."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import MeshId, NodeId, key_id
from qallow_agent.base.machine import Announce, Effect, Instant, Lane, Send
from qallow_agent.base.message import Message, kinds
from qallow_agent.base.notice import Notice
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.membership.swim import Membership
from qallow_agent.mesh.wire.codec import MeshCodec
from qallow_agent.mesh.wire.facts import LinkRefused, MemberDown, MemberHeardOf, MemberMet
from qallow_agent.mesh.wire.kinds import (
    MESH_KINDS,
    Ack,
    Certificate,
    Credential,
    CurveBinding,
    Incarnation,
    MemberRecord,
    MemberState,
    Probe,
    PushPull,
)
from qallow_agent.mesh.wire.seal import OVERHEAD_BYTES

MESH = MeshId("m" * 26)
CODEC = MeshCodec(kinds(MESH_KINDS))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def node_id(i: int) -> NodeId:
    return NodeId(key_id(i.to_bytes(32, "big")))


def contact_of(i: int, port: int = 7946) -> Contact:
    return Contact((f"10.0.{i // 250}.{i % 250 + 1}",), port, port + 1, port)


def record(
    i: int, *, epoch: int = 1, counter: int = 0, port: int = 7946, **changes: Any
) -> MemberRecord:
    made = MemberRecord(
        node=node_id(i),
        state=MemberState.ALIVE,
        incarnation=Incarnation(epoch, counter),
        name=f"box{i}",
        contact=contact_of(i, port),
        curve_key=i.to_bytes(32, "big"),
    )
    return msgspec.structs.replace(made, **changes)


def met(member: MemberRecord, epoch: int | None = None) -> MemberMet:
    certificate = Certificate(
        mesh=MESH, node=member.node, node_key=b"", name=member.name, roles=(), zone="",
        issued_s=0, expires_s=0, protocol=(1, 1), issuer=MESH,
    )  # fmt: skip
    epoch = member.incarnation.epoch if epoch is None else epoch
    binding = CurveBinding(member.curve_key, 0, epoch, b"")
    return MemberMet(Credential(certificate, binding), member.contact)


def at(seconds: float) -> Instant:
    return Instant(seconds, int(seconds * 1e9))


class Solo:
    """Box 0 alone with a clock: others are what the test says they say."""

    def __init__(self, peers: int, *, seed: int = 0, **changes: Any) -> None:
        self.settings = MembershipSettings(**changes)
        self.now = 100.0
        self.machine = Membership(
            me=record(0), settings=self.settings, rng=random.Random(seed), kept={}
        )
        for i in range(1, peers + 1):
            self.fact(met(record(i)))
            self.hear(i, PushPull((), answer=True))

    def fact(self, message: Message) -> list[Effect]:
        return self._checked(self.machine.receive("@trust", message, at(self.now)))

    def hear(self, i: int, message: Message) -> list[Effect]:
        return self._checked(self.machine.receive(node_id(i), message, at(self.now)))

    def advance(self, seconds: float) -> list[tuple[float, Effect]]:
        """Tick at every deadline; return each effect with its time."""
        end, trace = self.now + seconds, []
        while True:
            deadline = self.machine.next_deadline()
            if deadline is None or deadline > end:
                self.now = end
                return trace
            self.now = max(self.now, deadline)
            effects = self._checked(self.machine.tick(at(self.now)))
            trace += [(self.now, effect) for effect in effects]

    def probed(self, i: int | None = None) -> tuple[float, int, int]:
        """Advance to the next first datagram of a probe; return (when, seq, box)."""
        for _ in range(1000):
            for when, effect in self.advance(0.01):
                if isinstance(effect, Send) and isinstance(effect.message, Probe):
                    box = next(b for b in range(100) if node_id(b) == effect.to)
                    if i in (None, box):
                        return when, effect.message.seq, box
                    self.hear(box, Ack(effect.message.seq))
        raise AssertionError("nobody was probed")

    def believe(self, i: int) -> MemberRecord:
        belief = self.machine.record_of(node_id(i))
        assert belief is not None
        return belief

    def _checked(self, effects: list[Effect]) -> list[Effect]:
        self.machine.check()
        return effects


def sent(effects: list[Any], kind: type[Message]) -> list[Send]:
    """The sends of one kind among effects, timed or not."""
    plain = [effect[1] if isinstance(effect, tuple) else effect for effect in effects]
    return [e for e in plain if isinstance(e, Send) and isinstance(e.message, kind)]


def facts(effects: list[Any]) -> list[Message]:
    """The facts announced among effects, timed or not."""
    plain = [effect[1] if isinstance(effect, tuple) else effect for effect in effects]
    return [effect.message for effect in plain if isinstance(effect, Announce)]


@dataclass
class Box:
    """One node of the virtual network."""

    i: int
    machine: Membership
    birth: MemberRecord
    crashed: bool = False
    frozen: bool = False
    inbox: list = field(default_factory=list)
    facts: list[tuple[float, Message]] = field(default_factory=list)
    notices: list[tuple[float, Notice]] = field(default_factory=list)
    highest: dict[NodeId, Incarnation] = field(default_factory=dict)

    def downs(self) -> list[tuple[float, NodeId]]:
        return [(t, fact.node) for t, fact in self.facts if isinstance(fact, MemberDown)]


class SmallMesh:
    """Boxes, links with loss and delay, cuts, crashes and freezes; the same seed, the same run."""

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        loss: float = 0.0,
        settings: MembershipSettings | None = None,
        met_at_start: bool = True,
    ) -> None:
        self.rng = random.Random(seed)
        self.settings = settings or MembershipSettings()
        self.loss = loss
        self.now = 100.0
        self.boxes: dict[NodeId, Box] = {}
        self.cut: Callable[[int, int], bool] = lambda _a, _b: False
        self.sent = {Lane.DATAGRAM: 0, Lane.STREAM: 0}
        self.bytes = 0
        self.largest = 0
        self._heap: list = []
        self._count = itertools.count()
        for i in range(count):
            self.boot(i)
        if met_at_start:
            for a, b in itertools.permutations(range(count), 2):
                self._receive(self[a], "@trust", met(self[b].birth))

    def __getitem__(self, i: int) -> Box:
        return self.boxes[node_id(i)]

    def boot(self, i: int, *, epoch: int = 1, port: int = 7946) -> Box:
        birth = record(i, epoch=epoch, port=port)
        rng = random.Random(self.rng.getrandbits(64))
        machine = Membership(me=birth, settings=self.settings, rng=rng, kept={})
        self.boxes[birth.node] = Box(i, machine, birth)
        return self[i]

    def introduce(self, a: int, b: int) -> None:
        """Let two boxes meet at a door, as the doorkeeper does."""
        self._receive(self[a], "@trust", met(self[b].birth))
        self._receive(self[b], "@trust", met(self[a].birth))

    def crash(self, i: int, *, refused: bool = False) -> None:
        self[i].crashed = True
        if refused:
            for box in self.boxes.values():
                if box.i != i and not box.crashed:
                    self._at(0.005, box, "@transport", LinkRefused(node_id(i)))

    def thaw(self, i: int) -> None:
        box = self[i]
        box.frozen = False
        waiting, box.inbox = box.inbox, []
        for sender, message in waiting:
            self._receive(box, sender, message)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> float:
        """Advance the virtual clock; return how long it took until the condition held."""
        began, end = self.now, self.now + seconds
        while until is None or not until():
            due = [
                (max(deadline, self.now), box.i, box)
                for box in self.boxes.values()
                if not box.crashed
                and not box.frozen
                and (deadline := box.machine.next_deadline()) is not None
            ]
            tick_s = min(due)[0] if due else float("inf")
            mail_s = self._heap[0][0] if self._heap else float("inf")
            if min(tick_s, mail_s) > end:
                self.now = end
                break
            if mail_s <= tick_s:
                self.now, _, box, sender, message = heapq.heappop(self._heap)
                if box.frozen:
                    box.inbox.append((sender, message))
                elif not box.crashed and self.boxes.get(box.birth.node) is box:
                    self._receive(box, sender, message)
            else:
                self.now = tick_s
                box = min(due)[2]
                self._carry(box, box.machine.tick(at(self.now)))
        return self.now - began

    # --- what tests ask ---------------------------------------------------------------------------

    def states(self, i: int) -> set[MemberState | None]:
        """What the living others believe about a box."""
        found = set()
        for box in self.living():
            if box.i != i:
                belief = box.machine.record_of(node_id(i))
                found.add(None if belief is None else belief.state)
        return found

    def living(self) -> list[Box]:
        return [box for box in self.boxes.values() if not box.crashed]

    def all_see(self, i: int, state: MemberState) -> bool:
        return self.states(i) == {state}

    def converged(self) -> bool:
        everybody = tuple(sorted(box.birth.node for box in self.living()))
        return all(box.machine.alive() == everybody for box in self.living())

    def false_deaths(self) -> list[tuple[float, int, int]]:
        """Deaths of boxes that never crashed: (when, believer, victim)."""
        return [
            (t, box.i, self.boxes[victim].i)
            for box in self.boxes.values()
            for t, victim in box.downs()
            if not self.boxes[victim].crashed
        ]

    # --- the network ------------------------------------------------------------------------------

    def _at(self, delay: float, box: Box, sender: str, message: Message) -> None:
        heapq.heappush(self._heap, (self.now + delay, next(self._count), box, sender, message))

    def _receive(self, box: Box, sender: str, message: Message) -> None:
        self._carry(box, box.machine.receive(sender, message, at(self.now)))

    def _carry(self, box: Box, effects: list[Effect]) -> None:
        box.machine.check()
        for belief in box.machine.members():
            before = box.highest.get(belief.node, belief.incarnation)
            assert belief.incarnation >= before, "an incarnation went back"
            box.highest[belief.node] = belief.incarnation
        for effect in effects:
            if isinstance(effect, Send):
                self._send(box, effect)
            elif isinstance(effect, Notice):
                box.notices.append((self.now, effect))
            elif isinstance(effect, Announce):
                box.facts.append((self.now, effect.message))
                if isinstance(effect.message, MemberHeardOf):
                    self._knock(box, effect.message)

    def _send(self, box: Box, send: Send) -> None:
        self.sent[send.lane] += 1
        if send.lane is Lane.DATAGRAM:
            data = CODEC.encode(send.message, box.birth.node, Stamp(2**42, 65535), TRACE)
            self.largest = max(self.largest, len(data) + OVERHEAD_BYTES)
            self.bytes += len(data) + OVERHEAD_BYTES
            if self.rng.random() < self.loss:
                return
        other = self.boxes.get(send.to)
        if other is not None and not self.cut(box.i, other.i):
            self._at(0.0002 + 0.0008 * self.rng.random(), other, box.birth.node, send.message)

    def _knock(self, box: Box, heard: MemberHeardOf) -> None:
        other = self.boxes.get(heard.node)
        reachable = other is not None and not other.crashed and not other.frozen
        if reachable and not self.cut(box.i, other.i) and not self.cut(other.i, box.i):
            self._at(0.003, other, "@trust", met(box.birth))
            self._at(0.004, box, "@trust", met(other.birth))


@pytest.fixture
def tools() -> type:
    """The names above, for tests; importlib mode gives them no other way in."""
    return _Tools


class _Tools:
    SmallMesh = SmallMesh
    record = staticmethod(record)
    node_id = staticmethod(node_id)
    contact_of = staticmethod(contact_of)
    met = staticmethod(met)
    at = staticmethod(at)
    Solo = Solo
    sent = staticmethod(sent)
    facts = staticmethod(facts)
