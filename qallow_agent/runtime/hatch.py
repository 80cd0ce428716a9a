"""Hatches: Unix sockets through which a submitter hands memory to a runner on its machine.

The runner tells address, password and countersign over the submitter's authenticated CURVE
connection. Each side then proves that it is the one that was told, and that it runs as the user it
said. The names are abstract: nothing is left in a file system, and none needs to be opened.
Nothing here waits: what is read was sent before the message on the CURVE connection that says so.
"""

import functools
import hashlib
import hmac
import os
import socket
import struct
from pathlib import Path
from typing import Final

from qallow_agent.base.errors import PeerError
from qallow_agent.base.ids import LeaseId
from qallow_agent.jobs.parcels import MAX_NAME_BYTES, Hatch

_SECRET_BYTES: Final = 32
_PREFIX: Final = b"\0qallow-"
"""A hostile runner must not make a submitter talk to other programs of its machine."""
_BACKLOG: Final = 64
_CREDENTIALS: Final = struct.Struct("3i")
"""Source: Linux, unix(7), SO_PEERCRED: pid, uid, gid."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@functools.lru_cache(maxsize=1)
def _boot_id() -> bytes:
    try:
        return _BOOT_ID.read_bytes()
    except OSError:
        return os.urandom(16)  # no machine's: such a process shares memory with nobody


def machine_mark(runner_key: bytes) -> bytes:
    """Return what is equal for all processes under one kernel, and says nothing to others.

    Args:
        runner_key: A runner's CURVE key: marks for different runners cannot be compared.
    """
    return hashlib.blake2b(_boot_id(), key=runner_key, digest_size=16).digest()


class Doorstep:
    """The runner's end: lets in whom it was told of.

    Args:
        runner_key: The runner's public CURVE key.
    """

    def __init__(self, runner_key: bytes) -> None:
        self._mark = machine_mark(runner_key)
        self._address = _PREFIX + os.urandom(16).hex().encode()
        self._listener: socket.socket | None = None
        self._expected: dict[bytes, tuple[bytes, bytes, int]] = {}
        self._guests: dict[bytes, socket.socket] = {}

    def invite(self, guest: bytes, lease: LeaseId, machine: bytes, uid: int) -> Hatch:
        """Return where a guest may come to; nowhere when it is on another machine."""
        if not hmac.compare_digest(machine, self._mark):
            return Hatch(lease)
        if self._listener is None:
            try:
                self._listener = _listen(self._address)
            except OSError:
                return Hatch(lease)
        password, countersign = os.urandom(_SECRET_BYTES), os.urandom(_SECRET_BYTES)
        self._expected[guest] = (password, countersign, uid)
        return Hatch(lease, self._address, password, countersign, os.geteuid())

    def admit(self, guest: bytes) -> bool:
        """Let in a guest that says it has come; others that came meanwhile too, if they may."""
        for _ in range(_BACKLOG):
            if self._listener is None:
                break
            try:
                caller, _ = self._listener.accept()
            except OSError:
                break
            if not self._greet(caller):
                caller.close()
        return guest in self._guests

    def collect(self, guest: bytes) -> list[tuple[bytes, int]]:
        """Return what a guest has handed over since: names and descriptors, now ours to close."""
        opened = self._guests.get(guest)
        return [] if opened is None else _collect(opened)

    def dismiss(self, guest: bytes) -> None:
        """Close a guest's socket."""
        self._expected.pop(guest, None)
        opened = self._guests.pop(guest, None)
        if opened is not None:
            opened.close()

    def close(self) -> None:
        """Close everything."""
        for guest in list(self._guests):
            self.dismiss(guest)
        if self._listener is not None:
            self._listener.close()

    def _greet(self, caller: socket.socket) -> bool:
        caller.setblocking(False)
        try:
            said = caller.recv(_SECRET_BYTES)
        except OSError:
            return False
        for guest, (password, countersign, uid) in list(self._expected.items()):
            if hmac.compare_digest(said, password) and _uid_of(caller) == uid:
                self.dismiss(guest)
                caller.send(countersign)
                self._guests[guest] = caller
                return True
        return False


class Visit:
    """The submitter's end.

    Args:
        hatch: What the runner said.

    Raises:
        OSError: Nobody listens there: the runner is in another network namespace.
        PeerError: It is no hatch, or somebody else's process listens there.
    """

    def __init__(self, hatch: Hatch) -> None:
        if not hatch.address.startswith(_PREFIX) or len(hatch.password) != _SECRET_BYTES:
            raise PeerError("what is said to be a hatch is none")
        self._countersign = hatch.countersign
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        try:
            self._socket.connect(hatch.address)
            self._introduce(hatch)
        except BaseException:
            self._socket.close()
            raise

    def confirmed(self) -> bool:
        """Return whether the runner has answered as it said it would."""
        try:
            said = self._socket.recv(_SECRET_BYTES)
        except OSError:
            return False
        return hmac.compare_digest(said, self._countersign)

    def hand_over(self, name: bytes, descriptor: int) -> None:
        """Hand over a segment.

        Raises:
            OSError: The runner is gone, or too many wait to be taken.
        """
        socket.send_fds(self._socket, [name], [descriptor])

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _introduce(self, hatch: Hatch) -> None:
        if _uid_of(self._socket) != hatch.uid:
            raise PeerError("another user's process listens at the hatch")
        self._socket.send(hatch.password)


def _listen(address: bytes) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened.setblocking(False)
    opened.bind(address)
    opened.listen(_BACKLOG)
    return opened


def _collect(opened: socket.socket) -> list[tuple[bytes, int]]:
    found: list[tuple[bytes, int]] = []
    while True:
        try:
            name, descriptors, _, _ = socket.recv_fds(
                opened, MAX_NAME_BYTES, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return found
        if not name:
            return found
        found += [(name, descriptor) for descriptor in descriptors]


def _uid_of(peer: socket.socket) -> int:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(credentials)[1]
    return uid
