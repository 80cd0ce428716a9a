"""A Discovery machine with a clock of its own."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import MeshId, NodeId, key_id
from qallow_agent.base.machine import Announce, Broadcast, Effect, Instant
from qallow_agent.base.message import Message
from qallow_agent.mesh.discovery.discovery import Discovery
from qallow_agent.mesh.discovery.settings import DiscoverySettings
from qallow_agent.mesh.wire.facts import MemberHeardOf, MemberMet, MemberUp
from qallow_agent.mesh.wire.kinds import (
    Beacon,
    Certificate,
    Credential,
    CurveBinding,
    Incarnation,
    MemberRecord,
    MemberState,
)

MESH = MeshId("m" * 26)
WALL_S = 1_800_000_000


def node_id(i: int) -> NodeId:
    return NodeId(key_id(i.to_bytes(32, "big")))


def contact_of(i: int, port: int = 7946) -> Contact:
    return Contact((f"10.0.0.{i + 1}",), port, port + 1, port)


def key_of(i: int) -> bytes:
    return i.to_bytes(32, "big")


def beacon(i: int, *, port: int = 7946, mesh: MeshId = MESH, reply: bool = False) -> Beacon:
    return Beacon(mesh, node_id(i), contact_of(i, port), key_of(i), reply)


def met(i: int, port: int = 7946) -> MemberMet:
    certificate = Certificate(
        mesh=MESH, node=node_id(i), node_key=b"", name="", roles=(), zone="",
        issued_s=0, expires_s=0, protocol=(1, 1), issuer=MESH,
    )  # fmt: skip
    return MemberMet(
        Credential(certificate, CurveBinding(key_of(i), 0, 1, b"")), contact_of(i, port)
    )


def up(i: int, port: int = 7946) -> MemberUp:
    return MemberUp(
        MemberRecord(
            node_id(i), MemberState.ALIVE, Incarnation(1), "", contact_of(i, port), key_of(i)
        )
    )


def heard(i: int, port: int = 7946) -> MemberHeardOf:
    return MemberHeardOf(node_id(i), contact_of(i, port), key_of(i))


class Scout:
    """Box 0 looking for others."""

    def __init__(
        self, *, seed: int = 0, kept: Mapping[str, bytes] | None = None, **changes: Any
    ) -> None:
        self.now = 50.0
        self.settings = DiscoverySettings(**changes)
        self.machine = Discovery(
            me=node_id(0),
            mesh=MESH,
            contact=contact_of(0),
            curve_key=key_of(0),
            settings=self.settings,
            rng=random.Random(seed),
            kept=kept or {},
        )

    def instant(self) -> Instant:
        return Instant(self.now, int((WALL_S + self.now) * 1e9))

    def hear(self, i: int, message: Message) -> list[Effect]:
        effects = self.machine.receive(node_id(i), message, self.instant())
        self.machine.check()
        return effects

    def fact(self, message: Message) -> list[Effect]:
        return self.hear(0, message)

    def advance(self, seconds: float) -> list[tuple[float, Effect]]:
        end, trace = self.now + seconds, []
        while True:
            deadline = self.machine.next_deadline()
            assert deadline is not None, "discovery never stops looking"
            if deadline > end:
                self.now = end
                return trace
            self.now = max(self.now, deadline)
            trace += [(self.now, effect) for effect in self.machine.tick(self.instant())]
            self.machine.check()

    def known(self) -> list[NodeId]:
        return [entry.node for entry in self.machine.book()]


def shouts(trace: list[tuple[float, Effect]], *, reply: bool = False) -> list[Any]:
    """The shouts of a trace, with their times."""
    return [
        (when, e)
        for when, e in trace
        if isinstance(e, Broadcast) and isinstance(e.message, Beacon) and e.message.reply is reply
    ]


def tried(trace: list[tuple[float, Effect]], i: int) -> list[float]:
    """When a member was announced for the door."""
    return [
        when
        for when, e in trace
        if isinstance(e, Announce)
        and isinstance(e.message, MemberHeardOf)
        and e.message.node == node_id(i)
    ]


class _Tools:
    Scout = Scout
    node_id = staticmethod(node_id)
    contact_of = staticmethod(contact_of)
    key_of = staticmethod(key_of)
    beacon = staticmethod(beacon)
    met = staticmethod(met)
    up = staticmethod(up)
    heard = staticmethod(heard)
    shouts = staticmethod(shouts)
    tried = staticmethod(tried)


@pytest.fixture
def tools() -> type:
    """The names above, for tests; importlib mode gives them no other way in."""
    return _Tools
