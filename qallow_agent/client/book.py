"""The book of kernels that are known here: checks parameters before anything is sent."""

import threading
from collections.abc import Mapping
from typing import Any, Final

from qallow_agent.base.errors import UsageError
from qallow_agent.base.units import Seconds
from qallow_agent.config.load import load_settings
from qallow_agent.kernels.registry import Catalog, load_catalog
from qallow_agent.kernels.spec import KernelSpec

_OPS_PER_S: Final = 1e9
"""A guess at one slot's rate; only sizes the first request for runners, then they are measured."""


class KernelBook:
    """Specs of the kernels installed on this machine, read on first use."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._lock = threading.Lock()

    def spec(self, kernel: str) -> KernelSpec | None:
        """Return a kernel's spec; None when only the agent may know it.

        Raises:
            UsageError: What is given is no name.
        """
        catalog = self._catalog or self._load()
        entry = catalog.entries.get(kernel)
        if entry is not None:
            return entry.kernel.spec
        if not isinstance(kernel, str):
            raise UsageError(
                f"{kernel!r} is not the name of a kernel",
                hint="functions are not sent: 'qallow-agent kernels ls' lists what can run",
            )
        return None

    def called(self, kernel_hash: str) -> str:
        """Return the name of the kernel with this content hash; empty when it is not known here."""
        catalog = self._catalog or self._load()
        return next(
            (name for name, each in catalog.entries.items() if each.hash == kernel_hash), ""
        )

    def guess_s(
        self, kernel: str, scalars: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
    ) -> Seconds:
        """Return how long one evaluation may take, from what its kernel declares; 0 if unknown."""
        spec = self.spec(kernel)
        return 0.0 if spec is None else spec.demand(scalars, shapes=shapes).ops / _OPS_PER_S

    def _load(self) -> Catalog:
        with self._lock:
            if self._catalog is None:
                settings = load_settings().settings.kernels
                self._catalog = load_catalog(settings.modules, settings.disabled)
        return self._catalog
