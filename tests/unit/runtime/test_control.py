import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qallow_agent.base.codec import Codec
from qallow_agent.base.errors import ConfigError
from qallow_agent.base.frames import FrameReader, frame
from qallow_agent.base.message import Done, Failure, Message, kinds
from qallow_agent.jobs.local import ClientGone
from qallow_agent.node.commands import CONTROL_KINDS, GetPeers, GetStatus
from qallow_agent.runtime.control import CONTROL_LIMIT_BYTES, ControlServer

CODEC = Codec(kinds(CONTROL_KINDS), CONTROL_LIMIT_BYTES)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    made = ControlServer(tmp_path / "agent.sock")
    made.open()
    yield made
    made.close()


def connect(server: ControlServer) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(5)
    client.connect(str(server.path))
    return client


def pump(server: ControlServer) -> list[tuple[str, Message]]:
    received: list[tuple[str, Message]] = []
    for _ in range(3):
        for descriptor in list(server.interest()):
            received += server.serve(descriptor)
    return received


def answers(client: socket.socket) -> list[tuple[int, Message]]:
    reader = FrameReader(CONTROL_LIMIT_BYTES)
    found: list[tuple[int, Message]] = []
    while not found:
        found = [(channel, CODEC.decode(data)) for channel, data in reader.feed(client.recv(65536))]
    return found


def test_requests_arrive_with_their_channel_and_answers_go_back_on_it(
    server: ControlServer,
) -> None:
    with connect(server) as client:
        client.sendall(frame(7, CODEC.encode(GetStatus())) + frame(8, CODEC.encode(GetPeers())))
        received = pump(server)
        assert received == [("@control/1/7", GetStatus()), ("@control/1/8", GetPeers())]
        server.reply("@control/1/8", Done())
        assert answers(client) == [(8, Done())]


def test_a_closed_connection_is_told(server: ControlServer) -> None:
    connect(server).close()
    assert pump(server) == [("@control/1/0", ClientGone())]


def test_junk_is_answered_with_what_is_wrong_and_the_connection_lives(
    server: ControlServer,
) -> None:
    with connect(server) as client:
        client.sendall(frame(3, b"\xc1junk"))
        assert pump(server) == []
        [(channel, message)] = answers(client)
        assert channel == 3
        assert isinstance(message, Failure)
        assert message.code == "malformed"
        client.sendall(frame(4, CODEC.encode(GetStatus())))
        assert pump(server) == [("@control/1/4", GetStatus())]


def test_a_frame_that_announces_too_much_ends_the_connection(server: ControlServer) -> None:
    with connect(server) as client:
        client.sendall(b"\xff\xff\xff\xff" + bytes(8))
        assert pump(server) == [("@control/1/0", ClientGone())]
        assert client.recv(1) == b""


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    living = ControlServer(path)
    living.open()
    with pytest.raises(ConfigError, match="another agent answers"):
        ControlServer(path).open()
    living.close()
    assert not path.exists()


def test_a_path_too_long_for_a_socket_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than") as caught:
        ControlServer(tmp_path / ("x" * 120)).open()
    assert "node.socket" in caught.value.hint


def test_an_answer_to_a_vanished_client_is_dropped(server: ControlServer) -> None:
    server.reply("@control/9/1", Done())
    assert pump(server) == []


def test_the_socket_is_for_owner_and_group(server: ControlServer) -> None:
    assert server.path.stat().st_mode & 0o777 == 0o660
