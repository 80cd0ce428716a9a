"""Who may not be chosen, and why: now, or ever."""

from dataclasses import dataclass

from qallow_agent.base.units import show_bytes
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.settings import PlacementSettings

_GPU_KINDS = ("cuda", "gpu")
_WORKING = ("ok", "hot", "warming")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a candidate is out; ``lasting`` when waiting will not help."""

    why: str
    lasting: bool


def refusal(request: Request, candidate: Candidate, settings: PlacementSettings) -> Refusal | None:
    """Return why a candidate cannot take the job; None when it can, perhaps after queueing."""
    return _unfit_for_good(request, candidate, settings) or _unfit_for_now(request, candidate)


def _unfit_for_good(
    request: Request, candidate: Candidate, settings: PlacementSettings
) -> Refusal | None:
    if not fits_wish(request.device, candidate):
        named = "/" in request.device
        why = "is not" if named else f"is {candidate.kind} and"
        return Refusal(f"{why} {request.device}{'' if named else ' is wanted'}", lasting=True)
    if candidate.simulated and request.device != candidate.label:
        return Refusal("is simulated: chosen only when named", lasting=True)
    known = candidate.kernels.get(request.kernel)
    if known is None:
        return Refusal(f"has no {candidate.kind} backend of {request.kernel}", lasting=True)
    if known != request.kernel_hash:
        return Refusal(
            f"has another version of {request.kernel} ({known[:12]}, wanted "
            f"{request.kernel_hash[:12]})",
            lasting=True,
        )
    room_bytes = int(candidate.memory_bytes * settings.memory_share)
    if candidate.memory_bytes and request.memory_bytes > room_bytes:
        return Refusal(
            f"offers {show_bytes(room_bytes)}, a task needs {show_bytes(request.memory_bytes)}",
            lasting=True,
        )
    return None


def _unfit_for_now(request: Request, candidate: Candidate) -> Refusal | None:
    if candidate.state not in _WORKING:
        because = f": {candidate.why}" if candidate.why else ""
        return Refusal(f"is {candidate.state}{because}", lasting=False)
    if candidate.slots < 1:
        return Refusal("offers no slots", lasting=False)
    if candidate.key in request.avoid:
        return Refusal("refused or failed just now", lasting=False)
    return None


def fits_wish(wish: str, candidate: Candidate) -> bool:
    """Return whether a candidate is what ``device`` asks for."""
    if wish == "any":
        return True
    if wish == "gpu":
        return candidate.kind in _GPU_KINDS
    return wish in (candidate.kind, candidate.label, candidate.key)
