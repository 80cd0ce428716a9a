"""The few system calls that Python does not offer, each with its error raised."""

import ctypes
import os
from typing import Any, Final

SET_PDEATHSIG: Final = 1
SET_DUMPABLE: Final = 4
SET_KEEPCAPS: Final = 8
SET_NAME: Final = 15
SET_CHILD_SUBREAPER: Final = 36
SET_NO_NEW_PRIVS: Final = 38
"""Source: Linux, include/uapi/linux/prctl.h."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def prctl(option: int, value: int | bytes) -> None:
    """Change something about this process.

    Raises:
        OSError: The kernel refuses.
    """
    wanted = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    zero = ctypes.c_ulong(0)
    checked(_LIBC.prctl(option, wanted, zero, zero, zero), f"prctl({option})")


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call by its number; integers are passed as machine words.

    Raises:
        OSError: The kernel refuses, or does not know the call (ENOSYS).
    """
    words = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return checked(_LIBC.syscall(ctypes.c_long(number), *words), f"system call {number}")


def libc(name: str, *arguments: Any) -> int:
    """Call a function of the C library that returns -1 on failure.

    Raises:
        OSError: It failed.
    """
    return checked(getattr(_LIBC, name)(*arguments), name)


def checked(result: int, what: str) -> int:
    """Return what a call returned.

    Raises:
        OSError: It is -1; says which call it was.
    """
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
