"""The catalog: every kernel this node can offer, from entry points and settings.

A plug-in is foreign code. One that does not import, or declares nonsense, is reported and skipped:
it must never keep the agent from starting.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from qallow_agent.base.canonical import digest
from qallow_agent.base.errors import UnknownKernel
from qallow_agent.base.notice import Notice
from qallow_agent.kernels.backends import device_kinds
from qallow_agent.kernels.spec import Kernel
from qallow_agent.kernels.values import ITEM_BYTES, closest

GROUP = "qallow_agent.kernels"
"""Entry-point group in which a package announces its kernels as ``module:ATTRIBUTE``."""

OURS = "qallow-agent"
"""The origin of the kernels of this very package; all others are plug-ins."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kernel of the catalog: its content hash, and the package or setting it came from."""

    kernel: Kernel
    hash: str
    origin: str


@dataclass(frozen=True, slots=True)
class KernelOffer:
    """What an advert says of a kernel; ``backends`` are the kinds of devices that can run it."""

    name: str
    version: int
    hash: str
    backends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The kernels of this node by name, and what went wrong while loading the others.

    ``hosts`` are the kinds of plug-in devices, each with the names of the kernels it computes.
    """

    entries: Mapping[str, Entry]
    troubles: tuple[Notice, ...] = ()
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all kernels, sorted."""
        return tuple(sorted(self.entries))

    def entry(self, name: str) -> Entry:
        """Return a kernel with its hash and origin.

        Raises:
            UnknownKernel: No such kernel here; the hint names the closest.
        """
        found = self.entries.get(name)
        if found is None:
            raise UnknownKernel(f"no kernel is called {name!r}", hint=closest(name, self.entries))
        return found

    def get(self, name: str) -> Kernel:
        """Return a kernel.

        Raises:
            UnknownKernel: No such kernel here; the hint names the closest.
        """
        return self.entry(name).kernel

    def adverts(self) -> tuple[KernelOffer, ...]:
        """Return what to tell the mesh, sorted by name."""
        return tuple(
            KernelOffer(
                name=name,
                version=entry.kernel.spec.version,
                hash=entry.hash,
                backends=(*device_kinds(entry.kernel), *self._hosts_of(name)),
            )
            for name, entry in sorted(self.entries.items())
        )

    def _hosts_of(self, kernel: str) -> tuple[str, ...]:
        return tuple(kind for kind, names in sorted(self.hosts.items()) if kernel in names)


def announced(group: str, modules: Iterable[str]) -> list[tuple[EntryPoint, str]]:
    """Return what plug-ins there are, each with where it comes from; nothing is imported.

    Args:
        group: The entry-point group that packages announce them in, in order of name.
        modules: Further ones from the settings, as ``module:ATTRIBUTE``.
    """
    points = sorted(entry_points(group=group), key=lambda point: (point.name, point.value))
    found = [(point, point.dist.name if point.dist is not None else "?") for point in points]
    return found + [(EntryPoint(name="", value=each, group=group), "settings") for each in modules]


def fetch(point: EntryPoint) -> Any:
    """Import what a plug-in is declared by.

    Raises:
        ValueError: It is not named as ``module:ATTRIBUTE``.
        Exception: Whatever foreign code raises.
    """
    if point.pattern.match(point.value) is None:
        raise ValueError(f"{point.value!r} is not of the form module:ATTRIBUTE")
    return point.load()


def load_catalog(modules: Iterable[str] = (), disabled: Iterable[str] = ()) -> Catalog:
    """Return every kernel that installed packages announce or ``modules`` names.

    Args:
        modules: Extra kernels as ``module:ATTRIBUTE``.
        disabled: Names of kernels to leave out.

    Returns:
        A catalog; whatever could not be loaded is among its ``troubles``. Of two kernels with one
        name the first is kept: packages in order of name, then ``modules`` in the given order.
    """
    hidden = tuple(disabled)
    entries: dict[str, Entry] = {}
    troubles: list[Notice] = []
    for point, origin in announced(GROUP, modules):
        loaded = _load(point, origin)
        if isinstance(loaded, Notice):
            troubles.append(loaded)
            continue
        name = loaded.kernel.spec.name
        held = entries.get(name)
        if held is not None and held.hash != loaded.hash:
            troubles.append(_trouble(point, origin, f"the name {name!r} is taken"))
        elif name not in hidden:
            entries.setdefault(name, loaded)
    return Catalog(entries=entries, troubles=tuple(troubles))


def kernel_hash(kernel: Kernel) -> str:
    """Return a kernel's content hash: equal exactly when spec and source are equal.

    The hash covers the declared spec, the known answers and the source text of the declaring
    module, the backends' modules and ``sources``. Nothing but package parents is imported.

    Raises:
        ImportError: A backend's module does not exist or has no source.
    """
    modules = {kernel.module, *kernel.sources}
    modules.update(reference.partition(":")[0] for reference in kernel.backends.values())
    described = {
        "spec": _plain(kernel.spec),
        "canary": _plain(kernel.canary),
        "backends": dict(kernel.backends),
        "sources": {name: _source_digest(name) for name in sorted(modules)},
    }
    return digest("qallow/kernel/v1", described)


def _source_digest(module: str) -> str:
    found = importlib.util.find_spec(module)
    get_source = getattr(found.loader, "get_source", None) if found is not None else None
    text = get_source(module) if get_source is not None else None
    if text is None:
        raise ImportError(f"module {module!r} has no source to hash")
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    """Return a declaration as data; functions by name, since their source is hashed anyway."""
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value.hex()
    if callable(value):
        return getattr(value, "__qualname__", "?")
    return value


def _load(point: EntryPoint, origin: str) -> Entry | Notice:
    try:
        kernel = fetch(point)
        if not isinstance(kernel, Kernel):
            return _trouble(point, origin, f"it is a {type(kernel).__name__}, not a Kernel")
        nonsense = _nonsense(kernel)
        if nonsense:
            return _trouble(point, origin, nonsense)
        return Entry(kernel=kernel, hash=kernel_hash(kernel), origin=origin)
    except Exception as error:  # noqa: BLE001 - a plug-in is foreign code and may raise anything
        return _trouble(point, origin, f"{type(error).__name__}: {error}")


def _nonsense(kernel: Kernel) -> str:
    """Return what is wrong with a declaration, or nothing."""
    spec = kernel.spec
    for kind, items in (("parameter", spec.parameters), ("output", spec.outputs)):
        names = [item.name for item in items]
        if len(set(names)) != len(names):
            return f"two {kind}s share a name"
        for item in items:
            if not item.name.isidentifier() or item.dtype not in ITEM_BYTES:
                return f"{kind} {item.name!r} has no usable name or dtype {item.dtype!r}"
    if not device_kinds(kernel):
        return "it has no backend for any kind of device"
    return ""


def _trouble(point: EntryPoint, origin: str, why: str) -> Notice:
    return Notice(
        event="kernels.skipped",
        text="A kernel plug-in was skipped.",
        level="warning",
        facts={"kernel": point.value, "origin": origin, "why": why},
    )
