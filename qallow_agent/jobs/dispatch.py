"""The dispatcher: which piece of work goes to which runner, in the submitter's process.

Rules, kept by construction and checked by the property tests:

- Every piece gets exactly one outcome; every point of a sweep is in exactly one of them.
- Only a runner that was asked may answer, and only for the attempt it was asked for.
- The first answer wins, whichever attempt it is of; later ones are counted and dropped.
- Losing an executor re-runs what was in flight there; ``retries`` bounds how often.
- A piece that kills its runner is suspect: a slice is split to find the guilty point, a single
  task fails after ``poison_strikes``.

Each task costs O(1): deques and dicts, no rescans. Only second starts look at all leases, and that
a few times a second while a runner stands idle.
"""

import math
from collections.abc import Mapping, Sequence

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import Entropy, LeaseId
from qallow_agent.base.machine import soonest
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.arbiter import Arbiter
from qallow_agent.jobs.backlog import Backlog
from qallow_agent.jobs.court import Court
from qallow_agent.jobs.lines import Line
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.model import HARMLESS_ENDS
from qallow_agent.jobs.parcels import ResultHead
from qallow_agent.jobs.replicas import Replicas
from qallow_agent.jobs.sampling import Sampler
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.tail import hedges, thefts
from qallow_agent.jobs.work import Dispatch, Outcome, Piece, Sweep

_HEDGE_PERIOD_S = 0.05
_MOST_GHOSTS = 64
_MORE_TIME = "allow it more time (a longer deadline), or make it smaller"
"""Lost leases whose late answers are still welcome."""


