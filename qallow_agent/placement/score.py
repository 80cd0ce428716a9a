"""What a candidate would cost under a preference: one number, and the arithmetic in words."""

from qallow_agent.base.units import show_seconds
from qallow_agent.placement.cost import (
    CROWDING,
    MOST_S,
    Estimate,
    Peers,
    estimate,
    point_joules,
    within,
)
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.settings import PlacementSettings

_UNKNOWN_JOULES = 1e15
"""Ranks candidates of unknown consumption behind every known one, in order of speed."""
_SOURCES = {
    "measured": "measured",
    "canary": "by its canary",
    "model": "as others of its model",
    "kind": "as others of its kind",
    "assumed": "assumed",
}


def cost(
    request: Request, candidate: Candidate, taken: int, peers: Peers, settings: PlacementSettings
) -> float:
    """Return what the next slot of a candidate costs; lower is better, never negative or infinite.

    Latency counts one task there and back, the start of a runner and the queue. Throughput counts
    how fast points flow once started, and spreads start and queue over the points that one slot
    will run: a remote slot yields as much as a local one when its pipe is full, so round trips
    are left out. Energy counts joules where they are known, and throughput where not.

    Args:
        request: What is wanted.
        candidate: A device that fits.
        taken: Its free slots that are spoken for already.
        peers: Rates of others, where it has none.
        settings: Assumptions where nothing was measured.
    """
    found = estimate(request, candidate, taken, peers, settings)
    if request.prefer == "latency":
        return within(found.point_s + found.wait_s + found.rtt_s, 2 * MOST_S)
    flow_s = within(found.point_s + found.wait_s / _points_a_slot(request), 2 * MOST_S)
    if request.prefer == "energy":
        joules = point_joules(request, candidate)
        if joules is None:
            return _UNKNOWN_JOULES + flow_s
        crowd = min(1.0, (max(0, candidate.busy) + taken) / max(1, candidate.slots))
        return within(joules * (1 + CROWDING * crowd), _UNKNOWN_JOULES)
    return flow_s


def explain(
    request: Request, candidate: Candidate, peers: Peers, settings: PlacementSettings
) -> str:
    """Return the arithmetic behind a candidate's cost in one line."""
    found = estimate(request, candidate, 0, peers, settings)
    parts = [
        f"{found.rate.ops:.3g} ops/s a slot ({_SOURCES[found.rate.source]})",
        f"{candidate.free} of {candidate.slots} slots free",
    ]
    if candidate.waiting > 0:
        parts.append(f"{candidate.waiting} waited for")
    if candidate.state != "ok":
        parts.append(candidate.state)
    if candidate.e is not None:
        parts.append(f"E {candidate.e / 1000:.3f}")
    parts += _ways(found, candidate)
    joules = point_joules(request, candidate)
    if request.prefer == "energy":
        parts.append("joules unknown" if joules is None else f"{joules:.3g} J a point")
        return ", ".join(parts)
    each = "task" if request.prefer == "latency" else "point"
    seconds = show_seconds(cost(request, candidate, 0, peers, settings))
    return f"about {seconds} a {each}: " + ", ".join(parts)


def _ways(found: Estimate, candidate: Candidate) -> list[str]:
    """Return in words what is spent beside computing."""
    parts: list[str] = []
    if found.rtt_s > 0:
        assumed = " (assumed)" if candidate.rtt_assumed else ""
        parts.append(f"rtt {show_seconds(found.rtt_s)}{assumed}")
    if found.transfer_s > 0:
        how = "measured" if candidate.bandwidth_bytes else "assumed"
        parts.append(f"{show_seconds(found.transfer_s)} of transfer ({how})")
    if found.start_s > 0:
        how = "measured" if candidate.start_s else "assumed"
        parts.append(f"{show_seconds(found.start_s)} to start a runner ({how})")
    if found.queue_s > 0:
        parts.append(f"{show_seconds(found.queue_s)} of queue (assumed)")
    return parts


def _points_a_slot(request: Request) -> float:
    return max(1.0, request.points / max(1, request.slots))
