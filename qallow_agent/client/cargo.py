"""Cargo: an array of a task that is large enough to travel beside its parcel."""

import hashlib
import os
import threading
from typing import Any, Final

from qallow_agent.jobs.parcels import SMALL_BYTES

_NAME_BYTES: Final = 16
_REMEMBERED: Final = 64


class Cargo:
    """One array, and the name under which runners hold it.

    Args:
        array: C-contiguous; unchanged until the work is done.
        shared: Whether all slices of a sweep name it.
        again: Whether it may have been sent before.
    """

    __slots__ = ("__weakref__", "_name", "array", "keep", "shared")

    def __init__(self, array: Any, *, shared: bool = False, again: bool = False) -> None:
        self.array = array
        self.shared = shared
        self.keep = shared or again
        """Whether a runner shall keep it: then its name is the hash of its content."""
        self._name = b""

    @property
    def data(self) -> memoryview:
        """The array's bytes."""
        return memoryview(self.array).cast("B")

    def __len__(self) -> int:
        size: int = self.array.nbytes
        return size

    @property
    def name(self) -> bytes:
        """The name of the hold; SHA-256 is the fastest hash here where processors help with it."""
        if not self._name:
            hashed = hashlib.sha256(self.data).digest()[:_NAME_BYTES] if self.keep else b""
            self._name = hashed or os.urandom(_NAME_BYTES)
        return self._name


class Seen:
    """Remembers which memory was sent lately: what is sent again is worth a hash."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, int], None] = {}
        self._lock = threading.Lock()

    def again(self, array: Any) -> bool:
        """Return whether an array of this size at this place was sent before."""
        place = (int(array.ctypes.data), int(array.nbytes))
        with self._lock:
            known = self._places.pop(place, 0) is None
            self._places[place] = None
            while len(self._places) > _REMEMBERED:
                del self._places[next(iter(self._places))]
        return known


def loaded(array: Any, *, shared: bool = False, again: bool = False) -> Any:
    """Return an array of NumPy as it is, or as cargo when it is large."""
    return array if array.nbytes < SMALL_BYTES else Cargo(array, shared=shared, again=again)
