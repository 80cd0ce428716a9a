"""The tail of a job: which pieces that are out already an idle runner should start a second time.

Nothing waits any more and a runner stands idle. Two reasons make a piece start again, and the first
answer wins: its runner is far behind what was expected of it (a *hedge*), or it would be done
sooner by the idle one even if nothing is wrong (a *theft*: a slow runner's share is taken over by
a fast one).

Source: Dean and Barroso, "The Tail at Scale" (2013), hedged requests; Blumofe and Leiserson,
"Scheduling Multithreaded Computations by Work Stealing" (1999).
"""

from collections.abc import Iterable, Sequence

from qallow_agent.base.units import Seconds
from qallow_agent.jobs.lines import Line
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Piece

_TRIP_S: Seconds = 0.02
"""A theft that saves less than sending it costs is none."""


def hedges(
    lines: Iterable[Line], idle: Sequence[Line], now: Seconds, settings: DispatchSettings
) -> list[tuple[Piece, Line]]:
    """Return pieces of stalled runners with the idle ones to start them on, oldest first.

    Args:
        lines: Every runner.
        idle: Those without work, one piece each.
        now: Monotonic seconds.
        settings: When a runner counts as stalled.
    """
    left = list(idle)
    found: list[tuple[Piece, Line]] = []
    for line in lines:
        late_s = line.late_s(now)
        if late_s < settings.hedge_after_s:
            continue
        for piece, _, _ in line.flights.values():
            if not left:
                return found
            if not _may_start(piece):
                continue
            helper = next((each for each in left if _may_join(piece, each)), None)
            if helper is None:
                continue
            expected_s = line.expected_s(piece) or helper.expected_s(piece)
            if expected_s is not None and late_s >= settings.hedge_factor * expected_s:
                found.append((piece, helper))
                left.remove(helper)
    return found


def thefts(
    lines: Iterable[Line], idle: Sequence[Line], now: Seconds, settings: DispatchSettings
) -> list[tuple[Piece, Line]]:
    """Return pieces that idle runners would finish much sooner than those that have them.

    The piece that would be finished last goes first, to the idle runner that is fastest at it.

    Args:
        lines: Every runner.
        idle: Those without work, one piece each.
        now: Monotonic seconds.
        settings: How much sooner is worth it.
    """
    left = list(idle)
    found: list[tuple[Piece, Line]] = []
    for ends_s, piece in sorted(_ends(lines, now, settings), key=lambda each: -each[0]):
        if not left:
            break
        thief = min(left, key=lambda line: _takes_s(line, piece))
        if _takes_s(thief, piece) * settings.steal_factor + _TRIP_S < ends_s:
            found.append((piece, thief))
            left.remove(thief)
    return found


def _ends(
    lines: Iterable[Line], now: Seconds, settings: DispatchSettings
) -> list[tuple[Seconds, Piece]]:
    """Return in how many seconds each piece that may start again is to be expected."""
    ends: list[tuple[Seconds, Piece]] = []
    for line in lines:
        late_s = line.late_s(now)
        ends_s = -late_s
        for piece, _, _ in line.flights.values():
            expected_s = line.expected_s(piece)
            if expected_s is None:
                break
            ends_s += expected_s
            if ends_s < 0:
                # What is overdue may well take as long again as it is overdue already.
                ends_s = -ends_s if late_s >= settings.hedge_after_s else 0.0
            if _may_start(piece):
                ends.append((ends_s, piece))
    return ends


def _takes_s(line: Line, piece: Piece) -> Seconds:
    expected_s = line.expected_s(piece) if _may_join(piece, line) else None
    return float("inf") if expected_s is None else expected_s


def _may_start(piece: Piece) -> bool:
    """Return whether a piece may be started again; one that kills runners may not."""
    return not (piece.settled or piece.hedged or piece.strikes)


def _may_join(piece: Piece, line: Line) -> bool:
    """Return whether a runner may be asked too; of a panel, only on a device that was not yet."""
    return piece.panel is None or line.place not in piece.panel.asked
