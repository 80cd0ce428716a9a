"""A small town of boxes whose doors are joined by hand: no socket, no clock, no disk."""

import hashlib
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import CurveKey, NodeKeys, SigningKey
from qallow_agent.base.machine import Effect, Instant, Knock, Persist, Reply
from qallow_agent.base.message import Message
from qallow_agent.mesh.trust.doorkeeper import Doorkeeper
from qallow_agent.mesh.trust.invites import decode_invitation
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.mesh.trust.standing import Standing, accept_welcome, found_mesh, join_request
from qallow_agent.mesh.wire.facts import MemberHeardOf
from qallow_agent.mesh.wire.kinds import JoinRequest, JoinWelcome

NOW_S = 1_800_000_000
ROLES = ("worker", "submitter")


def seed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def at(seconds: float = 0.0) -> Instant:
    return Instant(100.0 + seconds, int((NOW_S + seconds) * 1e9))


@dataclass
class Box:
    name: str
    keys: NodeKeys
    contact: Contact
    standing: Standing
    settings: TrustSettings
    kept: dict[str, bytes] = field(default_factory=dict)
    seen: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.door = Doorkeeper(
            keys=self.keys,
            standing=self.standing,
            contact=self.contact,
            settings=self.settings,
            rng=random.Random(1),
            kept=dict(self.kept),
        )

    @property
    def node(self) -> NodeId:
        return NodeId(self.keys.identity.id)

    def do(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Persist):
                self.kept.pop(effect.name, None)
                if effect.data is not None:
                    self.kept[effect.name] = effect.data
        self.seen += effects
        self.door.check()
        return effects

    def take(self, sender: str, message: Message, seconds: float = 0.0) -> list[Effect]:
        return self.do(self.door.receive(sender, message, at(seconds)))

    def knocked(self, message: Message, seconds: float = 0.0) -> Message:
        """Return what the door answers to a knock."""
        replies = [e for e in self.take("@door/77", message, seconds) if isinstance(e, Reply)]
        assert [reply.to for reply in replies] == ["@door/77"]
        return replies[0].message

    def invite(self, seconds: float = 0.0, **changes: Any) -> str:
        wanted: dict[str, Any] = {
            "roles": ROLES,
            "zone": "default",
            "uses": 1,
            "lifetime_s": 3600.0,
        }
        token, effects = self.door.create_invite(**(wanted | changes), now=at(seconds))
        self.do(effects)
        return token

    def hears_of(self, other: "Box", seconds: float = 0.0) -> list[Effect]:
        fact = MemberHeardOf(other.node, other.contact, other.keys.curve.public)
        return self.take(self.node, fact, seconds)


class Town:
    def __init__(self) -> None:
        self.settings = TrustSettings()
        self.founder = self.found("alpha")

    def keys(self, name: str, mesh: str | None = None) -> NodeKeys:
        return NodeKeys(
            SigningKey(seed(name)),
            CurveKey(seed("curve" + name)),
            SigningKey(seed(mesh)) if mesh else None,
        )

    def contact(self, name: str) -> Contact:
        return Contact((f"{name}.example",), 7000, 7001, 7002)

    def found(self, name: str, mesh: str = "mesh") -> Box:
        keys = self.keys(name, mesh)
        standing = found_mesh(keys, name, mesh, seed("ring"), 1, NOW_S, self.settings)
        return Box(name, keys, self.contact(name), standing, self.settings)

    def request(self, name: str, token: str, seconds: float = 0.0) -> JoinRequest:
        invitation = decode_invitation(token)
        now_s = NOW_S + int(seconds)
        return join_request(invitation, self.keys(name), name, self.contact(name), 1, now_s)

    def join(self, name: str, host: Box | None = None, seconds: float = 0.0, **how: Any) -> Box:
        host = host or self.founder
        token = host.invite(seconds, **how)
        welcome = host.knocked(self.request(name, token, seconds), seconds)
        assert isinstance(welcome, JoinWelcome)
        keys = self.keys(name)
        standing = accept_welcome(welcome, decode_invitation(token), keys, NOW_S + int(seconds))
        return Box(name, keys, self.contact(name), standing, self.settings)

    def carry(self, box: Box, effects: list[Effect], seconds: float = 0.0) -> list[Effect]:
        """Carry every knock among some effects to its door and the answer back."""
        doors = {self.founder.contact: self.founder}
        doors |= {other.contact: other for other in self.boxes}
        answers: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Knock):
                answer = doors[effect.contact].knocked(effect.message, seconds)
                answers += box.take(effect.reply_as, answer, seconds)
        return answers

    boxes: tuple[Box, ...] = ()

    def meet(self, one: Box, other: Box, seconds: float = 0.0) -> list[Effect]:
        self.boxes = (one, other)
        return self.carry(one, one.hears_of(other, seconds), seconds)


@pytest.fixture
def town() -> Town:
    return Town()
