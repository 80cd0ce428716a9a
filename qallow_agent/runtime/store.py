"""The state directory: one owner, atomic files, nothing half-written."""

import errno
import fcntl
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from qallow_agent.base.errors import ConfigError, StorageCorrupt, StorageError, StorageFull

_NAME = re.compile(r"[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)*")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class StateStore:
    """Durable bytes by name below one directory that only one agent may use at a time.

    Args:
        directory: Made with mode 0700 when missing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._rooms = directory / "rooms"
        self._lock_fd = -1

    def open(self) -> Self:
        """Make the directory, take its lock and return the store.

        Raises:
            ConfigError: It cannot be made or written, others may read it, or another agent has it.
            StorageError: Its disk is full or failed.
        """
        try:
            self._rooms.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            descriptor = os.open(
                self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            if error.errno in _FULL:
                raise storage_error(self.directory, error, self.directory) from error
            raise ConfigError(
                f"the state directory {self.directory} cannot be used: {error.strerror}",
                hint="choose a writable one with --set node.state_dir=DIR",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise ConfigError(
                f"another agent (pid {owner}) uses the state directory {self.directory}",
                hint="stop it, or give this agent its own with --set node.state_dir=DIR",
            ) from error
        self._lock_fd = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self.close()
            raise storage_error(self.directory / "lock", error, self.directory) from error
        return self

    def close(self) -> None:
        """Give the directory back."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def put(self, name: str, data: bytes | None) -> None:
        """Make bytes durable under a name before returning; None deletes.

        Raises:
            StorageFull: No space; the old bytes are still there.
            StorageError: The disk failed; the old bytes are still there.
        """
        path = self._path(name)
        try:
            if data is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(path, data)
        except OSError as error:
            raise storage_error(path, error, self.directory) from error

    def kept(self, room: str) -> Mapping[str, bytes]:
        """Return every name of a room (``room/...``) with its bytes."""
        root = self._rooms / room
        found: dict[str, bytes] = {}
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.is_file() and not path.name.endswith(".new"):
                found[str(path.relative_to(self._rooms))] = path.read_bytes()
        return found

    def next_epoch(self) -> int:
        """Return a boot epoch larger than every one before, already durable.

        It is the wall clock in milliseconds unless that went back: two clones of a disk image
        must not share an epoch, since epochs tell their datagrams' nonces apart.

        Raises:
            StorageCorrupt: The kept epoch is no number.
        """
        previous = self.kept("boot").get("boot/epoch", b"0")
        if not previous.isdigit():
            raise StorageCorrupt(
                f"{self._path('boot/epoch')} holds no boot epoch",
                hint="write a number larger than every epoch before into it",
            )
        epoch = max(int(previous) + 1, time.time_ns() // 1_000_000)
        self.put("boot/epoch", str(epoch).encode())
        return epoch

    def forget(self, room: str) -> None:
        """Delete every name of a room."""
        for name in self.kept(room):
            self.put(name, None)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or ".." in name.split("/"):
            raise StorageError(f"{name!r} is no name for stored bytes")
        return self._rooms / name


def storage_error(path: Path, error: OSError, directory: Path) -> StorageError:
    """Return why a file could not be written, as the error that tells a full disk from others."""
    if error.errno in _FULL:
        return StorageFull(
            f"cannot write {path}: {error.strerror}",
            hint=f"free space on the disk of {directory}",
        )
    return StorageError(
        f"cannot write {path}: {error.strerror}",
        hint="check the disk, the mount and the file's permissions",
    )


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file's bytes durably: write beside, fsync, rename, fsync the folder.

    Raises:
        OSError: As the system says; the old file is untouched.
    """
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    finally:
        os.close(descriptor)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
