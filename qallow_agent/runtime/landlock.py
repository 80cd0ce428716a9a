"""Landlock: files, TCP, signals and sockets that this process gives up for ever, root or not.

What a ruleset handles is forbidden unless a rule allows it. Rulesets add up: each further one can
only take away. Threads that exist already are not bound, so it is entered before any is started.

Source: Linux, Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from qallow_agent.runtime.libc import SET_NO_NEW_PRIVS, prctl, syscall

_CREATE: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
"""The same numbers on every architecture."""

_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_DEVICES: Final = 1 << 6 | 1 << 11
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_READS: Final = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""From which version on how many rights over files exist; they are the lowest bits."""

_NET_VERSION: Final = 4
_CONNECT_TCP: Final = 1 << 1
SCOPE_VERSION: Final = 6
_SCOPES: Final = 1 << 0 | 1 << 1
"""Abstract Unix sockets and signals stay within the processes that share the ruleset."""


def version() -> int:
    """Return which Landlock this kernel offers; 0 for none."""
    try:
        return syscall(_CREATE, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(
    read: Iterable[str], write: Iterable[str], devices: Iterable[str], *, network: bool
) -> None:
    """Give up every file but these, signals to strangers, and TCP connections.

    Args:
        read: Files and folders to read and execute; what does not exist is passed over.
        write: Folders to change at will, but for making device files in them.
        devices: Device files, or folders of them, to read, write and control.
        network: Keep the right to connect over TCP.

    Raises:
        OSError: The kernel has no Landlock, or refuses.
    """
    offered = version()
    known = max((bits for since, bits in _FILE_RIGHTS.items() if since <= offered), default=0)
    rights = (1 << known) - 1
    attributes = struct.pack("=Q", rights)
    if offered >= _NET_VERSION:
        attributes += struct.pack("=Q", 0 if network else _CONNECT_TCP)
    if offered >= SCOPE_VERSION:
        attributes += struct.pack("=Q", _SCOPES)
    ruleset = syscall(_CREATE, ctypes.c_char_p(attributes), len(attributes), 0)
    try:
        for paths, allowed in (
            (read, rights & _READS),
            (write, rights & ~_MAKE_DEVICES),
            (devices, rights & (_OF_A_FILE | _READ_DIR)),
        ):
            for path in paths:
                with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    _allow(ruleset, path, allowed)
        prctl(SET_NO_NEW_PRIVS, 1)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_A_FILE
        rule = ctypes.c_char_p(struct.pack("=Qi", rights, descriptor))
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def around(folder: Path, hidden: tuple[Path, ...]) -> list[str]:
    """Return what to allow so that all of a folder can be read but what is hidden.

    Rules can only allow. So a folder that holds something hidden is allowed piece by piece: all
    that stands in it now, but not the folder itself.

    Args:
        folder: Where to read; links are followed.
        hidden: Resolved paths.
    """
    try:
        real = folder.resolve()
        if any(real.is_relative_to(secret) for secret in hidden):
            return []
        if not any(secret.is_relative_to(real) for secret in hidden):
            return [str(real)]
        return [path for entry in sorted(real.iterdir()) for path in around(entry, hidden)]
    except OSError:  # it is gone, or not ours to look into: then it stays forbidden
        return []
