import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qallow_agent.base.errors import (
    AgentUnreachable,
    ConfigError,
    InvariantBroken,
    NotAllowed,
    TooLarge,
    UnknownKernel,
)
from qallow_agent.base.frames import frame
from qallow_agent.base.ids import JobId, Sender
from qallow_agent.base.message import Done, Failure, Message, Report
from qallow_agent.client.control import CONTROL_LIMIT_BYTES, ControlLink
from qallow_agent.jobs.messages import Deposit, Fetch, LeaseRequest
from qallow_agent.node.commands import GetPeers, GetStatus, StopAgent

Serve = Callable[[Callable[[Sender, Message], list[Message]]], Path]


def test_a_query_is_answered_with_its_report(serve: Serve) -> None:
    path = serve(lambda _, __: [Report("qallow.status/v1", {"state": "ready"})])
    with ControlLink(path) as link:
        assert link.ask(GetStatus()) == Report("qallow.status/v1", {"state": "ready"})


def test_a_failure_is_raised_as_the_error_it_describes(serve: Serve) -> None:
    path = serve(lambda _, __: [Failure("unknown-kernel", "no such kernel", "did you mean x?")])
    with ControlLink(path) as link, pytest.raises(UnknownKernel) as caught:
        link.ask(GetStatus())
    assert caught.value.hint == "did you mean x?"


def test_answers_find_their_requests_in_any_order(serve: Serve) -> None:
    path = serve(lambda _, message: [Report("x", {"asked": type(message).__name__})])
    with ControlLink(path) as link:
        first, second = link.post(GetStatus()), link.post(GetPeers())
        newer, older = link.wait(second), link.wait(first)
    assert isinstance(newer, Report)
    assert isinstance(older, Report)
    assert (newer.document, older.document) == ({"asked": "GetPeers"}, {"asked": "GetStatus"})


def test_later_messages_on_a_channel_become_events(serve: Serve) -> None:
    job = JobId("j-1")
    parts = [Deposit(job, part, b"x") for part in range(3)]
    path = serve(lambda _, message: [*parts] if isinstance(message, Fetch) else [Done()])
    with ControlLink(path) as link:
        channel = link.post(Fetch(job))
        assert link.wait(channel) == parts[0]
        assert link.ask(GetStatus()) == Done()
        assert link.events(1.0) == [(channel, parts[1]), (channel, parts[2])]
        assert link.events(0.0) == []


def test_no_socket_names_the_path_and_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(AgentUnreachable, match="no socket") as caught:
        ControlLink(tmp_path / "none.sock").connect()
    assert "qallow-agent start" in caught.value.hint


def test_a_dead_socket_is_told_from_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    with pytest.raises(AgentUnreachable, match="no agent listens"):
        ControlLink(path).connect()


def test_a_path_too_long_for_a_socket_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be the agent's socket"):
        ControlLink(tmp_path / ("x" * 200)).connect()


def test_a_socket_of_others_is_not_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("qallow_agent.client.control.socket.socket.connect", refuse, raising=False)
    with pytest.raises(NotAllowed, match="may not use"):
        ControlLink(tmp_path / "agent.sock").connect()


def test_a_silent_agent_is_given_up_at_the_deadline(serve: Serve) -> None:
    path = serve(lambda _, __: [])
    with ControlLink(path) as link, pytest.raises(AgentUnreachable, match="did not answer within"):
        link.ask(GetStatus(), timeout_s=0.05)


def test_a_closed_connection_is_said_and_can_be_made_anew(serve: Serve) -> None:
    path = serve(lambda _, __: [Done()])
    with ControlLink(path) as link:
        assert link.ask(StopAgent()) == Done()
        link.close()
        assert link.ask(GetStatus()) == Done()


def test_an_agent_that_hangs_up_is_unreachable(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def hang_up() -> None:
            accepted, _ = listener.accept()
            accepted.recv(100)
            accepted.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with ControlLink(path) as link, pytest.raises(AgentUnreachable, match="closed"):
            link.ask(GetStatus())
        thread.join(5)


def test_an_oversized_announcement_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def shout() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall((CONTROL_LIMIT_BYTES + 1).to_bytes(4, "little") + bytes(8))
                accepted.recv(100)

        thread = threading.Thread(target=shout)
        thread.start()
        with ControlLink(path) as link, pytest.raises(TooLarge):
            link.wait(1)
        thread.join(5)


def test_what_nobody_may_say_here_is_our_own_bug(serve: Serve) -> None:
    path = serve(lambda _, __: [])
    with ControlLink(path) as link, pytest.raises(InvariantBroken):
        link.post(LeaseRequest(JobId("j"), "k", "h", "cpu0", 1, b"", 0))


def test_frames_in_pieces_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        link = ControlLink(path)
        data = frame(1, link._codec.encode(Done()))

        def dribble() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(100)
                for byte in data:
                    accepted.sendall(bytes([byte]))

        thread = threading.Thread(target=dribble)
        thread.start()
        with link:
            assert link.ask(GetStatus()) == Done()
        thread.join(5)


def test_waiting_for_events_ends_in_time(serve: Serve) -> None:
    path = serve(lambda _, __: [])
    with ControlLink(path) as link:
        assert link.events(0.01) == []
