"""What a candidate would cost: estimated seconds (or joules), each with its arithmetic."""

from dataclasses import dataclass

from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.settings import PlacementSettings


@dataclass(frozen=True, slots=True)
class Score:
    """The cost of running here, lower is better, and how it was reckoned."""

    cost: float
    why: str


def effective_rate(candidate: Candidate, settings: PlacementSettings) -> float:
    """Return the ops per second that one slot of a candidate is trusted with."""
    measured = candidate.rate if candidate.rate and candidate.rate > 0 else settings.unknown_rate
    return measured * (settings.hot_share if candidate.state == "hot" else 1.0)


def task_seconds(request: Request, candidate: Candidate, settings: PlacementSettings) -> Seconds:
    """Return how long one point takes on one slot, transfer included."""
    transfer = 0.0
    if candidate.rtt_s > 0:
        transfer = candidate.rtt_s + request.transfer_bytes / settings.bandwidth_bytes
    return request.ops / effective_rate(candidate, settings) + transfer


def score(request: Request, candidate: Candidate, taken: int, settings: PlacementSettings) -> Score:
    """Return what the next slot of a candidate costs when ``taken`` of its slots are spoken for.

    Latency counts the way there and back and the queue; throughput counts only how fast points
    flow once started. An energy wish falls back to throughput where joules are unknown, behind
    every candidate whose joules are known.
    """
    seconds = task_seconds(request, candidate, settings)
    waiting = _queue_seconds(request, candidate, taken, settings, seconds)
    rated = "measured" if candidate.rate else "assumed"
    rate = effective_rate(candidate, settings)
    parts = [f"{rate:.3g} ops/s a slot ({rated})"]
    if candidate.state != "ok":
        parts.append(candidate.state)
    if candidate.rtt_s > 0:
        parts.append(f"rtt {show_seconds(candidate.rtt_s)}")
    parts.append(f"{max(0, candidate.free - taken)} of {candidate.slots} slots free")
    if request.prefer == "energy":
        joules = candidate.joules_per_op
        if joules is not None:
            return Score(joules * request.ops + waiting * 1e-6, f"{joules:.3g} J/op, {parts[-1]}")
        return Score(1e6 * (1 + seconds + waiting), "joules unknown, " + ", ".join(parts))
    if request.prefer == "latency":
        cost = seconds + waiting
        return Score(cost, f"{show_seconds(cost)} a task: " + ", ".join(parts))
    # A remote slot yields as much as a local one once its pipe is full, so round trips are left
    # out; a crowded device is a little worse, since its slots share caches and memory.
    crowd = 1 + 0.1 * min(1.0, (candidate.busy + taken) / max(1, candidate.slots))
    flow = request.ops / rate
    if candidate.rtt_s > 0:
        flow += request.transfer_bytes / settings.bandwidth_bytes
    return Score(flow * crowd + waiting, f"{show_seconds(flow)} a point: " + ", ".join(parts))


def _queue_seconds(
    request: Request,
    candidate: Candidate,
    taken: int,
    settings: PlacementSettings,
    seconds: Seconds,
) -> Seconds:
    """Return the wait for a slot: start-up while warming, other leases' turns when all are busy."""
    waiting = settings.warming_s if candidate.state == "warming" else 0.0
    if request.prefer == "throughput" and request.points:
        share = max(1.0, request.points / max(1, request.slots))
        waiting /= share
    over = candidate.busy + taken + 1 - candidate.slots
    if over > 0:
        waiting += seconds * 10 * over / candidate.slots
    return waiting
