"""The control socket's client side: ask the local agent, wait no longer than a deadline."""

import socket
import time
from collections import deque
from pathlib import Path
from typing import Self

from qallow_agent.base.codec import Codec
from qallow_agent.base.errors import AgentUnreachable, ConfigError, NotAllowed, revive
from qallow_agent.base.frames import FrameReader, frame
from qallow_agent.base.message import Failure, Message, kinds
from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.node.commands import CONTROL_KINDS

CONTROL_LIMIT_BYTES = 16 << 20
"""The agent's own cap: Deposits travel in parts of 4 MiB, nothing else comes near."""

_READ_BYTES = 1 << 18


class ControlLink:
    """One connection to the local agent; requests are told apart by channel number.

    Requests may be outstanding together. What answers no waiting request (later messages of a job's
    channel, answers to :meth:`post`) is kept for :meth:`events`. One thread owns a link; ``fileno``
    lets it sit in a poller.

    Args:
        socket_path: The agent's Unix socket.
        timeout_s: Deadline of connecting, of writing, and of an ``ask`` that names none.
    """

    def __init__(self, socket_path: str | Path, timeout_s: Seconds = 10.0) -> None:
        self.path = Path(socket_path)
        self.timeout_s = timeout_s
        self._codec = Codec(kinds(CONTROL_KINDS), CONTROL_LIMIT_BYTES)
        self._reader = FrameReader(CONTROL_LIMIT_BYTES)
        self._socket: socket.socket | None = None
        self._channel = 0
        self._arrived: deque[tuple[int, Message]] = deque()

    def connect(self) -> Self:
        """Connect to the agent and return the link; a connected link stays as it is.

        Raises:
            AgentUnreachable: Nobody listens there, or not within the deadline.
            NotAllowed: The socket's mode or owner keeps this user out.
            ConfigError: The path cannot be a socket's.
        """
        if self._socket is not None:
            return self
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.settimeout(self.timeout_s)
        try:
            opened.connect(str(self.path))
        except OSError as error:
            opened.close()
            raise _explain(self.path, error) from error
        self._socket = opened
        return self

    def close(self) -> None:
        """Close the connection; the agent takes running jobs of it as abandoned."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor to poll for reading; connects when need be."""
        return self._connected().fileno()

    def post(self, message: Message) -> int:
        """Send a message without waiting and return the channel its answers will carry.

        Raises:
            AgentUnreachable: The connection is gone, or nothing is taken within the deadline.
            TooLarge: The message exceeds the cap.
        """
        opened = self._connected()
        self._channel += 1
        data = frame(self._channel, self._codec.encode(message))
        opened.settimeout(self.timeout_s)
        try:
            opened.sendall(data)
        except OSError as error:
            raise self._lost(f"takes no more requests ({error})") from error
        return self._channel

    def ask(self, message: Message, timeout_s: Seconds | None = None) -> Message:
        """Send a request and return the first answer on its channel.

        Raises:
            QallowError: The error that a Failure describes, by its code.
            AgentUnreachable: No connection, or no answer within the deadline.
        """
        return self.wait(self.post(message), timeout_s)

    def wait(self, channel: int, timeout_s: Seconds | None = None) -> Message:
        """Return the next message on one channel, keeping all others for their readers.

        Raises:
            QallowError: The error that a Failure describes, by its code.
            AgentUnreachable: The connection broke, or nothing came within the deadline.
        """
        allowed_s = self.timeout_s if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + allowed_s
        while (answer := self._take(channel)) is None:
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                raise AgentUnreachable(
                    f"the agent at {self.path} did not answer within {show_seconds(allowed_s)}",
                    hint="it may be stopped or overloaded: see its log, or allow more --timeout",
                )
            self._read(remaining_s)
        if isinstance(answer, Failure):
            raise revive(answer.code, answer.message, hint=answer.hint, retryable=answer.retryable)
        return answer

    def events(self, timeout_s: Seconds = 0.0) -> list[tuple[int, Message]]:
        """Return what arrived as (channel, message), waiting for a first one when nothing did.

        A Failure is returned, not raised.

        Raises:
            AgentUnreachable: The connection broke and nothing was left to return.
        """
        if not self._arrived:
            self._read(timeout_s)
        arrived = list(self._arrived)
        self._arrived.clear()
        return arrived

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self.connect()
        if self._socket is None:
            raise AgentUnreachable(f"no connection to {self.path}")
        return self._socket

    def _take(self, channel: int) -> Message | None:
        for place, (arrived_on, message) in enumerate(self._arrived):
            if arrived_on == channel:
                del self._arrived[place]
                return message
        return None

    def _read(self, timeout_s: Seconds) -> None:
        opened = self._connected()
        opened.settimeout(max(timeout_s, 0.0))
        try:
            data = opened.recv(_READ_BYTES)
        except (TimeoutError, BlockingIOError):
            return
        except OSError as error:
            raise self._lost(f"broke the connection ({error})") from error
        if not data:
            raise self._lost("closed the connection")
        for channel, payload in self._reader.feed(data):
            self._arrived.append((channel, self._codec.decode(payload)))

    def _lost(self, what: str) -> AgentUnreachable:
        self.close()
        self._reader = FrameReader(CONTROL_LIMIT_BYTES)
        return AgentUnreachable(
            f"the agent at {self.path} {what}",
            hint="it stopped, crashed, or refuses this user: see 'qallow-agent doctor'",
        )


def _explain(path: Path, error: OSError) -> AgentUnreachable | NotAllowed | ConfigError:
    start = "start one with 'qallow-agent start', or name its socket with --socket"
    if isinstance(error, FileNotFoundError):
        return AgentUnreachable(f"no agent runs here: there is no socket {path}", hint=start)
    if isinstance(error, ConnectionRefusedError):
        return AgentUnreachable(f"no agent listens on {path} any more", hint=start)
    if isinstance(error, PermissionError):
        return NotAllowed(
            f"this user may not use the agent's socket {path}",
            hint="run as the agent's user, or join the group that owns the socket",
        )
    if isinstance(error, TimeoutError | BlockingIOError):
        return AgentUnreachable(
            f"the agent at {path} does not accept connections in time",
            hint="it may be stopped or overloaded: see its log",
        )
    return ConfigError(
        f"{path} cannot be the agent's socket: {error}", hint="name the right one with --socket"
    )
