"""The backlog: every piece without an outcome, and what is still to be handed out."""

import heapq
from collections import deque

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.lines import Line
from qallow_agent.jobs.replicas import Replicas
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Piece, Sweep, slice_points

_SPLIT_WAYS = 8
"""Parts a suspect slice is split into: a killed runner costs more than seven more tasks."""

_MOST_OPEN = 64
"""Pieces for each runner that may wait for further answers before new ones are begun."""


class Backlog:
    """Owns the pieces from birth to outcome; knows nothing of who answers what.

    Args:
        settings: How sweeps are cut.
        replicas: Pieces that want more answers.
    """

    def __init__(self, settings: DispatchSettings, replicas: Replicas) -> None:
        self._settings = settings
        self._replicas = replicas
        self._next_number = 0
        self._deadlines: list[tuple[Seconds, int]] = []
        self.queue: deque[Piece] = deque()
        """To be sent; pieces settled meanwhile are skipped when their turn comes."""
        self.sweeps: dict[int, Sweep] = {}
        """Sweeps with points not yet cut."""
        self.live: dict[int, Piece] = {}
        """Every piece without an outcome."""

    @property
    def waiting(self) -> bool:
        """Whether anything may be left to hand out."""
        return bool(self.queue) or bool(self.sweeps) or self._replicas.waiting

    def add(self, token: object, input_bytes: int, deadline_s: Seconds | None) -> Piece:
        """Take in one single task."""
        piece = self._make(0, 1, None, token)
        piece.input_bytes = input_bytes
        self.queue.append(piece)
        if deadline_s is not None:
            heapq.heappush(self._deadlines, (deadline_s, piece.number))
        return piece

    def add_sweep(self, points: int, token: object, point_bytes: int) -> Sweep:
        """Take in a sweep."""
        sweep = Sweep(self._number(), points, token, point_bytes)
        if points > 0:
            self.sweeps[sweep.number] = sweep
        return sweep

    def next_for(self, line: Line, runners: int) -> Piece | None:
        """Return the next piece for a line, or None when nothing (that fits) is left.

        What was begun goes first: pieces that want the answers of others too, then single tasks
        and pieces to be run again, then slices of the sweeps in turn.
        """
        replicas = self._replicas
        begun = replicas.next_for(line) if replicas.waiting else None
        # When too many wait for others to catch up, what is held back must not grow.
        full = replicas.wanted > 1 and len(replicas) >= _MOST_OPEN * runners
        return begun if begun is not None or line.shadow or full else self._next_new(line, runners)

    def _next_new(self, line: Line, runners: int) -> Piece | None:
        """Return the next piece that nobody was asked yet."""
        queue = self.queue
        while queue:
            piece = queue[0]
            if piece.settled:
                queue.popleft()
                continue
            if not line.fits(piece.input_bytes):
                return None
            return queue.popleft()
        if not self.sweeps or len(line.flights) >= self._settings.slices_ahead:
            return None
        sweep = next(iter(self.sweeps.values()))
        point_s = line.likely_s(sweep)
        if self._replicas.wanted > 1 and point_s is not None and sweep.point_s is not None:
            point_s = max(point_s, sweep.point_s)  # slower ones must answer it too
        points = slice_points(sweep, point_s, runners, self._settings, line.hint_s)
        piece = self._cut(sweep, points)
        if sweep.number in self.sweeps:
            # Behind the others, so that concurrent sweeps share the runners.
            self.sweeps[sweep.number] = self.sweeps.pop(sweep.number)
        return piece

    def again(self, piece: Piece) -> None:
        """Put a piece to the front of the queue; one with a panel where another may take it."""
        if piece.panel is None:
            self.queue.appendleft(piece)
        else:
            self._replicas.seat(piece)

    def shadow(self, piece: Piece) -> Piece:
        """Return a piece that runs the same once more; nobody waits for its outcome."""
        return Piece(self._number(), piece.start, piece.points, None, piece.token)

    def settle(self, piece: Piece) -> None:
        """Close a piece: its outcome is known or it was given up."""
        piece.settled = True
        del self.live[piece.number]
        if piece.sweep is not None:
            piece.sweep.closed += piece.points

    def split(self, piece: Piece) -> None:
        """Replace a slice by smaller ones, at the front of the queue, in order."""
        piece.settled = True
        del self.live[piece.number]
        size = -(-piece.points // _SPLIT_WAYS)
        starts = range(0, piece.points, size)
        children = [
            self._make(
                piece.start + start, min(size, piece.points - start), piece.sweep, piece.token
            )
            for start in starts
        ]
        for child in reversed(children):
            child.losses = piece.losses
            self.queue.appendleft(child)

    def cut_rest(self) -> None:
        """Cut what is left of every sweep into one piece each, so that it can be settled."""
        for sweep in list(self.sweeps.values()):
            self._cut(sweep, sweep.left)

    def overdue(self, now: Seconds) -> list[Piece]:
        """Return the pieces whose deadline has passed, each once."""
        pieces: list[Piece] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            piece = self.live.get(heapq.heappop(self._deadlines)[1])
            if piece is not None:
                pieces.append(piece)
        return pieces

    def next_deadline(self) -> Seconds | None:
        """Return the earliest deadline of a piece without an outcome."""
        while self._deadlines and self._deadlines[0][1] not in self.live:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def check(self) -> None:
        """Raise InvariantBroken when a live piece is neither queued nor in flight, or both lost."""
        queued = {piece.number for piece in self.queue if not piece.settled}
        for number, piece in self.live.items():
            waits = number in queued or self._replicas.holds(piece)
            if piece.settled or not (waits or piece.flying):
                raise InvariantBroken(f"piece {number} is live but nowhere")
        for sweep in self.sweeps.values():
            if sweep.left < 1:
                raise InvariantBroken(f"sweep {sweep.number} waits with no points left")

    def _number(self) -> int:
        number = self._next_number
        self._next_number = number + 1
        return number

    def _make(self, start: int, points: int, sweep: Sweep | None, token: object) -> Piece:
        piece = Piece(self._number(), start, points, sweep, token)
        if sweep is not None:
            piece.input_bytes = points * sweep.point_bytes
        self.live[piece.number] = piece
        return piece

    def _cut(self, sweep: Sweep, points: int) -> Piece:
        piece = self._make(sweep.cut, points, sweep, sweep.token)
        sweep.cut += points
        if sweep.left < 1:
            del self.sweeps[sweep.number]
        return piece
