"""Plug-in devices: accelerators that an installed package, or a setting, brings along.

A plug-in is foreign code. One that does not import, declares nonsense or hangs is reported and
skipped; it is asked about its devices in a thread, and computes in runner processes only.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.plugin import DevicePlugin, PluginDevice
from qallow_agent.base.units import Seconds
from qallow_agent.kernels.backends import Backend
from qallow_agent.kernels.registry import announced, fetch

GROUP = "qallow_agent.devices"
"""Entry-point group in which a package announces its plug-in as ``module:ATTRIBUTE``."""

IMPORT_S: Seconds = 10.0
"""Importing a plug-in takes milliseconds; drivers belong into ``probe`` and ``run``."""

_RESERVED = ("any", "cpu", "cuda", "gpu")
_MOST_LETTERS = 32
_SKIP_FIX = "mend the plug-in, or leave it out of devices.plugins and of the installed packages"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in that was loaded: ``value`` is its ``module:ATTRIBUTE``, ``origin`` who names it."""

    device: DevicePlugin
    kind: str
    kernels: tuple[str, ...]
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Plugins:
    """All plug-ins by kind, and what is wrong with the others."""

    by_kind: Mapping[str, Plugin]
    complaints: tuple[Complaint, ...] = ()

    @property
    def hosts(self) -> dict[str, tuple[str, ...]]:
        """Kind -> names of the kernels that it computes."""
        return {kind: plugin.kernels for kind, plugin in self.by_kind.items()}

    @property
    def values(self) -> dict[str, str]:
        """Kind -> ``module:ATTRIBUTE``."""
        return {kind: plugin.value for kind, plugin in self.by_kind.items()}


NO_PLUGINS = Plugins({})


@dataclass(frozen=True, slots=True)
class Attachment:
    """A plug-in's device as a runner uses it."""

    plugin: Plugin
    name: str

    def backend(self, kernel: str) -> Backend:
        """Return what computes a kernel on this device."""

        def run(*, points: int, **parameters: Any) -> dict[str, Any]:
            return dict(self.plugin.device.run(self.name, kernel, points, parameters))

        return run

    def canary(self) -> str:
        """Return what the plug-in says is wrong with its device, or ""."""
        return str(self.plugin.device.canary(self.name))


def load_plugins(modules: Iterable[str] = ()) -> Plugins:
    """Return every device plug-in that installed packages announce or ``modules`` names.

    Of two plug-ins for one kind the first is kept: packages in order of name, then ``modules``.
    """
    found: dict[str, Plugin] = {}
    complaints: list[Complaint] = []
    for point, origin in announced(GROUP, modules):
        loaded = _load(point, origin)
        if isinstance(loaded, Plugin) and loaded.kind in found:
            loaded = f"there is another plug-in for the kind {loaded.kind!r}"
        if isinstance(loaded, str):
            what = f"device plug-in {point.value} ({origin}) was skipped: {loaded}"
            complaints.append(Complaint(what, _SKIP_FIX))
        else:
            found[loaded.kind] = loaded
    return Plugins(found, tuple(complaints))


def attach(value: str, kind: str, device: str) -> Attachment:
    """Return a plug-in's device, for the runner of one of its slots.

    Args:
        value: The plug-in as ``module:ATTRIBUTE``.
        kind: The kind of its devices.
        device: Which of them.

    Raises:
        DeviceLost: It does not load here, or is for another kind.
    """
    loaded = _load(EntryPoint(name=kind, value=value, group=GROUP), "")
    if isinstance(loaded, Plugin) and loaded.kind == kind:
        return Attachment(loaded, device)
    why = loaded if isinstance(loaded, str) else f"it is for {loaded.kind!r}"
    raise DeviceLost(f"device plug-in {value!r} for {kind!r} does not load: {why}", hint=_SKIP_FIX)


def nonsense(plugin: Plugin, device: Any) -> str:
    """Return what is wrong with a device as a plug-in describes it, or nothing."""
    if not isinstance(device, PluginDevice):
        return f"probe() returned a {type(device).__name__}, not a PluginDevice"
    name: Any = device.name
    if not isinstance(name, str) or not name.startswith(plugin.kind) or not _is_word(name):
        return f"the name {name!r} does not begin with {plugin.kind!r}, or is no short word"
    counts: tuple[Any, ...] = (device.slots, device.memory_bytes)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return f"slots or memory of {name} is no whole number from 0 up"
    return ""


def _load(point: EntryPoint, origin: str) -> Plugin | str:
    """Return a plug-in, or what is wrong with it."""
    loaded: list[Plugin | str] = []

    def load() -> None:
        try:
            loaded.append(_declared(fetch(point), point.value, origin))
        except BaseException as error:  # noqa: BLE001 - foreign code may raise anything
            loaded.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=load, name="plug-in", daemon=True)
    thread.start()
    thread.join(IMPORT_S)
    return loaded[0] if loaded else f"it did not import within {IMPORT_S:g} s"


def _declared(device: Any, value: str, origin: str) -> Plugin | str:
    if not isinstance(device, DevicePlugin):
        return f"a {type(device).__name__} lacks some of what a device plug-in has"
    kind: Any = device.kind
    kernels: tuple[Any, ...] = tuple(device.kernels)
    if not isinstance(kind, str) or not _is_word(kind) or kind in _RESERVED:
        return f"its kind {kind!r} is taken, or is no short lower-case word"
    if not all(isinstance(name, str) for name in kernels):
        return "its kernels are not all names"
    return Plugin(device, kind, kernels, value, origin)


def _is_word(text: str) -> bool:
    plain = text.isascii() and text.isalnum() and text == text.lower() and text[:1].isalpha()
    return plain and len(text) <= _MOST_LETTERS
