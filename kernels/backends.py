"""Which code stands behind a kernel on which kind of device."""

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from qallow_agent.base.errors import KernelFailed
from qallow_agent.kernels.spec import Kernel

Backend = Callable[..., dict[str, Any]]
"""``run(*, points, **parameters)``: see :class:`~qallow_agent.kernels.spec.Kernel`."""

PREFERENCE: dict[str, tuple[str, ...]] = {"cpu": ("cpu", "reference"), "cuda": ("cuda",)}
"""Device kind -> backends that run on it, best first."""

BIT_EQUAL = ("reference", "cpu")
"""Backends that round after every operation: their results must agree to the last bit."""


def device_kinds(kernel: Kernel) -> tuple[str, ...]:
    """Return the kinds of devices that can run a kernel, sorted."""
    return tuple(
        kind
        for kind, names in sorted(PREFERENCE.items())
        if any(name in kernel.backends for name in names)
    )


def backend_for(kernel: Kernel, device_kind: str) -> str:
    """Return the best backend of a kernel on a kind of device.

    Raises:
        KernelFailed: The kernel has none; placement should not have sent it here.
    """
    for name in PREFERENCE.get(device_kind, ()):
        if name in kernel.backends:
            return name
    raise KernelFailed(
        f"kernel {kernel.spec.name!r} has no backend for device kind {device_kind!r}",
        hint=f"it runs on: {', '.join(device_kinds(kernel)) or 'nothing'}",
    )


def load_backend(kernel: Kernel, backend: str) -> Backend:
    """Return a kernel's function, importing (and compiling) its module on the first call.

    Raises:
        KernelFailed: No such backend, or its module does not import.
    """
    reference = kernel.backends.get(backend)
    if reference is None:
        raise KernelFailed(
            f"kernel {kernel.spec.name!r} has no backend {backend!r}",
            hint=f"it has: {', '.join(sorted(kernel.backends))}",
        )
    return _load(reference)


class Stage(NamedTuple):
    """The three functions of a kernel that is run in stages: see ``spec.Stages``."""

    begin: Callable[..., dict[str, Any]]
    advance: Callable[..., None]
    outputs: Callable[..., dict[str, Any]]


def load_stage(kernel: Kernel, backend: str) -> Stage | None:
    """Return how a backend of a kernel runs in stages; None when it does not.

    Raises:
        KernelFailed: Its module does not import.
    """
    module = None if kernel.stages is None else kernel.stages.backends.get(backend)
    if module is None:
        return None
    return Stage(*(_load(f"{module}:{name}") for name in Stage._fields))


@functools.lru_cache(maxsize=256)
def _load(reference: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise KernelFailed(
            f"backend {reference!r} does not load: {error}", hint=_import_hint(error)
        ) from error
    return function


def _import_hint(error: ImportError | AttributeError) -> str:
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if missing.startswith(("numba.cuda", "numba_cuda", "cuda")):
        return "pip install 'qallow-agent[gpu]' on that node, and restart its agent"
    return f"install what provides {missing!r} on that node" if missing else ""
