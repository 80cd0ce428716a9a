"""Budgets of energy: what a whole job would take on a device, and whether anyone can keep to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qallow_agent.base.units import show_joules
from qallow_agent.placement.cost import point_joules
from qallow_agent.placement.limits import refusal
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.settings import PlacementSettings


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a budget cannot be kept to, and the cheapest way out."""

    why: str
    fix: str


def objection(
    request: Request, candidates: Sequence[Candidate], settings: PlacementSettings
) -> Objection | None:
    """Return why no device could do a job within its budget; None when one might.

    A device that measures and has not run the kernel yet might: it is stopped when it uses more.
    """
    if not request.max_joules:
        return None
    free = replace(request, max_joules=0.0)
    fitting = [each for each in candidates if _ever(free, each, settings)]
    metered = [each for each in fitting if each.metered]
    budget = show_joules(request.max_joules)
    if fitting and not metered:
        why = f"no device of the mesh measures energy, so a budget of {budget} cannot be kept to"
        return Objection(why, "leave out max_joules; 'qallow-agent energy report' says why not")
    points = max(1, request.points)
    estimates = [(point_joules(request, each), each.label) for each in metered]
    known = [(each * points, label) for each, label in estimates if each is not None]
    if not known or len(known) < len(estimates):
        return None
    joules, label = min(known)
    if joules <= request.max_joules:
        return None
    affordable = int(points * request.max_joules / joules)
    fewer = f", or do at most {affordable:,} points" if affordable else ""
    what = f"{request.kernel} at {points:,} points" if points > 1 else request.kernel
    return Objection(
        f"{what} is estimated to take {show_joules(joules)} on {label}, which takes the least; "
        f"{budget} are allowed",
        f"raise max_joules to {joules * 1.1:.3g}{fewer}",
    )


def _ever(request: Request, candidate: Candidate, settings: PlacementSettings) -> bool:
    against = refusal(request, candidate, settings)
    return against is None or not against.lasting
