"""How CPU kernels are compiled: eagerly, without the GIL, cached where a cache can be written."""

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import numba
from numba.core.caching import Cache

Function = TypeVar("Function", bound=Callable[..., Any])

_SAVE: Final = "save_overload"

UNCACHEABLE = (RuntimeError, OSError, EOFError, pickle.UnpicklingError)
"""What numba raises when it finds no writable cache directory, a full disk or a torn entry."""


def compiled(signature: str) -> Callable[[Function], Function]:
    """Compile a function for one signature when its module is imported.

    An explicit signature compiles before a fork, so that runners inherit machine code. No
    ``parallel=True`` ever passes here: its threads do not survive a fork. No fast-math: results
    must be bit-equal to the reference. Division follows IEEE 754 instead of raising, as in NumPy.

    Args:
        signature: Numba signature, e.g. ``"void(int64, float32[::1])"``.

    Returns:
        A decorator; the function is cached on disk if possible and compiled in memory if not.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}

    def compile_now(function: Function) -> Function:
        try:
            return cast("Function", numba.njit(signature, cache=True, **options)(function))
        except UNCACHEABLE:
            return cast("Function", numba.njit(signature, **options)(function))

    return compile_now


def keep_compiled_in(folder: str) -> None:
    """Keep what is compiled from now on in this folder, and let no full or closed cache stop us.

    Numba writes a cached function back to the folder that was set when it was declared, and fails
    the call when it cannot; but the function is compiled by then, and good.
    """
    os.environ["NUMBA_CACHE_DIR"] = folder
    setattr(numba.config, "CACHE_DIR", folder)  # noqa: B010 - unknown to type checkers
    if not hasattr(Cache, _SAVE):  # numba's inside, which may change with any release
        return
    save = getattr(Cache, _SAVE)

    def save_if_possible(cache: Cache, signature: object, data: object) -> None:
        with suppress(*UNCACHEABLE):
            save(cache, signature, data)

    setattr(Cache, _SAVE, save_if_possible)
