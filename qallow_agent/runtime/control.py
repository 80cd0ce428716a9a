"""The control socket's server side: local programs ask, the node answers, by channel number.

A Unix socket in the state directory; whoever connects is checked by peer credentials: our own
user, root, or a member of the socket's group.
"""

import grp
import os
import pwd
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from qallow_agent.base.codec import Codec
from qallow_agent.base.errors import ConfigError, PeerError
from qallow_agent.base.frames import FrameReader, frame
from qallow_agent.base.ids import Sender, control
from qallow_agent.base.message import Message, failure, kinds
from qallow_agent.jobs.local import ClientGone
from qallow_agent.node.commands import CONTROL_KINDS

CONTROL_LIMIT_BYTES = 16 << 20
"""Deposits travel in parts of 4 MiB; nothing else comes near."""

_BACKLOG_BYTES = 64 << 20
"""A client that does not read its answers is dropped when this much waits for it."""

_CREDENTIALS = struct.Struct("3i")
_READ_BYTES = 1 << 18
_MAX_PATH = 100


@dataclass(slots=True)
class _Connection:
    number: int
    socket: socket.socket
    reader: FrameReader
    unsent: bytearray = field(default_factory=bytearray)


class ControlServer:
    """Accepts local connections and moves typed messages between them and the node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._codec = Codec(kinds(CONTROL_KINDS), CONTROL_LIMIT_BYTES)
        self._listener: socket.socket | None = None
        self._by_fd: dict[int, _Connection] = {}
        self._by_number: dict[int, _Connection] = {}
        self._opened = 0

    def open(self) -> None:
        """Bind the socket, replacing a dead one.

        Raises:
            ConfigError: The path is too long or taken, or cannot be bound.
        """
        if len(os.fsencode(self.path)) > _MAX_PATH:
            raise ConfigError(
                f"the control socket's path is longer than {_MAX_PATH} bytes: {self.path}",
                hint="set node.socket to a shorter path, such as /run/qallow/agent.sock",
            )
        self._refuse_living_owner()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.is_socket():
                self.path.unlink()
            listener.bind(str(self.path))
            self.path.chmod(0o660)
            listener.listen(64)
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"the control socket {self.path} cannot be bound: {error.strerror}",
                hint="set node.socket to a path this user may write",
            ) from error
        self._listener = listener

    def _refuse_living_owner(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.path))
            except OSError:
                return
        raise ConfigError(
            f"another agent answers on the control socket {self.path}",
            hint="stop it with 'qallow-agent stop', or give this one its own with --socket PATH "
            "(QALLOW_SOCKET names the other's?)",
        )

    def close(self) -> None:
        """Close every connection after what is written has left, and remove the socket."""
        for connection in list(self._by_fd.values()):
            with suppress(OSError):
                connection.socket.settimeout(1)
                connection.socket.sendall(connection.unsent)
            connection.socket.close()
        self._by_fd.clear()
        self._by_number.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)

    def interest(self) -> dict[int, bool]:
        """Return the descriptors to watch, each with whether it also waits to write."""
        watched = {fd: bool(connection.unsent) for fd, connection in self._by_fd.items()}
        if self._listener is not None:
            watched[self._listener.fileno()] = False
        return watched

    def peers(self) -> tuple[int, ...]:
        """Return the processes at the other ends, as the kernel names them."""
        return tuple(_credentials(each.socket)[0] for each in self._by_fd.values())

    def serve(self, descriptor: int) -> list[tuple[Sender, Message]]:
        """Take in what a ready descriptor offers and return the messages, with their senders."""
        if self._listener is not None and descriptor == self._listener.fileno():
            self._accept(self._listener)
            return []
        connection = self._by_fd.get(descriptor)
        if connection is None:
            return []
        self._flush(connection)
        return self._read(connection)

    def reply(self, to: Sender, message: Message) -> None:
        """Write an answer on the channel that asked; a vanished client is no error."""
        _, number, channel = to[1:].split("/")
        connection = self._by_number.get(int(number))
        if connection is None:
            return
        connection.unsent += frame(int(channel), self._codec.encode(message))
        self._flush(connection)
        if len(connection.unsent) > _BACKLOG_BYTES:
            connection.socket.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                if not self._may_enter(accepted):
                    accepted.close()
                    continue
                self._opened += 1
                connection = _Connection(self._opened, accepted, FrameReader(CONTROL_LIMIT_BYTES))
                self._by_fd[accepted.fileno()] = connection
                self._by_number[connection.number] = connection

    def _may_enter(self, accepted: socket.socket) -> bool:
        _, uid, gid = _credentials(accepted)
        if uid in {0, os.geteuid()}:
            return True
        group = self.path.stat().st_gid
        if gid == group:
            return True
        try:
            return pwd.getpwuid(uid).pw_name in grp.getgrgid(group).gr_mem
        except KeyError:
            return False

    def _read(self, connection: _Connection) -> list[tuple[Sender, Message]]:
        try:
            data = connection.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            return self._drop(connection)
        received: list[tuple[Sender, Message]] = []
        try:
            for channel, payload in connection.reader.feed(data):
                sender = control(connection.number, channel)
                try:
                    received.append((sender, self._codec.decode(payload)))
                except PeerError as error:
                    self.reply(sender, failure(error))
        except PeerError:
            received += self._drop(connection)
        return received

    def _drop(self, connection: _Connection) -> list[tuple[Sender, Message]]:
        self._by_fd.pop(connection.socket.fileno(), None)
        self._by_number.pop(connection.number, None)
        connection.socket.close()
        return [(control(connection.number, 0), ClientGone())]

    def _flush(self, connection: _Connection) -> None:
        while connection.unsent:
            try:
                sent = connection.socket.send(memoryview(connection.unsent)[:_READ_BYTES])
            except BlockingIOError:
                return
            except OSError:
                connection.unsent.clear()
                return
            del connection.unsent[:sent]


def _credentials(connected: socket.socket) -> tuple[int, int, int]:
    """Return process, user and group of whoever connected."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return pid, uid, gid
