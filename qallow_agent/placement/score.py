"""What a candidate would cost: estimated seconds (or joules), and the arithmetic in words."""

from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.settings import PlacementSettings

_CROWDING = 0.1
"""A full device's slots share caches and memory: each is about this much slower."""
_TURNS = 10
"""Tasks that others are assumed to have left when every slot is busy."""
_MOST_RATE = 1e18
"""An advert that claims more claims nothing: no device computes an exa-op on one slot."""
_UNKNOWN_JOULES = 1e6
"""Ranks candidates of unknown consumption behind every known one, in order of speed."""


def effective_rate(candidate: Candidate, settings: PlacementSettings) -> float:
    """Return the ops per second that one slot of a candidate is trusted with."""
    rate = candidate.rate
    measured = rate if rate is not None and 0 < rate < _MOST_RATE else settings.unknown_rate
    return measured * (settings.hot_share if candidate.state == "hot" else 1.0)


def cost(request: Request, candidate: Candidate, taken: int, settings: PlacementSettings) -> float:
    """Return what the next slot of a candidate costs; lower is better.

    Latency counts one task there and back and the queue. Throughput counts how fast points flow
    once started: a remote slot yields as much as a local one when its pipe is full, so round
    trips are left out. Energy counts joules where they are known, and throughput where not.

    Args:
        request: What is wanted.
        candidate: A device that fits.
        taken: Its free slots that are spoken for already.
        settings: Assumptions where nothing was measured.
    """
    compute_s = request.ops / effective_rate(candidate, settings)
    transfer_s = request.transfer_bytes / settings.bandwidth_bytes if candidate.rtt_s > 0 else 0.0
    crowd = min(1.0, (candidate.busy + taken) / max(1, candidate.slots))
    flow_s = (compute_s + transfer_s) * (1 + _CROWDING * crowd)
    flow_s += _wait_s(request, candidate, taken, settings, compute_s)
    if request.prefer == "latency":
        return flow_s + candidate.rtt_s
    if request.prefer == "energy":
        joules = candidate.joules_per_op
        return _UNKNOWN_JOULES + flow_s if joules is None else joules * request.ops
    return flow_s


def explain(request: Request, candidate: Candidate, settings: PlacementSettings) -> str:
    """Return the arithmetic behind a candidate's cost in one line."""
    rated = "measured" if candidate.rate else "assumed"
    parts = [f"{effective_rate(candidate, settings):.3g} ops/s a slot ({rated})"]
    parts.append(f"{candidate.free} of {candidate.slots} slots free")
    if candidate.state != "ok":
        parts.append(candidate.state)
    if candidate.rtt_s > 0:
        parts.append(f"rtt {show_seconds(candidate.rtt_s)}")
    if request.prefer == "energy":
        joules = candidate.joules_per_op
        parts.append("joules unknown" if joules is None else f"{joules:.3g} J/op")
        return ", ".join(parts)
    each = "task" if request.prefer == "latency" else "point"
    seconds = show_seconds(cost(request, candidate, 0, settings))
    return f"{seconds} a {each}: " + ", ".join(parts)


def _wait_s(
    request: Request,
    candidate: Candidate,
    taken: int,
    settings: PlacementSettings,
    compute_s: Seconds,
) -> Seconds:
    """Return the wait for a slot: start-up while warming, others' turns when all are busy.

    For throughput the start-up is spread over the points that one slot will run.
    """
    wait_s = settings.warming_s if candidate.state == "warming" else 0.0
    if request.prefer != "latency" and request.points:
        wait_s /= max(1.0, request.points / max(1, request.slots))
    over = candidate.busy + taken + 1 - candidate.slots
    return wait_s + (compute_s * _TURNS * over / max(1, candidate.slots) if over > 0 else 0.0)
