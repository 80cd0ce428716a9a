"""What the dispatcher hands out and what comes of it: pieces, sweeps, orders and outcomes."""

import math
from dataclasses import dataclass

import msgspec

from qallow_agent.base.ids import LeaseId
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.panel import Answer, Panel
from qallow_agent.jobs.settings import DispatchSettings


class Sweep:
    """A run of points that is cut into slices as runners ask for work.

    Args:
        number: Its name within the dispatcher.
        points: How many there are, numbered from 0.
        token: The caller's own; never looked at.
        point_bytes: Input and output bytes of one point; bounds a slice's size.
    """

    __slots__ = (
        "closed", "cut", "largest", "number", "point_bytes", "point_s", "points", "rate", "token",
    )  # fmt: skip

    def __init__(self, number: int, points: int, token: object, point_bytes: int) -> None:
        self.number = number
        self.points = points
        self.token = token
        self.point_bytes = point_bytes
        self.cut = 0
        """Points handed out so far: everything below is in some piece."""
        self.closed = 0
        """Points whose outcome is known, or that were given up."""
        self.largest = 0
        """Points of the largest slice that was measured."""
        self.point_s: Seconds | None = None
        """Seconds per point, over all runners."""
        self.rate = 0.0
        """Points per second of all runners that were measured, together."""

    @property
    def left(self) -> int:
        """Points not yet handed out."""
        return self.points - self.cut


class Piece:
    """One task: a single evaluation submitted by itself, or a slice of a sweep.

    ``start`` and ``points`` locate a slice in its sweep. Numbers are never reused; a piece that
    is run again keeps its number and gets the next ``attempt``.
    """

    __slots__ = (
        "attempt", "flying", "hedged", "input_bytes", "losses", "number", "panel", "points",
        "settled", "start", "strikes", "sweep", "token", "whole",
    )  # fmt: skip

    def __init__(
        self, number: int, start: int, points: int, sweep: Sweep | None, token: object
    ) -> None:
        self.number = number
        self.start = start
        self.points = points
        self.sweep = sweep
        self.token = token
        self.input_bytes = 0
        self.attempt = 0
        """The newest attempt; 0 before the first."""
        self.flying = 0
        """Attempts in flight."""
        self.losses = 0
        """Attempts lost with their executor."""
        self.strikes = 0
        """Runners it has killed."""
        self.hedged = False
        self.whole = False
        """It is run from its beginning wherever it runs: its answers are compared."""
        self.settled = False
        """Its outcome was reported: whatever comes later is late."""
        self.panel: Panel | None = None
        """Who else is asked the same; None for work that one answer settles."""


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """Send these pieces under this lease, in one parcel, each as attempt ``piece.attempt``."""

    lease: LeaseId
    pieces: list[Piece]


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A piece has its result: the arrays of result ``index`` of the parcel being taken in.

    ``audit`` is a piece that runs the same once more: its panel's only answer wants these arrays.
    """

    piece: Piece
    seconds: Seconds
    index: int
    audit: Piece | None = None


class Answered(msgspec.Struct, frozen=True, gc=False):
    """One device of a panel has answered, with result ``index`` of the parcel being taken in.

    ``answer`` wants the arrays; a panel that is full then wants its answers compared.
    """

    piece: Piece
    answer: Answer
    seconds: Seconds
    index: int


class Agreed(msgspec.Struct, frozen=True, gc=False):
    """A piece has its result: most of its panel gave this answer."""

    piece: Piece
    answer: Answer


class Compared(msgspec.Struct, frozen=True, gc=False):
    """The answers of a panel were compared, and nothing is delivered because of it."""

    piece: Piece


class Failed(msgspec.Struct, frozen=True, gc=False):
    """A piece has no result and never will.

    A slice of a sweep may stand for points that were never handed out.
    """

    piece: Piece
    code: str
    message: str
    hint: str = ""
    traceback: str = ""


Outcome = Finished | Failed | Answered | Agreed | Compared


@dataclass(slots=True)
class Tally:
    """Running counts of a dispatcher, in points where not said otherwise."""

    done: int = 0
    failed: int = 0
    rerun: int = 0
    late: int = 0
    """Results (not points) that came after the outcome was known, or that nobody asked for."""
    hedged: int = 0
    """Pieces started a second time because they were late."""
    stolen: int = 0
    """Pieces started a second time because an idle runner would be done sooner."""
    short: int = 0
    """Points that two devices answered alike, where a third was wanted and could not be had."""
    kills: int = 0
    """Runners that pieces of this job killed."""


def slice_points(
    sweep: Sweep,
    point_s: Seconds | None,
    runners: int,
    settings: DispatchSettings,
    hint_s: Seconds | None = None,
) -> int:
    """Return how many points the next slice of a sweep should have for one runner.

    Nothing measured: a small first slice, of no more than a slice's time by the hint. Measured:
    ``slice_s`` of work, less near the tail, where every runner gets at most half of its fair
    share of what is left (guided self-scheduling), and never much more than what was measured
    before.

    Args:
        sweep: It has points left.
        point_s: Seconds per point on this runner; None when unknown.
        runners: Runners that share the work.
        settings: The sizes.
        hint_s: Seconds per point to expect until they are measured.

    Source: Polychronopoulos and Kuck, "Guided Self-Scheduling" (1987), with time for iterations.
    """
    left = sweep.left
    if point_s is None:
        fair = -(-left // (4 * max(1, runners)))
        hinted = settings.slice_s / hint_s if hint_s else math.inf
        return max(1, int(min(settings.slice_first_points, fair, left, hinted)))
    point_s = max(point_s, 1e-9)
    wanted_s = settings.slice_s
    if sweep.rate > 0:
        wanted_s = min(wanted_s, max(left / sweep.rate / 2, settings.slice_least_s))
    points = min(
        wanted_s / point_s,
        max(sweep.largest, 1) * settings.slice_growth,
        settings.slice_most_points,
    )
    if sweep.point_bytes:
        points = min(points, settings.ahead_bytes / 4 / sweep.point_bytes)
    return max(1, min(int(points), left))
