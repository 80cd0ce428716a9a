"""Who may not be chosen, and why: now, or ever."""

from dataclasses import dataclass

from qallow_agent.base.units import show_bytes, show_joules
from qallow_agent.placement.cost import point_joules
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.settings import PlacementSettings

_GPU_KINDS = ("cuda", "gpu")
_GATES = {"defers": "puts off", "refuses": "refuses", "forbids": "may not take"}
_WORKING = ("ok", "hot", "warming")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a candidate is out.

    Args:
        why: The reason.
        lasting: Waiting will not help.
        change: What would help.
        gate: What its gate does, when that is why.
    """

    why: str
    lasting: bool
    change: str
    gate: str = ""


def refusal(request: Request, candidate: Candidate, settings: PlacementSettings) -> Refusal | None:
    """Return why a candidate cannot take the job; None when it can, perhaps after queueing."""
    return (
        _unfit_for_good(request, candidate, settings)
        or _over_budget(request, candidate)
        or _unfit_for_now(request, candidate)
    )


def _unfit_for_good(
    request: Request, candidate: Candidate, settings: PlacementSettings
) -> Refusal | None:
    if not fits_wish(request.device, candidate):
        named = "/" in request.device
        why = "is not" if named else f"is {candidate.kind} and"
        wish = f"{why} {request.device}{'' if named else ' is wanted'}"
        return Refusal(wish, lasting=True, change="wish for device=any, or for this one")
    if candidate.simulated and request.device != candidate.label:
        why = "is simulated: chosen only when named"
        return Refusal(why, lasting=True, change=f"name it: device={candidate.label}")
    if candidate.barred:
        change = "ask the mesh's operator for a line under [[submit]]"
        return Refusal(candidate.barred, lasting=True, change=change)
    return _no_kernel(request, candidate) or _never_room(request, candidate, settings)


def _no_kernel(request: Request, candidate: Candidate) -> Refusal | None:
    known = candidate.kernels.get(request.kernel)
    if known is None:
        why = f"has no {candidate.kind} backend of {request.kernel}"
        change = f"install a kernel package that offers {request.kernel} there"
        return Refusal(why, lasting=True, change=change)
    if known != request.kernel_hash:
        why = (
            f"has another version of {request.kernel} ({known[:12]}, wanted "
            f"{request.kernel_hash[:12]})"
        )
        return Refusal(why, lasting=True, change="install the same release of the kernel there")
    return None


def _never_room(
    request: Request, candidate: Candidate, settings: PlacementSettings
) -> Refusal | None:
    room_bytes = int(candidate.memory_bytes * settings.memory_share)
    if not candidate.memory_bytes or request.memory_bytes <= room_bytes:
        return None
    why = f"offers {show_bytes(room_bytes)}, a task needs {show_bytes(request.memory_bytes)}"
    return Refusal(why, lasting=True, change="make the task smaller")


def _over_budget(request: Request, candidate: Candidate) -> Refusal | None:
    if not request.max_joules:
        return None
    if not candidate.metered:
        why = "measures no energy, and the job has a budget of it"
        return Refusal(why, lasting=False, change="leave out max_joules")
    each = point_joules(request, candidate)
    whole = 0.0 if each is None else each * max(1, request.points)
    if whole <= request.max_joules:
        return None
    why = f"would take {show_joules(whole)} for the whole job, {show_joules(request.max_joules)} "
    return Refusal(why + "are allowed", lasting=False, change="raise max_joules")


def _unfit_for_now(request: Request, candidate: Candidate) -> Refusal | None:
    if candidate.state not in _WORKING:
        because = f": {candidate.why}" if candidate.why else ""
        why = f"is {candidate.state}{because}"
        return Refusal(why, lasting=False, change="its known-answer run must pass again")
    if candidate.slots < 1:
        why = "offers no slots"
        return Refusal(why, lasting=False, change="its owner must offer slots")
    if candidate.gate:
        why = f"{_GATES.get(candidate.gate, candidate.gate)} new work: {candidate.gate_why}"
        return Refusal(why, lasting=False, change=candidate.gate_fix, gate=candidate.gate)
    if candidate.key in request.shut:
        gate = request.shut[candidate.key]
        change = "what its refusal says; it is asked again in a few seconds"
        return Refusal(f"{_GATES[gate]} this job", lasting=False, change=change, gate=gate)
    if candidate.key in request.avoid:
        why = "refused or failed just now"
        return Refusal(why, lasting=False, change="it is asked again in a few seconds")
    return _no_room(request, candidate)


def _no_room(request: Request, candidate: Candidate) -> Refusal | None:
    """Return why a task has no memory there now: it is promised to leases, or used by others."""
    needs = f"a task needs {show_bytes(request.memory_bytes)}"
    left_bytes = candidate.memory_bytes - candidate.reserved_bytes
    if candidate.memory_bytes and request.memory_bytes > left_bytes:
        why = (
            f"has {show_bytes(max(0, left_bytes))} of {show_bytes(candidate.memory_bytes)} not "
            f"promised to leases, {needs}"
        )
        return Refusal(why, lasting=False, change="it is asked again when leases there end")
    available_bytes = candidate.available_bytes
    if available_bytes is not None and request.memory_bytes > available_bytes >= 0:
        why = f"has {show_bytes(available_bytes)} available now, {needs}"
        return Refusal(why, lasting=False, change="free memory there, or make the task smaller")
    return None


def fits_wish(wish: str, candidate: Candidate) -> bool:
    """Return whether a candidate is what ``device`` asks for."""
    if wish == "any":
        return True
    if wish == "gpu":
        return candidate.kind in _GPU_KINDS
    return wish in (candidate.kind, candidate.label, candidate.key)
