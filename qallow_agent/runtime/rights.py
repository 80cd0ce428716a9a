"""Whose rights a process has: another user, no capabilities, folders hidden by a mount."""

import ctypes
import os
import pwd
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from qallow_agent.base.errors import ConfigError
from qallow_agent.runtime.libc import SET_KEEPCAPS, libc, prctl

RUNNER_UID: Final = 60_999
"""Belongs to nobody: outside of what Debian, systemd and containers with 65,536 users hand out.

Source: systemd, UIDS-GIDS.md (60706 to 61183 are unused); Debian Policy 9.2.2.
"""

_CAPABILITIES_3: Final = 0x20080522
_READ_PAST_PERMISSIONS: Final = 1 << 2
"""CAP_DAC_READ_SEARCH. Source: Linux, include/uapi/linux/capability.h."""

_NEW_MOUNTS: Final = 0x00020000
_NEW_USERS: Final = 0x10000000
_PRIVATE_ALL: Final = 1 << 18 | 1 << 14
_READ_ONLY: Final = 1 | 1 << 1 | 1 << 2 | 1 << 3
"""Source: Linux, include/uapi/linux/sched.h and mount.h."""


def runner_user(wanted: str) -> tuple[int, int]:
    """Return the user and group that runners of a root agent get.

    Args:
        wanted: A user's name or number; empty for one that nobody else has.

    Raises:
        ConfigError: There is no such user.
    """
    if not wanted:
        return RUNNER_UID, RUNNER_UID
    if wanted.isdigit():
        return int(wanted), int(wanted)
    try:
        found = pwd.getpwnam(wanted)
    except KeyError as error:
        raise ConfigError(
            f"runners.user = {wanted!r}, but this machine has no such user",
            hint=f"useradd --system {wanted}, or leave runners.user empty",
        ) from error
    return found.pw_uid, found.pw_gid


def device_groups(devices: Iterable[str]) -> list[int]:
    """Return the groups that own these device files, other than root's."""
    groups = set()
    for device in devices:
        path = Path(device)
        files = [path, *path.iterdir()] if path.is_dir() else [path]
        groups |= {file.stat().st_gid for file in files if file.exists()}
    return sorted(groups - {0})


def become(uid: int, gid: int, groups: list[int], *, reads_all: bool) -> None:
    """Turn root into another user without capabilities, for good.

    Args:
        uid: The user.
        gid: Its group.
        groups: Further groups, for devices.
        reads_all: Keep the right to read past permissions; something else must fence it.

    Raises:
        OSError: This user cannot be had here (a container may map few).
    """
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    prctl(SET_KEEPCAPS, int(reads_all))
    os.setresuid(uid, uid, uid)
    keep_capabilities(_READ_PAST_PERMISSIONS if reads_all else 0)


def keep_capabilities(kept: int = 0) -> None:
    """Give up every capability but these (a bit set, of those below 32).

    Raises:
        OSError: One of them is not ours to keep.
    """
    header = ctypes.c_char_p(struct.pack("=Ii", _CAPABILITIES_3, 0))
    libc("capset", header, ctypes.c_char_p(struct.pack("=6I", kept, kept, 0, 0, 0, 0)))


def unreadable(uid: int, gid: int, folders: Iterable[Path]) -> str:
    """Return what a user cannot enter on the way to some folders; empty if it can read all.

    A child tries it: permissions have too many sources to be computed.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        stopped = "nothing: the user cannot be had here"
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            stopped = next((found for folder in folders if (found := _blocked(folder))), "")
        finally:
            os.write(theirs, stopped.encode(errors="replace"))
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text


def _blocked(folder: Path) -> str:
    for path in (*reversed(folder.parents), folder):
        wanted = os.X_OK | (os.R_OK if path == folder else 0) if path.is_dir() else os.R_OK
        if not os.access(path, wanted):
            return str(path)
    return ""


def hide(folders: Iterable[Path]) -> None:
    """Cover folders with empty, unreadable ones, seen by this process and its children only.

    Root needs the right to mount for it; others a kernel that lets users have namespaces.

    Raises:
        OSError: Neither is allowed here.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        libc("unshare", _NEW_MOUNTS)
    else:
        libc("unshare", _NEW_USERS | _NEW_MOUNTS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount("/", "", _PRIVATE_ALL)
    for folder in folders:
        _mount(str(folder), "size=4k,mode=0", _READ_ONLY)


def _mount(where: str, options: str, flags: int) -> None:
    libc("mount", b"none", os.fsencode(where), b"tmpfs", ctypes.c_ulong(flags), options.encode())
