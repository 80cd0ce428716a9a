"""Working memory that begins where a cache line does."""

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
