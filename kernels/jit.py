"""How CPU kernels are compiled: eagerly, without the GIL, cached where a cache can be written."""

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import numba
from numba.core.caching import Cache
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

_SAVE: Final = "save_overload"

UNCACHEABLE = (RuntimeError, OSError, EOFError, pickle.UnpicklingError)
"""What numba raises when it finds no writable cache directory, a full disk or a torn entry."""

WIDEST_VECTORS = '"prefer-vector-width"="512"'
"""LLVM's own choice on most processors with 512-bit vectors is to leave half of them unused."""


def compiled(signature: str, *, contract: bool = False) -> Callable[[Function], Function]:
    """Compile a function for one signature when its module is imported.

    An explicit signature compiles before a fork, so that runners inherit machine code. No
    ``parallel=True`` ever passes here: its threads do not survive a fork. No fast-math: results
    must be bit-equal to the reference. Division follows IEEE 754 instead of raising, as in NumPy.

    Args:
        signature: Numba signature, e.g. ``"void(int64, float32[::1])"``.
        contract: Let multiply-adds round once. For measuring only: no kernel may.

    Returns:
        A decorator; the function is cached on disk if possible and compiled in memory if not.
    """
    fastmath = {"contract"} if contract else False
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}

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


def _wide_vectors(_typing: object) -> tuple[Any, Callable[..., Any]]:
    """Ask LLVM for its widest vectors in the compiled function that calls this.

    Results are the same without it. It writes an attribute that llvmlite has no word for, so it
    leaves the function alone where llvmlite keeps its attributes in another way.
    """

    def generate(context: Any, builder: Any, _signature: object, _arguments: object) -> Any:
        attributes = builder.function.attributes
        if isinstance(attributes, set):
            set.add(attributes, WIDEST_VECTORS)
        return context.get_dummy_value()

    return numba.types.void(), generate


wide_vectors = cast("Callable[[], None]", intrinsic(_wide_vectors))
