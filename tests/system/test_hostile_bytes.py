"""Strangers and junk at every port of a live agent: it stays healthy and its memory bounded."""

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from zmq.utils import z85

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.machine import Instant
from qallow_agent.base.message import Failure
from qallow_agent.client.control import ControlLink
from qallow_agent.jobs.messages import (
    JobAccepted,
    JobProgress,
    LeaseGrant,
    OpenSession,
    SubmitJob,
)
from qallow_agent.jobs.parcels import Ping, pack
from qallow_agent.mesh.trust.invites import Invitation, decode_invitation
from qallow_agent.mesh.trust.standing import decode_standing, join_request
from qallow_agent.mesh.wire.kinds import Probe
from qallow_agent.mesh.wire.seal import Sealer
from qallow_agent.node.post import make_post
from qallow_agent.runtime.keyring import load_keys
from qallow_agent.runtime.store import StateStore
from qallow_agent.testing.agents import AgentProcess

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(60),
    pytest.mark.usefixtures("unharmed"),
]

ROUNDS = 300


@pytest.fixture(scope="module")
def doors(lone: AgentProcess) -> Invitation:
    """Return where the agent listens and the public key of its servers, as an invite tells."""
    return decode_invitation(lone.invite())


class Caller:
    """A raw client, and how its handshake ends."""

    def __init__(self, dealer: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]") -> None:
        self.send, self.recv, self.poll = dealer.send, dealer.recv, dealer.poll
        self._monitor = monitor

    def admitted(self) -> bool:
        assert self._monitor.poll(10_000), "the handshake is answered"
        event = int.from_bytes(self._monitor.recv_multipart()[0][:2], "little")
        return event == int(zmq.EVENT_HANDSHAKE_SUCCEEDED)


