"""Objections: why a lease request is turned away at the door, before it may wait."""

from collections.abc import Mapping
from dataclasses import dataclass

from qallow_agent.base.units import show_bytes
from qallow_agent.jobs.messages import LeaseRequest
from qallow_agent.jobs.model import DeviceHealth, KernelOffer
from qallow_agent.jobs.workplace import Workplace

_KEY_BYTES = 32
_UNTRUSTED = (DeviceHealth.LOST, DeviceHealth.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Objection:
    """The code, message and hint of a LeaseRefusal."""

    code: str
    message: str
    hint: str = ""


def objection(
    request: LeaseRequest,
    place: Workplace,
    kernels: Mapping[str, KernelOffer],
) -> Objection | None:
    """Return why this device will not take this request; None when it may wait here."""
    name = place.spec.name
    tried = request.shadow and place.on_trial
    if not place.spec.usable or (place.state in _UNTRUSTED and not tried):
        against = place.complaint
        return Objection("no-device", f"{name} is {place.state}: {against.why}", against.fix)
    sound = request.slots >= 1 and request.memory_bytes >= 0
    if len(request.submitter_key) != _KEY_BYTES or not sound:
        return Objection("malformed", "a request needs a CURVE key of 32 bytes and a slot")
    return _no_kernel(request, place, kernels) or _no_memory(request, place)


def _no_kernel(
    request: LeaseRequest, place: Workplace, kernels: Mapping[str, KernelOffer]
) -> Objection | None:
    offer = kernels.get(request.kernel)
    if offer is None or place.spec.kind not in offer.kinds:
        message = f"{place.spec.name} has no backend of {request.kernel!r}"
        return Objection("unknown-kernel", message)
    if offer.hash != request.kernel_hash:
        message = f"{request.kernel!r} is another version here ({offer.hash[:12]})"
        return Objection("unknown-kernel", message, "install the same release on every node")
    return None


def _no_memory(request: LeaseRequest, place: Workplace) -> Objection | None:
    memory_bytes = place.spec.memory_bytes
    if not memory_bytes or request.memory_bytes <= memory_bytes:
        return None
    needed, there = show_bytes(request.memory_bytes), show_bytes(memory_bytes)
    message = f"a task needs {needed}, {place.spec.name} has {there}"
    return Objection("device-memory", message, "make the task smaller")
