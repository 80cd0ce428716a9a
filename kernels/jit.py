"""How CPU kernels are compiled: eagerly, without the GIL, cached where a cache can be written."""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

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
