"""Run a Python program as another user, from root: ``as_user.py UID PROGRAM ARGUMENT...``.

An interpreter below a folder that only root may enter is shown to that user by a mount that only
this process sees. Exits with 77 when the machine does not allow that.
"""

import ctypes
import os
import sys
from pathlib import Path

CANNOT = 77
_NEW_MOUNTS = 0x00020000
_PRIVATE, _BIND = 1 << 18 | 1 << 14, 1 << 12 | 1 << 14
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: bytes, flags: int, options: bytes = b"") -> None:
    done = _LIBC.mount(
        source.encode(), target.encode(), kind, ctypes.c_ulong(flags), ctypes.c_char_p(options)
    )
    checked(done, f"mount {target}")


def checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def open_up(folder: Path) -> None:
    """Make a folder reachable for everybody by a mount over the first closed one above it."""
    for parent in reversed(folder.parents):
        if parent.stat().st_mode & 0o005 == 0o005:
            continue
        held = os.open(folder, os.O_PATH)
        mount("none", str(parent), b"tmpfs", 0, b"mode=755")
        folder.mkdir(parents=True)
        mount(f"/proc/self/fd/{held}", str(folder), b"", _BIND)
        os.close(held)
        return


def main() -> None:
    uid, *program = sys.argv[1:]
    try:
        checked(_LIBC.unshare(_NEW_MOUNTS), "unshare")
        mount("none", "/", b"", _PRIVATE)
        open_up(Path(sys.base_prefix))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(CANNOT)
    os.setgroups([])
    os.setresgid(int(uid), int(uid), int(uid))
    os.setresuid(int(uid), int(uid), int(uid))
    os.execv(sys.executable, [sys.executable, *program])  # noqa: S606 - our own interpreter


main()
