"""The cost model: what one slot of a device would take for a point, and how well that is known.

Every number an advert or a client claims is doubted here once: what is no sane quantity counts as
unknown, so that nothing behind this module meets a NaN, an infinity or a negative cost.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from qallow_agent.base.units import Seconds
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.settings import PlacementSettings

Source = Literal["measured", "canary", "model", "kind", "assumed"]

CROWDING = 0.1
"""A full device's slots share caches and memory: each is about this much slower."""
MOST_S: Seconds = 1e12
"""No estimate is larger: sums and products of such stay finite."""
MOST_BANDWIDTH = 1e13
"""Bytes per second that no link has."""
MOST_START_S: Seconds = 3_600.0
_LEAST_RATE = 1e-6
_MOST_JOULES = 1e12
_MOST_RATE = 1e18
"""An advert that claims more claims nothing: no device computes an exa-op on one slot."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Ops per second of one slot, and how that is known.

    Args:
        source: ``measured`` by work there, by its ``canary`` only, the median of devices of its
            ``model`` or of its ``kind``, or ``assumed``.
        hopeful: What it may be at best; infinite for a guess.
    """

    ops: float
    source: Source
    hopeful: float


@dataclass(frozen=True, slots=True)
class Peers:
    """What devices of one model, and of one kind, do with a kernel: for those that never ran it.

    Medians, so that one device that lies, or is ill, moves nothing.
    """

    by_model: dict[tuple[str, str], float] = field(default_factory=dict)
    by_kind: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one slot of a device would take; nothing here is negative or infinite.

    Args:
        compute_s: Seconds of one point.
        transfer_s: Seconds that its inputs and outputs are under way.
        start_s: Seconds until a runner serves.
        queue_s: Seconds until others hand a slot on.
        rtt_s: Seconds there and back.
        rate: Where ``compute_s`` comes from.
    """

    compute_s: Seconds
    transfer_s: Seconds
    start_s: Seconds
    queue_s: Seconds
    rtt_s: Seconds
    rate: Rate

    @property
    def point_s(self) -> Seconds:
        """Seconds of one point once work flows."""
        return self.compute_s + self.transfer_s

    @property
    def wait_s(self) -> Seconds:
        """Seconds before work flows."""
        return self.start_s + self.queue_s


def sane(value: float | None, most: float) -> float | None:
    """Return a quantity above 0 and below ``most``; None for whatever else somebody claims."""
    return value if value is not None and 0 < value < most else None


def within(value: float, most: float = MOST_S) -> float:
    """Return a quantity held between 0 and ``most``; NaN is ``most``."""
    return max(0.0, value) if value < most else most


def point_joules(request: Request, candidate: Candidate) -> float | None:
    """Return what one point takes on a candidate, gross; None when that is not known."""
    known = candidate.joules_per_op
    if known == 0:
        return 0.0
    claimed = sane(known, _MOST_JOULES)
    return None if claimed is None else within(claimed * request.ops, _MOST_JOULES)


def gather(candidates: Iterable[Candidate]) -> Peers:
    """Return what the candidates' own rates say about devices that have none."""
    models: dict[tuple[str, str], list[float]] = {}
    kinds: dict[str, list[float]] = {}
    for each in candidates:
        rate = _own_rate(each)
        if rate is not None:
            models.setdefault((each.kind, each.model), []).append(rate)
            kinds.setdefault(each.kind, []).append(rate)
    return Peers(
        {key: median(rates) for key, rates in models.items() if key[1]},
        {kind: median(rates) for kind, rates in kinds.items()},
    )


def rate_of(candidate: Candidate, peers: Peers, settings: PlacementSettings) -> Rate:
    """Return the rate one slot of a candidate is trusted with, a hot one with less."""
    share = settings.hot_share if candidate.state == "hot" else 1.0
    own = _own_rate(candidate)
    if own is not None:
        slack = settings.tried_slack if candidate.tried else 1.0
        return Rate(own * share, "canary" if candidate.tried else "measured", own * slack)
    alike = peers.by_model.get((candidate.kind, candidate.model))
    if alike is not None:
        return Rate(alike * share, "model", alike * settings.model_slack)
    akin = peers.by_kind.get(candidate.kind)
    if akin is not None:
        return Rate(akin * share, "kind", math.inf)
    return Rate(settings.unknown_rate * share, "assumed", math.inf)


def estimate(
    request: Request, candidate: Candidate, taken: int, peers: Peers, settings: PlacementSettings
) -> Estimate:
    """Return what the next slot of a candidate would take.

    Args:
        request: What is wanted.
        candidate: A device that fits.
        taken: Its free slots that are spoken for already.
        peers: Rates of others, where it has none.
        settings: Assumptions where nothing was measured.
    """
    rate = rate_of(candidate, peers, settings)
    slots, busy = max(1, candidate.slots), max(0, candidate.busy) + taken
    crowd = min(1.0, busy / slots)
    compute_s = within(request.ops / rate.ops) * (1 + CROWDING * crowd)
    over = busy + max(0, candidate.waiting) + 1 - slots
    return Estimate(
        compute_s=within(compute_s),
        transfer_s=transfer_s(request.transfer_bytes, candidate, settings),
        start_s=start_s(candidate, taken, settings),
        queue_s=within(settings.turn_s * over / slots) if over > 0 else 0.0,
        rtt_s=within(candidate.rtt_s, MOST_START_S),
        rate=rate,
    )


def transfer_s(size_bytes: float, candidate: Candidate, settings: PlacementSettings) -> Seconds:
    """Return how long so many bytes are under way to a candidate; nothing on this machine."""
    if candidate.rtt_s <= 0:
        return 0.0
    measured = sane(candidate.bandwidth_bytes, MOST_BANDWIDTH)
    return within(size_bytes / (measured or settings.bandwidth_bytes))


def start_s(candidate: Candidate, taken: int, settings: PlacementSettings) -> Seconds:
    """Return how long until a runner of a candidate serves, beyond ``taken`` of its warm ones."""
    measured = sane(candidate.start_s, MOST_START_S)
    if candidate.state == "warming":
        return max(settings.warming_s, measured or 0.0)
    if candidate.warm > taken:
        return 0.0
    return settings.start_s if measured is None else measured


def _own_rate(candidate: Candidate) -> float | None:
    rate = sane(candidate.rate, _MOST_RATE)
    return None if rate is None else max(rate, _LEAST_RATE)
