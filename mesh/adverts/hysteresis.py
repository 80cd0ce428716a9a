"""What is worth telling the mesh: small wobbles are not."""

from collections.abc import Mapping

from qallow_agent.base.reading import Reading
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.wire.gate import GateReport, GateState
from qallow_agent.mesh.wire.kinds import Advert, DeviceAdvert

_QUIET = ("joules", "hertz")
"""Units that change all the time and steer nothing: the next advert has them, whenever it comes."""

_GATE_STEP = 50
"""Thousandths of a component: a twentieth of the way from its hard limit to comfort."""


def what_changed(old: Advert, new: Advert, settings: AdvertSettings) -> str:
    """Return the first difference that is worth a new advert, or "" when there is none.

    The comparison is always with what was last *published*, so a slow creep is told once it has
    crept a full step, and a value that swings within a step is never told.
    """
    if old.kernels != new.kernels or old.release != new.release:
        return "kernels"
    if readings := _readings_changed(old.readings, new.readings, settings):
        return readings
    if len(old.devices) != len(new.devices):
        return "devices"
    for before, after in zip(old.devices, new.devices, strict=True):
        if changed := _device_changed(before, after, settings):
            return f"{after.name}.{changed}"
    return ""


_EXACT = (
    "name", "kind", "model", "state", "slots", "busy", "memory_bytes", "simulated", "why", "fix",
    "tried",
)  # fmt: skip


def _device_changed(old: DeviceAdvert, new: DeviceAdvert, settings: AdvertSettings) -> str:
    for name in _EXACT:
        if getattr(old, name) != getattr(new, name):
            return name
    # How many are warm or wait says little more than whether any are and do.
    for name in ("warm", "waiting"):
        if bool(getattr(old, name)) != bool(getattr(new, name)):
            return name
    if _relative(old.reserved_bytes, new.reserved_bytes) > settings.relative_step:
        return "reserved_bytes"
    if _gate_changed(old.gate, new.gate):
        return "gate"
    for name in ("rates", "joules"):
        before, after = getattr(old, name), getattr(new, name)
        if before.keys() != after.keys() or any(
            _relative(before[kernel], rate) > settings.relative_step
            for kernel, rate in after.items()
        ):
            return name
    return _readings_changed(old.readings, new.readings, settings)


def _gate_changed(old: GateReport | None, new: GateReport | None) -> bool:
    """Return whether a gate's state, policy or worst signals changed, or its score by a step.

    What it tells people changes with every measured value and is told along with the rest.
    """
    if old is None or new is None:
        return old is not new
    if (old.state, old.policy) != (new.state, new.policy):
        return True
    if new.state is not GateState.OPEN and old.culprits != new.culprits:
        return True
    moved = (abs(new.s - old.s), abs(new.c - old.c), abs(new.h - old.h))
    return max(moved) >= _GATE_STEP


def _readings_changed(
    old: Mapping[str, Reading], new: Mapping[str, Reading], settings: AdvertSettings
) -> str:
    if old.keys() != new.keys():
        return "readings"
    for name, after in new.items():
        before = old[name]
        if before.provenance != after.provenance or before.unit != after.unit:
            return name
        if before.value is None or after.value is None:
            if before.value is not after.value:
                return name
        elif _step(before.value, after.value, after.unit, settings):
            return name
    return ""


def _step(old: float, new: float, unit: str, settings: AdvertSettings) -> bool:
    if unit in _QUIET:
        return False
    if unit == "ratio":
        return abs(new - old) >= settings.ratio_step
    if unit == "celsius":
        return abs(new - old) >= settings.temperature_step_c
    return _relative(old, new) >= settings.relative_step


def _relative(old: float, new: float) -> float:
    scale = max(abs(old), abs(new))
    return abs(new - old) / scale if scale else 0.0
