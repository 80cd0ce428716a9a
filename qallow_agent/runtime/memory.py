"""Memory that processes share by descriptor, and memory for what arrives in pieces.

A segment is an anonymous memory file. It has no name in any file system, so the kernel frees it
with the last process that holds it, however that process ends. Its size is sealed: a peer that
could shorten it would kill whoever reads beyond the new end.
"""

import fcntl
import mmap
import os
from typing import Final

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.base.units import show_bytes

_SIZE_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_HUGE: Final = 4 << 20
"""From here on huge pages save more page faults than they waste memory."""


def make_segment(size_bytes: int) -> int:
    """Return the descriptor of a fresh segment.

    Raises:
        OSError: No descriptor or no memory is left.
    """
    descriptor = os.memfd_create("qallow-hold", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SIZE_SEALS | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def map_segment(descriptor: int, most_bytes: int) -> mmap.mmap:
    """Return a segment as memory; one of a peer may be anything until it is checked.

    Args:
        descriptor: Stays the caller's to close.
        most_bytes: A larger one is refused.

    Raises:
        Malformed: It is no memory file, or its size is not sealed.
        TooLarge: It is larger than allowed, or there is no room to map it.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise Malformed("a descriptor of no memory file was handed over") from error
    if seals & _SIZE_SEALS != _SIZE_SEALS:
        raise Malformed("the size of a segment is not sealed")
    size_bytes = os.fstat(descriptor).st_size
    if not 0 < size_bytes <= most_bytes:
        raise TooLarge(f"a segment of {show_bytes(size_bytes)}, allowed {show_bytes(most_bytes)}")
    try:
        return mmap.mmap(descriptor, size_bytes, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    except OSError as error:
        raise TooLarge(
            f"a segment of {show_bytes(size_bytes)} cannot be mapped: {error}"
        ) from error


def allocate(size_bytes: int) -> mmap.mmap:
    """Return private memory, given back to the system as soon as nothing lies in it.

    Raises:
        MemoryError: The system, or our limit, refuses it.
    """
    try:
        memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(str(error)) from error
    if size_bytes >= _HUGE:
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
