"""Forecasts: when a job could be done by every device that fits, and whether a deadline is sane.

A forecast is hopeful where it must be: a deadline is refused only when it could not be met even
if every rate that is not proven were as high as it can be. Where a rate is a guess, that is as
high as one likes, so nothing is ever refused on a guess.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.placement.cost import MOST_S, Peers, estimate, gather
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.router import sift
from qallow_agent.placement.settings import PlacementSettings

_HALVINGS = 48
"""Of an interval of hours this leaves less than a microsecond."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Slots that begin together and go at one pace.

    Args:
        slots: How many.
        ready_s: Seconds until each takes its first point.
        point_s: Seconds of one point.
    """

    slots: int
    ready_s: Seconds
    point_s: Seconds


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a job could be done.

    Args:
        needs_s: By the best estimate.
        hopeful_s: If every rate that is not proven were as high as it can be.
        devices: How many fit.
        lanes: What the best estimate counts on.
    """

    needs_s: Seconds
    hopeful_s: Seconds
    devices: int
    lanes: tuple[Lane, ...]

    def points_by(self, deadline_s: Seconds) -> int:
        """Return how many points the best estimate has done by a deadline."""
        return _points_by(self.lanes, deadline_s)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a deadline.

    Args:
        why: Why it is refused; empty when it is taken.
        hint: What could be met instead.
        doubt: What it was taken on trust for; empty when nothing is doubtful.
    """

    why: str = ""
    hint: str = ""
    doubt: str = ""


def forecast(
    request: Request, candidates: Sequence[Candidate], settings: PlacementSettings
) -> Forecast | None:
    """Return when a job could be done; None when no device fits or it has no end.

    Args:
        request: What is wanted; ``slots`` bounds how many work on it at a time.
        candidates: Every device of every live member.
        settings: Assumptions where nothing was measured.
    """
    fitting, _ = sift(request, candidates, settings)
    if not fitting or request.points < 1:
        return None
    peers = gather(each for each in candidates if request.kernel in each.kernels)
    likely: list[Lane] = []
    hopeful: list[Lane] = []
    for each in fitting:
        rate = estimate(request, each, 0, peers, settings).rate
        likely += _lanes(request, each, peers, settings)
        share = rate.ops / rate.hopeful
        hopeful += [
            replace(lane, point_s=lane.point_s * share)
            for lane in _lanes(request, _hopefully(each), peers, settings)
        ]
    best = _best(likely, request)
    needs_s = _finish_s(best, request.points)
    return Forecast(
        needs_s=needs_s,
        hopeful_s=min(needs_s, _finish_s(_best(hopeful, request), request.points)),
        devices=len(fitting),
        lanes=best,
    )


def judge(request: Request, deadline_s: Seconds, found: Forecast | None) -> Verdict:
    """Return whether a deadline is taken, and what could be met when it is not.

    Args:
        request: What is wanted.
        deadline_s: Seconds from now; 0 for none.
        found: The job's forecast.
    """
    if found is None or not deadline_s > 0:
        return Verdict()
    if found.hopeful_s <= deadline_s:
        if found.needs_s <= deadline_s:
            return Verdict()
        doubt = (
            f"the deadline of {show_seconds(deadline_s)} is taken on trust: the job needs about "
            f"{show_seconds(found.needs_s)} by rates of which not all are proven by work yet"
        )
        return Verdict(doubt=doubt)
    devices = "device" if found.devices == 1 else "devices"
    fits = "fits" if found.devices == 1 else "fit"
    why = (
        f"the job needs about {show_seconds(found.needs_s)} on the {found.devices} {devices} that "
        f"{fits}, queue and start-up included; its deadline is {show_seconds(deadline_s)}"
    )
    points = found.points_by(deadline_s)
    fewer = f", or {points:,} of the {request.points:,} points" if points else ""
    return Verdict(why, f"could be met: a deadline of {show_seconds(found.needs_s * 1.1)}{fewer}")


def useful_slots(
    request: Request, candidates: Sequence[Candidate], settings: PlacementSettings
) -> int:
    """Return how many runners a job keeps busy for more than a moment each, by the best rate known.

    Args:
        request: What is wanted; ``slots`` is the most there can be.
        candidates: Every device of every live member.
        settings: How much work is worth another runner.
    """
    fitting, _ = sift(request, candidates, settings)
    if not fitting:
        return max(1, request.slots)
    peers = gather(each for each in candidates if request.kernel in each.kernels)
    point_s = min(estimate(request, each, 0, peers, settings).point_s for each in fitting)
    useful = request.points * point_s / settings.share_s
    return max(1, min(request.slots, math.ceil(min(useful, MOST_S))))


def _lanes(
    request: Request, candidate: Candidate, peers: Peers, settings: PlacementSettings
) -> list[Lane]:
    """Return a device's slots: warm and free, cold and free, busy."""
    free, slots = candidate.free, max(1, candidate.slots)
    warm = min(free, max(0, candidate.warm)) if candidate.state != "warming" else 0
    groups = ((warm, 0), (free - warm, warm), (slots - free, free))
    lanes: list[Lane] = []
    for count, taken in groups:
        if count > 0:
            found = estimate(request, candidate, taken, peers, settings)
            ready_s = found.wait_s + found.rtt_s
            lanes.append(Lane(count, min(ready_s, MOST_S), found.point_s))
    return lanes


def _hopefully(candidate: Candidate) -> Candidate:
    """Return a candidate whose start-up costs nothing, unless it was measured: it is a guess."""
    if candidate.start_s:
        return candidate
    state = "ok" if candidate.state == "warming" else candidate.state
    return replace(candidate, state=state, warm=candidate.slots)


def _best(lanes: Sequence[Lane], request: Request) -> tuple[Lane, ...]:
    """Return the lanes that are done first with an even share, of the slots wanted together."""
    chosen: list[Lane] = []
    left = request.slots
    share = max(1.0, request.points / request.slots)
    for lane in sorted(lanes, key=lambda each: each.ready_s + share * each.point_s):
        if left < 1:
            break
        chosen.append(replace(lane, slots=min(lane.slots, left)))
        left -= lane.slots
    return tuple(chosen)


def _finish_s(lanes: Sequence[Lane], points: int) -> Seconds:
    """Return the earliest second by which so many points can be done, each whole on one slot."""
    early_s, late_s = 0.0, min(lane.ready_s + lane.point_s * points for lane in lanes)
    for _ in range(_HALVINGS):
        middle_s = (early_s + late_s) / 2
        if _points_by(lanes, middle_s) >= points:
            late_s = middle_s
        else:
            early_s = middle_s
    return late_s


def _points_by(lanes: Sequence[Lane], deadline_s: Seconds) -> int:
    done = 0
    for lane in lanes:
        left_s = deadline_s - lane.ready_s
        if left_s >= 0:
            # A lane that costs nothing does as much as one likes; so does one that nearly does.
            each = left_s / lane.point_s if lane.point_s > 0 else MOST_S
            done += lane.slots * int(min(each, MOST_S))
    return done
