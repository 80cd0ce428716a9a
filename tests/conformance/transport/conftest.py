"""One rig for every transport: nodes that come and go on one network."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import MeshId, NodeId, key_id
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.machine import Instant
from qallow_agent.mesh.io.memory import MemoryNetwork
from qallow_agent.mesh.io.port import Arrival, KnockFailed, LinkEvent, Packet, Transport
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.zmq_curve import bind
from qallow_agent.mesh.wire.seal import Sealer

PATIENCE_S = 10.0
KEYRING = (os.urandom(32),)  # test processes share the beacon port: each is a mesh of its own

SETTINGS = TransportSettings(
    bind="127.0.0.1",
    stream_port=0,
    door_port=0,
    datagram_port=0,
    beacon_port=17945,
    retry_first_s=0.02,
    retry_limit_s=0.2,
)


def read_clock() -> Instant:
    return Instant(time.monotonic(), time.time_ns())


@dataclass
class Peer:
    """A node of the rig: its keys, its transport, and everything that arrived so far."""

    name: str
    curve: CurveKey
    transport: Transport
    settings: TransportSettings
    epoch: int = 1
    seen: list[Arrival] = field(default_factory=list)

    @property
    def node(self) -> NodeId:
        return NodeId(key_id(self.curve.public))

    def packets(self) -> list[Packet]:
        return [item for item in self.seen if isinstance(item, Packet)]

    def events(self, kind: str) -> list[LinkEvent]:
        return [item for item in self.seen if isinstance(item, LinkEvent) and item.kind == kind]

    def failures(self) -> list[KnockFailed]:
        return [item for item in self.seen if isinstance(item, KnockFailed)]


class Rig:
    """Starts, restarts and drives peers of one kind of transport."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.settings = SETTINGS
        self._network = MemoryNetwork()
        self._peers: list[Peer] = []

    def start(
        self,
        name: str,
        settings: TransportSettings = SETTINGS,
        contact: Contact | None = None,
        epoch: int = 1,
    ) -> Peer:
        curve = CurveKey(hashlib.sha256(name.encode()).digest())
        transport = self._open(settings, curve, contact)
        peer = Peer(name, curve, transport, settings, epoch)
        sealer = Sealer(KEYRING, MeshId("m" * 26), peer.node, epoch)
        transport.unlock(sealer.seal, sealer.open)
        self._peers.append(peer)
        return peer

    def stop(self, peer: Peer) -> None:
        self._peers.remove(peer)
        peer.transport.close()

    def restart(self, peer: Peer) -> Peer:
        """Start a stopped peer again with the same key on the same ports."""
        contact = peer.transport.contact
        settings = replace(
            peer.settings,
            stream_port=contact.stream,
            door_port=contact.door,
            datagram_port=contact.datagram,
        )
        return self.start(peer.name, settings, contact, peer.epoch + 1)

    def befriend(self, *peers: Peer) -> None:
        """Admit everybody everywhere and wait for the links."""
        for one in peers:
            for other in peers:
                if one is not other:
                    one.transport.admit(other.node, other.curve.public, other.transport.contact)
        wanted = len(peers) - 1
        self.wait(lambda: all(len(peer.events("up")) >= wanted for peer in peers))

    def step(self) -> None:
        for peer in self._peers:
            peer.seen += peer.transport.drain()
        time.sleep(0.001)

    def wait(self, happened: Callable[[], object]) -> None:
        """Drive everybody until something happened.

        Raises:
            AssertionError: It did not, and what everybody saw.
        """
        end = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < end, [
                (peer.seen, peer.transport.counters()) for peer in self._peers
            ]
            self.step()

    def settle(self, seconds: float = 0.2) -> None:
        """Drive everybody for a while in which nothing should happen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()

    def close(self) -> None:
        for peer in list(self._peers):
            self.stop(peer)

    def _open(
        self, settings: TransportSettings, curve: CurveKey, contact: Contact | None
    ) -> Transport:
        if self.kind == "memory":
            return self._network.join(settings, curve, clock=read_clock, contact=contact)
        return bind(settings, curve.secret, read_clock)


@pytest.fixture(params=["memory", "curve"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    built = Rig(request.param)
    yield built
    built.close()


@pytest.fixture
def curve() -> Iterator[Rig]:
    """A rig over real sockets only, for what memory cannot show."""
    built = Rig("curve")
    yield built
    built.close()