@pytest.fixture
def dial() -> Iterator[Callable[..., Caller]]:
    """Return a way to connect a raw CURVE client to a port."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    opened: list[zmq.Socket[bytes]] = []

    def connect(port: int, server_key: bytes, secret: bytes = b"") -> Caller:
        mine = CurveKey(secret or os.urandom(32))
        dealer = context.socket(zmq.DEALER)
        monitor = dealer.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        )
        opened.extend((dealer, monitor))
        dealer.linger = 0
        dealer.sndtimeo = 2_000
        dealer.curve_secretkey = z85.encode(mine.secret)
        dealer.curve_publickey = z85.encode(mine.public)
        dealer.curve_serverkey = z85.encode(server_key)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        return Caller(dealer, monitor)

    yield connect
    for each in opened:
        each.close(linger=0)
    context.term()


def letters(rng: random.Random, genuine: bytes) -> Iterator[bytes]:
    """Yield mutations of a genuine letter: truncated, extended, with flipped bits, and random."""
    for _ in range(ROUNDS):
        place = rng.randrange(len(genuine))
        yield genuine[:place]
        yield genuine + rng.randbytes(rng.randrange(1, 64))
        flipped = bytearray(genuine)
        flipped[place] ^= 1 << rng.randrange(8)
        yield bytes(flipped)
        yield rng.randbytes(rng.randrange(0, 4096))


def test_a_stranger_with_the_servers_public_key_is_refused_by_the_mesh_port(
    doors: Invitation, dial: Callable[..., Any]
) -> None:
    stranger = dial(doors.contact.stream, doors.host_key)
    stranger.send(b"let me in")
    assert not stranger.admitted()
    assert not stranger.poll(300)


def test_a_stranger_with_the_runners_public_key_is_refused_by_the_runner(
    lone: AgentProcess, able: Callable[..., None], dial: Callable[..., Any]
) -> None:
    able(lone)
    guest = CurveKey(os.urandom(32))
    with ControlLink(lone.socket, 30) as link:
        link.ask(OpenSession(guest.public, "test"))
        channel = link.post(SubmitJob("moody", 1, {}, 1))
        while not isinstance(heard := link.wait(channel), LeaseGrant):
            assert isinstance(heard, JobAccepted | JobProgress), heard
        lease = heard.lease
        stranger = dial(lease.port, lease.runner_key)
        stranger.send(pack(Ping(lease.id)))
        assert not stranger.admitted()
        assert not stranger.poll(300)
        welcome = dial(lease.port, lease.runner_key, guest.secret)
        welcome.send(pack(Ping(lease.id)))
        assert welcome.poll(10_000), "the one who holds the lease is served"
        for letter in letters(random.Random(1), pack(Ping(lease.id))):
            welcome.send(letter)
        welcome.send(pack(Ping(lease.id)))
    assert lone.run_cli("run", "moody").returncode == 0


def test_junk_at_the_door_is_answered_with_a_refusal_or_nothing(
    lone: AgentProcess, doors: Invitation, dial: Callable[..., Any], tmp_path: Path
) -> None:
    genuine = join_letter(doors, tmp_path)
    knocker = dial(doors.contact.door, doors.host_key)
    for letter in letters(random.Random(2), genuine):
        knocker.send(letter)
        while knocker.poll(0):
            answer = make_post(NodeId("")).open("@door/x", knocker.recv(), now())
            assert isinstance(answer, Failure), answer
    assert lone.run_cli("status").returncode == 0


def test_a_forged_join_admits_nobody(
    lone: AgentProcess, doors: Invitation, dial: Callable[..., Any], tmp_path: Path
) -> None:
    genuine = join_letter(doors, tmp_path)
    first = dial(doors.contact.door, doors.host_key)
    first.send(genuine)
    assert first.poll(5_000)
    answer = make_post(NodeId("")).open("@door/x", first.recv(), now())
    assert isinstance(answer, Failure), "its secret opens nothing"
    assert {peer["name"] for peer in lone.ask("peers")["peers"]} == {"lone"}


def test_an_oversized_frame_ends_its_connection(
    lone: AgentProcess, doors: Invitation, dial: Callable[..., Any]
) -> None:
    for size in (70_000, 4 << 20, 64 << 20):
        client = dial(doors.contact.door, doors.host_key)
        client.send(bytes(size))
        assert client.admitted()
        assert not client.poll(200)
    assert lone.run_cli("status").returncode == 0


@pytest.mark.parametrize("door", ["stream", "door"])
def test_bytes_that_are_not_zeromq_at_all_are_dropped(
    lone: AgentProcess, doors: Invitation, door: str
) -> None:
    rng = random.Random(3)
    greetings = (
        b"GET / HTTP/1.1\r\nHost: box\r\n\r\n",
        b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        *(rng.randbytes(rng.randrange(1, 300)) for _ in range(60)),
    )
    for greeting in greetings:
        with closing(socket.create_connection(("127.0.0.1", getattr(doors.contact, door)))) as link:
            link.sendall(greeting)
    assert lone.run_cli("status").returncode == 0


def test_a_crowd_that_says_nothing_keeps_nobody_out(
    lone: AgentProcess, doors: Invitation, spawn: Callable[..., AgentProcess], eventually: Any
) -> None:
    with ExitStack() as crowd:
        for port in (doors.contact.stream, doors.contact.door):
            for _ in range(100):
                link = socket.create_connection(("127.0.0.1", port), timeout=5)
                crowd.enter_context(closing(link))
        guest = spawn("guest", join=lone.invite())
        eventually(lambda: len(guest.ask("peers")["peers"]) == 2, 15)
    assert guest.ask("leave", "--yes")["left"]
    eventually(lambda: lone.ask("status")["members"]["alive"] == 1, 15)


@pytest.fixture
def insider(
    lone: AgentProcess, spawn: Callable[..., AgentProcess], eventually: Any
) -> Iterator[AgentProcess]:
    """Return a member that was stopped dead, whose keys are in our hands."""
    member = spawn("insider", join=lone.invite())
    eventually(lambda: lone.ask("status")["members"]["alive"] == 2, 15)
    member.signal(signal.SIGSTOP)
    yield member
    member.signal(signal.SIGCONT)
    assert member.ask("leave", "--yes")["left"]
    eventually(lambda: lone.ask("status")["members"]["alive"] == 1, 15)


def test_junk_from_a_members_own_key_is_dropped_and_harms_nobody(
    lone: AgentProcess, doors: Invitation, insider: AgentProcess, dial: Callable[..., Any]
) -> None:
    keys = load_keys(insider.state_dir)
    rogue = dial(doors.contact.stream, doors.host_key, keys.curve.secret)
    post = make_post(NodeId(keys.identity.id))
    genuine = post.seal(Probe(1), now())
    for letter in letters(random.Random(4), genuine):
        rogue.send(letter)
    assert rogue.admitted()
    for _ in range(3):
        rogue.send(genuine)
    large = dial(doors.contact.stream, doors.host_key, keys.curve.secret)
    large.send(bytes(4 << 20))
    other = make_post(doors.host)
    rogue.send(other.seal(Probe(2), now()))
    assert lone.run_cli("status").stdout
    assert '"wire.dropped"' in lone.log


def test_truncated_oversized_replayed_and_random_datagrams_are_dropped(
    lone: AgentProcess,
    doors: Invitation,
    insider: AgentProcess,
    environment: dict[str, str],
) -> None:
    standing = decode_standing((insider.state_dir / "rooms" / "trust" / "standing").read_bytes())
    epoch = int((insider.state_dir / "rooms" / "boot" / "epoch").read_bytes())
    sealer = Sealer(standing.keyring, standing.mesh, standing.node, epoch + 1)
    post = make_post(standing.node)
    genuine = sealer.seal(post.seal(Probe(7), now()))
    stale = Sealer(standing.keyring, standing.mesh, standing.node, epoch - 1)
    ports = (doors.contact.datagram, int(environment["QALLOW_MESH__TRANSPORT__BEACON_PORT"]))
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as lane:
        for port in ports:
            for datagram in letters(random.Random(5), genuine):
                lane.sendto(datagram, ("127.0.0.1", port))
            for size in (1_401, 9_000, 65_507):
                lane.sendto(bytes(size), ("127.0.0.1", port))
            for _ in range(50):
                lane.sendto(genuine, ("127.0.0.1", port))
                lane.sendto(stale.seal(post.seal(Probe(8), now())), ("127.0.0.1", port))
                lane.sendto(sealer.seal(os.urandom(200)), ("127.0.0.1", port))
    assert lone.ask("status")["uptime_s"] > 0


def join_letter(doors: Invitation, directory: Path) -> bytes:
    """Return a well-formed request to join, with a secret that opens nothing."""
    store = StateStore(directory / "state").open()
    keys = load_keys(store.directory)
    store.close()
    forged = msgspec.structs.replace(doors, secret=bytes(16))
    contact = Contact(("127.0.0.1",), 1, 2, 3)
    wish = join_request(forged, keys, "mallory", contact, 1, int(time.time()))
    return make_post(NodeId(keys.identity.id)).seal(wish, now(), at_door=True)


def now() -> Instant:
    return Instant(time.monotonic(), time.time_ns())
