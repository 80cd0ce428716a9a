"""Working memory that begins where a cache line does."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

LINE_BYTES = 64
"""A cache line, and the widest vector: one that lies across two lines takes twice as long."""


def scratch(size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return ``size`` zeros, shape (size,), that share no cache line with other memory."""
    kind = np.dtype(dtype)
    wanted = -(-size * kind.itemsize // LINE_BYTES) * LINE_BYTES
    room = np.zeros(wanted + LINE_BYTES, np.uint8)
    skip = -room.ctypes.data % LINE_BYTES
    return room[skip : skip + wanted].view(kind)[:size]


class _Kept(threading.local):
    room: npt.NDArray[np.float32] | None = None


_KEPT = _Kept()


def workspace(size: int) -> npt.NDArray[np.float32]:
    """Return ``size`` float32 values of whatever content, shape (size,): a thread's own.

    They are the same ones whenever the thread asks, since making them anew would take as long as a
    short task.
    """
    room = _KEPT.room
    if room is None or room.size < size:
        room = _KEPT.room = scratch(size, np.float32)
    return room[:size]