class Dispatcher:
    """Hands pieces to leases and settles their outcomes; pure, single-threaded, sends nothing.

    The owner calls ``orders`` after anything changed (work added, a lease granted or lost,
    answers taken in) and sends what it returns; and ``tick``, then ``orders``, at
    ``next_deadline``.

    Args:
        settings: Sizes and limits.
        retries: Times a piece is run again after its executor was lost.
        verify: Different devices that must answer each piece, most of them alike.
        patience_s: How long a piece may wait for a device that nobody has.
        rng: Entropy that draws what is audited; None to audit nothing.
    """

    def __init__(
        self,
        settings: DispatchSettings,
        retries: int = 3,
        *,
        verify: int = 1,
        patience_s: Seconds = 65.0,
        rng: Entropy | None = None,
    ) -> None:
        self._settings = settings
        self.replicas = Replicas(verify, patience_s, settings.tie_s)
        self._backlog = Backlog(settings, self.replicas)
        self._court = Court(self._backlog, settings, retries)
        sampler = None if rng is None or verify > 1 else Sampler(rng)
        self.arbiter = Arbiter(self._backlog, self._court, self.replicas, sampler)
        """Settles what several devices answer."""
        self._lines: dict[LeaseId, Line] = {}
        self.lines: Mapping[LeaseId, Line] = self._lines
        """What every lease is at."""
        self._open: dict[LeaseId, Line] = {}
        self._ghosts: dict[LeaseId, Line] = {}
        self._hedge_at: Seconds = 0.0
        self.tally = self._court.tally
        self.share = self._court.share
        """Finished points by ``node-name/device``."""

    @property
    def idle(self) -> bool:
        """Whether every piece and every point has its outcome."""
        return not self._backlog.live and not self._backlog.sweeps

    def links(self) -> dict[str, float]:
        """Return bytes per second by ``node-name/device``, where something large has travelled."""
        found: dict[str, float] = {}
        for line in self._lines.values():
            if line.link_bytes_s is not None:
                found[line.label] = max(line.link_bytes_s, found.get(line.label, 0.0))
        return found

    def add(
        self, token: object = None, *, input_bytes: int = 0, deadline_s: Seconds | None = None
    ) -> Piece:
        """Take in one single task.

        Args:
            token: The caller's own, found again as ``piece.token``.
            input_bytes: Size of its arrays.
            deadline_s: Monotonic second at which it fails if it has no result; None for never.
        """
        if self.idle:
            self._court.pardon()  # later work does not pay for crashes of work that is over
        return self._backlog.add(token, input_bytes, deadline_s)

    def add_sweep(self, points: int, token: object = None, *, point_bytes: int = 0) -> Sweep:
        """Take in a sweep of points 0..points-1, to be cut into slices on demand.

        Args:
            points: How many; 0 is a sweep that is complete at once.
            token: The caller's own, found again as ``piece.token`` of every slice.
            point_bytes: Input and output bytes of one point; bounds the slices.
        """
        if self.idle:
            self._court.pardon()
        return self._backlog.add_sweep(points, token, point_bytes)

    def cancel(self, piece: Piece) -> bool:
        """Give a piece up without an outcome; False when it already had one."""
        if piece.settled:
            return False
        self._backlog.settle(piece)
        return True

    def cancel_sweep(self, sweep: Sweep) -> int:
        """Give up every point of a sweep that has no outcome; return how many those were."""
        before = sweep.closed
        if sweep.number in self._backlog.sweeps:
            del self._backlog.sweeps[sweep.number]
            sweep.closed += sweep.left
            sweep.cut = sweep.points
        for piece in [each for each in self._backlog.live.values() if each.sweep is sweep]:
            self._backlog.settle(piece)
        return sweep.closed - before

    def stop(self, code: str, message: str, hint: str = "") -> list[Outcome]:
        """End everything that has no outcome yet, with this reason; the tally of failures stays."""
        self._backlog.cut_rest()
        self.arbiter.drop_all()
        return [
            self._court.end(piece, code, message, hint)
            for piece in list(self._backlog.live.values())
        ]

    def granted(self, lease: Lease, hint_s: Seconds | None = None, *, shadow: bool = False) -> None:
        """Use a lease from now on; a lease already known, or already lost, changes nothing.

        Args:
            lease: A runner that can be sent work.
            hint_s: Seconds that one point should take there, until it was measured.
            shadow: Its device is on trial: it gets copies only, and none of its answers counts.
        """
        if lease.id not in self._lines and lease.id not in self._ghosts:
            label = f"{lease.node_name}/{lease.device}"
            place = f"{lease.node}/{lease.device}"
            line = Line(
                lease.id, label, lease.credits, self._settings, hint_s, place, shadow=shadow
            )
            self._lines[lease.id] = line
            self.replicas.roll.joined(line)
            self._open[lease.id] = line

    def lost(
        self,
        lease: LeaseId,
        code: str,
        reason: str,
        task: int | None = None,
        attempt: int | None = None,
    ) -> list[Outcome]:
        """Stop using a lease and put what was in flight there back into the queue.

        Args:
            lease: Unknown or already lost ones are ignored.
            code: A :class:`LeaseEnd`; harmless ones cost no retry.
            reason: For the error of pieces that are out of retries.
            task: The piece that killed the runner, if one did.
            attempt: Its attempt; another one than was in flight here is no evidence.
        """
        line = self._lines.pop(lease, None)
        if line is None:
            return []
        self._open.pop(lease, None)
        self.replicas.roll.left(line)
        for sweep in self._backlog.sweeps.values():
            line.forget_sweep(sweep)
        flight = None if task is None else line.flights.get(task)
        blamed = flight[0] if flight is not None and flight[1] == attempt else None
        outcomes: list[Outcome] = []
        # Newest first, each to the front of the queue, so that the oldest runs first again.
        for piece, _, _ in reversed(list(line.flights.values())):
            piece.flying -= 1
            self.replicas.lost(piece, line)
            if piece.settled or self.arbiter.drop(piece):
                continue
            if piece is blamed:
                outcomes += self._court.strike(piece, code, reason)
            else:
                innocent = blamed is not None or code in HARMLESS_ENDS
                outcomes += self._court.lose(piece, reason, innocent=innocent)
        self._ghosts[lease] = line
        if len(self._ghosts) > _MOST_GHOSTS:
            del self._ghosts[next(iter(self._ghosts))]
        if self._court.kills >= self._settings.most_kills:
            outcomes += self.stop(
                "kernel-failed",
                f"the job killed {self._court.kills} runners; the last one: {reason}",
                "run one point alone to see the crash",
            )
        return outcomes

    def results(self, lease: LeaseId, heads: Sequence[ResultHead], now: Seconds) -> list[Outcome]:
        """Take in the answers of one result parcel and return the outcomes they settle."""
        line = self._lines.get(lease)
        alive = line is not None
        line = line or self._ghosts.get(lease)
        if line is None:
            self.tally.late += len(heads)
            return []
        if alive and len(heads) == 1:
            line.time_link(heads[0].number, heads[0].seconds, now)
        line.heard_s = now
        outcomes: list[Outcome] = []
        for index, head in enumerate(heads):
            piece = line.take(head.number, head.attempt)
            if piece is None:
                self.tally.late += 1
                continue
            piece.flying -= alive  # the flights of a lost lease were ended when it was lost
            if piece.panel is not None and alive:
                outcomes += self.arbiter.heard(piece, line, head, index)
            elif piece.settled or piece.panel is not None:
                self.tally.late += 1
            elif head.fault is not None:
                outcomes += self._court.faulted(piece, head.fault)
            else:
                finished = self._court.finish(piece, line, head.seconds, index)
                outcomes.append(self.arbiter.sampled(finished, line))
        if alive and line.room > 0:
            self._open[lease] = line
        return outcomes

    def orders(self, now: Seconds) -> list[Dispatch]:
        """Return what to send now; once it is sent there may be more."""
        orders: list[Dispatch] = []
        passed: list[Line] = []
        while self._open and self._backlog.waiting:
            line = self._emptier()
            pieces = self._fill(line, now)
            del self._open[line.lease]
            if pieces:
                orders.append(Dispatch(line.lease, pieces))
                if line.room > 0:
                    self._open[line.lease] = line  # behind the others
            else:
                passed.append(line)
        for line in passed:
            self._open[line.lease] = line
        if now >= self._hedge_at and self._may_hedge():
            self._hedge_at = now + _HEDGE_PERIOD_S
            orders += self._second_starts(now)
        self.replicas.seat_sent()
        return orders

    def tick(self, now: Seconds) -> list[Outcome]:
        """Fail the pieces whose deadline has passed, and those that wait in vain."""
        outcomes: list[Outcome] = [
            self._court.fail(piece, "deadline", "the task ran past its deadline", _MORE_TIME)
            for piece in self._backlog.overdue(now)
        ]
        return outcomes + self.arbiter.overdue(now) if self.replicas.waiting else outcomes

    def next_deadline(self) -> Seconds | None:
        """Return when ``tick`` and ``orders`` should be called; None for never."""
        hedge_s = self._hedge_at if self._may_hedge() else None
        vain_s = self.replicas.next_deadline() if self.replicas.waiting else None
        return soonest(self._backlog.next_deadline(), hedge_s, vain_s)

    def useful_slots(self, limit: int) -> int:
        """Return how many runners, of at most ``limit``, the work left could keep busy."""
        units = len(self._backlog.live)
        for sweep in self._backlog.sweeps.values():
            point_s = sweep.point_s
            work = sweep.left if point_s is None else sweep.left * point_s / self._settings.slice_s
            units += math.ceil(work)
        if units:
            units = max(units * self.replicas.wanted, self.replicas.places_wanted)
        return min(limit, units)

    def check(self) -> None:
        """Raise InvariantBroken when an always-true property is false."""
        self._backlog.check()
        flying: dict[int, int] = {}
        for line in self._lines.values():
            if line.room > 0 and line.lease not in self._open:
                raise InvariantBroken(f"lease {line.lease} has room but is not open")
            for number, (piece, attempt, _) in line.flights.items():
                flying[number] = flying.get(number, 0) + 1
                if attempt > piece.attempt:
                    raise InvariantBroken(f"piece {number} flies an attempt it never had")
        for number, piece in self._backlog.live.items():
            if piece.flying != flying.get(number, 0):
                raise InvariantBroken(f"piece {number} counts {piece.flying} flights")

    # --- sending ---------------------------------------------------------------------------------

    def _emptier(self) -> Line:
        """Return the one of the first two open lines with less in flight."""
        lines = iter(self._open.values())
        first = next(lines)
        second = next(lines, first)
        return second if len(second.flights) < len(first.flights) else first

    def _fill(self, line: Line, now: Seconds) -> list[Piece]:
        """Send a line its share of the queue, or one slice."""
        backlog = self._backlog
        units = len(backlog.queue) + len(self.replicas) if self.replicas.waiting else 0
        share = max(1, -(-max(units, len(backlog.queue)) // len(self._open)))
        pieces: list[Piece] = []
        for _ in range(min(line.room, share, self._settings.batch_tasks)):
            piece = backlog.next_for(line, len(self._lines))
            if piece is None:
                break
            line.send(piece, now)
            if piece.panel is not None or self.replicas.wanted > 1:
                self.replicas.sent(piece, line, now)
            pieces.append(piece)
        return pieces

    def _may_hedge(self) -> bool:
        """Return whether a runner stands idle while pieces are in flight elsewhere."""
        return (
            bool(self._backlog.live)
            and not self._backlog.waiting
            and any(not line.flights and not line.shadow for line in self._open.values())
        )

    def _second_starts(self, now: Seconds) -> list[Dispatch]:
        """Start pieces a second time on idle runners: those of stalled ones, then of slow ones."""
        orders: list[Dispatch] = []
        for choose in (hedges, thefts):
            idle = [line for line in self._open.values() if not line.flights and not line.shadow]
            for piece, line in choose(self._lines.values(), idle, now, self._settings):
                piece.hedged = True
                self.tally.hedged += choose is hedges
                self.tally.stolen += choose is thefts
                line.send(piece, now)
                if piece.panel is not None:
                    self.replicas.sent(piece, line, now)
                if line.room <= 0:
                    del self._open[line.lease]
                orders.append(Dispatch(line.lease, [piece]))
        return orders
