"""A line is the dispatcher's view of one lease: what is in flight there and how fast it goes."""

from collections.abc import Mapping

from qallow_agent.base.ids import LeaseId
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.parcels import ResultHead, Snapshot
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Piece, Sweep

Flight = tuple[Piece, int, Seconds]
"""A piece in flight, its attempt and when it was sent."""

_NEWEST = 0.5
"""Weight of the newest measurement: follows a throttling device within a few slices."""
_LONG_TASK_S = 0.25
"""Above this the way to the runner is small change, and a queue behind a task only delays it."""

_LINK_BYTES = 1 << 18
"""Less is mostly latency and says nothing of a link's width."""

_MOST_RATES = 64
"""Sweeps whose speed is remembered per runner; the oldest are over by then."""


class Line:
    """One lease as the dispatcher sees it.

    Args:
        lease: Its id.
        label: ``node-name/device``, under which its points are counted.
        most: Tasks in flight the runner accepts: the lease's credits.
        settings: How far ahead to send.
        hint_s: Seconds that one point should take here, until it was measured.
        place: ``node/device``; whoever compares answers asks no place twice.
        shadow: It gets nothing but copies of what others have answered.
    """

    __slots__ = (
        "_most", "_settings", "flights", "flying_bytes", "heard_s", "hint_s", "label", "lease",
        "link_bytes_s", "node", "place", "rates", "shadow", "task_s",
        "window",
    )  # fmt: skip

    def __init__(
        self,
        lease: LeaseId,
        label: str,
        most: int,
        settings: DispatchSettings,
        hint_s: Seconds | None = None,
        place: str = "",
        *,
        shadow: bool = False,
    ) -> None:
        self.shadow = shadow
        self.lease = lease
        self.place = place or label
        self.node = self.place.partition("/")[0]
        self.label = label
        self._most = max(1, most)
        self._settings = settings
        self.hint_s = hint_s
        self.link_bytes_s: float | None = None
        """Bytes per second there and back, where something large has travelled alone."""
        self.flights: dict[int, Flight] = {}
        """In the order sent: the first is what the runner is at."""
        self.flying_bytes = 0
        self.heard_s: Seconds = 0.0
        """When the last answer came."""
        self.task_s: Seconds | None = None
        """Seconds per task of late."""
        self.rates: dict[int, Seconds] = {}
        """Sweep -> seconds per point here."""
        self.window = 1
        """Tasks to keep in flight; 1 until the first answer, then ``ahead_s`` of work."""

    @property
    def room(self) -> int:
        """Tasks that may be sent now."""
        return self.window - len(self.flights)

    def fits(self, input_bytes: int) -> bool:
        """Return whether a task's arrays may join those in flight; an idle runner takes any."""
        return not self.flights or self.flying_bytes + input_bytes <= self._settings.ahead_bytes

    def send(self, piece: Piece, now: Seconds) -> None:
        """Note that the next attempt of a piece leaves now."""
        piece.attempt += 1
        piece.flying += 1
        self.flights[piece.number] = (piece, piece.attempt, now)
        self.flying_bytes += piece.input_bytes

    def take(self, number: int, attempt: int) -> Piece | None:
        """Return the piece that an answer is about and forget its flight; None if never asked."""
        flight = self.flights.get(number)
        if flight is None or flight[1] != attempt:
            return None
        del self.flights[number]
        piece = flight[0]
        self.flying_bytes -= piece.input_bytes
        return piece

    def measure(self, piece: Piece, seconds: Seconds) -> None:
        """Learn from one finished piece how fast this runner is."""
        known = self.task_s
        self.task_s = seconds if known is None else known + _NEWEST * (seconds - known)
        if self.task_s > _LONG_TASK_S:
            self.window = 1
        else:
            ahead = self._settings.ahead_s / max(self.task_s, 1e-7)
            self.window = min(self._most, max(2, int(ahead)))
        if piece.sweep is not None:
            self._measure_sweep(piece.sweep, piece.points, seconds)

    def _measure_sweep(self, sweep: Sweep, points: int, seconds: Seconds) -> None:
        if points < min(sweep.largest, self._settings.slice_first_points):
            return  # a short tail slice is mostly overhead and says little about points
        point_s = max(seconds / points, 1e-9)
        known = self.rates.get(sweep.number)
        if known is not None:
            sweep.rate -= 1 / known
            point_s = known + _NEWEST * (point_s - known)
        elif len(self.rates) >= _MOST_RATES:
            del self.rates[next(iter(self.rates))]
        sweep.rate += 1 / point_s
        self.rates[sweep.number] = point_s
        overall = sweep.point_s
        sweep.point_s = point_s if overall is None else overall + _NEWEST * (point_s - overall)
        sweep.largest = max(sweep.largest, points)

    def time_link(self, number: int, seconds: Seconds, now: Seconds) -> None:
        """Learn from an answer how fast bytes travel, if its task was alone and large.

        Alone, so that it waited behind nothing: all of the time that its runner was not at it,
        it was under way, and so were its arrays.

        Args:
            number: The piece.
            seconds: What it took its runner.
            now: Monotonic seconds.
        """
        flight = self.flights.get(number)
        if flight is None or len(self.flights) != 1:
            return
        piece, _, sent_s = flight
        way_s = now - sent_s - seconds
        if piece.input_bytes < _LINK_BYTES or sent_s < self.heard_s or not way_s > 0:
            return
        measured = piece.input_bytes / way_s
        known = self.link_bytes_s
        self.link_bytes_s = measured if known is None else known + _NEWEST * (measured - known)

    def likely_s(self, sweep: Sweep) -> Seconds | None:
        """Return the seconds of a point here as far as they are known; None when nothing is.

        A runner that was not measured is taken for no faster than the others, and for no faster
        than it was said to be.
        """
        known = self.rates.get(sweep.number)
        if known is not None or sweep.point_s is None:
            return known
        return max(sweep.point_s, self.hint_s or 0.0)

    def late_s(self, now: Seconds) -> Seconds:
        """Return how long the runner has been at the first task in flight; 0 without any."""
        if not self.flights:
            return 0.0
        sent = next(iter(self.flights.values()))[2]
        return now - max(sent, self.heard_s)

    def forget_sweep(self, sweep: Sweep) -> None:
        """Take this line's speed out of a sweep's."""
        known = self.rates.pop(sweep.number, None)
        if known is not None:
            sweep.rate = max(0.0, sweep.rate - 1 / known)

    def expected_s(self, piece: Piece) -> Seconds | None:
        """Return how long a piece should take here; None when nothing was measured yet."""
        if piece.sweep is not None:
            point_s = self.likely_s(piece.sweep)
            return None if point_s is None else point_s * piece.points
        return self.task_s


def under_way(
    lines: Mapping[LeaseId, Line], lease: LeaseId, told: ResultHead | Snapshot
) -> Piece | None:
    """Return the piece that a runner speaks of, if it is at that very attempt of it."""
    line = lines.get(lease)
    flight = None if line is None else line.flights.get(told.number)
    if flight is None or flight[1] != told.attempt or flight[0].settled:
        return None
    return flight[0]
