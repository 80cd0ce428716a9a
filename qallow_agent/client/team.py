"""A team: the runners that work on one job, and the dispatcher that feeds them."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from qallow_agent.base.errors import QallowError, VersionMismatch, WireError
from qallow_agent.base.ids import LeaseId
from qallow_agent.base.machine import soonest
from qallow_agent.base.units import Seconds
from qallow_agent.client.futures import remote_error
from qallow_agent.client.keeper import Keeper
from qallow_agent.client.payload import Payload
from qallow_agent.client.results import Block
from qallow_agent.client.wires import Exchange, Wire
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.manifest import Parts
from qallow_agent.jobs.messages import Lease, LeaseLost
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.parcels import PARCELS, Header, LeaseUnknown, ResultParcel, TaskHead
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Dispatch, Failed, Finished, Outcome, Piece

VERDICT_S: Final = 0.4
"""How long the desk may take to say what became of a runner whose connection broke: only it knows
whether a task killed it. Then its work is run again, whatever the reason."""

STUCK_S: Final = 0.5
"""How long a runner may go on with a cancelled task while others of its job wait behind it."""

_FAREWELL_S: Final = 2.0
"""How long answers of a lost lease are still taken: what runs is often finished by then."""

_MOST_FRAMES: Final = 60_000
_NEWEST: Final = 0.2


class Team:
    """Feeds a job's runners and takes in what they answer.

    Args:
        exchange: Connects to them.
        payload: Makes the tasks and takes the outcomes.
        settings: Sizes of slices and batches.
        retries: Times a task is run again after its executor was lost.
        keeper: Collects results that the desk shall retain, if any.
        report: Tells the desk of a lease that is of no use, and why.
        touch: Says that something changed and there may be work to send out.
    """

    def __init__(
        self,
        exchange: Exchange,
        payload: Payload,
        *,
        settings: DispatchSettings,
        retries: int,
        keeper: Keeper | None,
        report: Callable[[LeaseId, str], None],
        touch: Callable[[], None],
    ) -> None:
        self.dispatcher = Dispatcher(settings, retries)
        self.wires: dict[LeaseId, Wire] = {}
        self.point_s: Seconds | None = None
        """Device seconds of one point, of late."""
        self.first_error = ""
        self.mismatch: VersionMismatch | None = None
        """Why a runner that was granted cannot be talked to."""
        self._exchange = exchange
        self._payload = payload
        self._slice_s = settings.slice_s
        self._keeper = keeper
        self._report = report
        self._touch = touch
        self._hints: dict[LeaseId, Seconds | None] = {}
        self._leaving: dict[LeaseId, tuple[Wire, Seconds]] = {}
        self._dropped: dict[int, tuple[Piece, Seconds]] = {}
        self._first_sent_s: Seconds | None = None

    # --- leases ----------------------------------------------------------------------------------

    def grant(self, lease: Lease, now: Seconds, hint_s: Seconds | None = None) -> None:
        """Connect to the runner of a lease.

        Args:
            lease: The lease.
            now: Monotonic seconds.
            hint_s: Seconds that one evaluation should take there.
        """
        if lease.id in self.wires or lease.id in self._leaving:
            return
        if lease.parcels != PARCELS:
            self.mismatch = _mismatch(lease)
            self._report(lease.id, self.mismatch.message)
            return
        self._hints[lease.id] = hint_s
        wire = self._exchange.dial(lease, self, now)
        self.wires[lease.id] = wire
        if wire.hopeless:
            self._give_up(wire, LeaseEnd.BROKEN, wire.hopeless)

    def lose(self, lost: LeaseLost, now: Seconds) -> None:
        """Take back what was in flight under a lost lease; the desk says who is to blame."""
        wire = self.wires.pop(lost.lease, None)
        self._hints.pop(lost.lease, None)
        if wire is not None:
            self._leaving[lost.lease] = (wire, now + _FAREWELL_S)
            self._settle(
                self.dispatcher.lost(lost.lease, lost.code, lost.reason, lost.task, lost.attempt)
            )

    def wire_up(self, wire: Wire) -> None:
        """Give a connected runner work."""
        if wire.lease.id in self.wires:
            self.dispatcher.granted(wire.lease, self._hints.pop(wire.lease.id, None))
            self._touch()

    def wire_down(self, wire: Wire, reason: str) -> None:
        """Await the desk's verdict on a runner that went; one that never came gets none."""
        if wire.lease.id not in self.wires:
            self._leaving.pop(wire.lease.id, None)
        elif wire.dial_until_s is not None:
            self._give_up(wire, LeaseEnd.BROKEN, reason)
        else:
            wire.silent_s = time.monotonic()
            if not wire.flights:
                self._settle(self.dispatcher.lost(wire.lease.id, LeaseEnd.UNKNOWN, reason))
        self._touch()

    def wire_nonsense(self, wire: Wire, error: WireError) -> None:
        """Do without a runner that breaks the protocol."""
        self._give_up(wire, LeaseEnd.BROKEN, f"{wire.label} answers nonsense: {error.message}")

    def wire_parcel(self, wire: Wire, header: Header, parts: Sequence[Parts]) -> None:
        """Take in answers, or the news that a runner does not know its lease any more."""
        if isinstance(header, ResultParcel) and header.lease == wire.lease.id:
            heads = header.results
            for head in heads:
                wire.flights.pop(head.number, None)
            outcomes = self.dispatcher.results(wire.lease.id, heads, time.monotonic())
            if outcomes:
                self._settle(
                    outcomes,
                    lambda index: Block(
                        parts[index].heads,
                        parts[index],
                        where=wire.label,
                        seconds=heads[index].seconds,
                    ),
                )
        elif isinstance(header, LeaseUnknown) and wire.lease.id in self.wires:
            self._give_up(wire, LeaseEnd.UNKNOWN, f"{wire.label} does not know the lease any more")
        self._touch()

    # --- work ------------------------------------------------------------------------------------

    def send(self, now: Seconds) -> None:
        """Send out what there is room for."""
        if self._payload.full:
            return
        for order in self.dispatcher.orders(now):
            self._send(order)
            if self._first_sent_s is None:
                self._first_sent_s = now

    def drop(self, piece: Piece, now: Seconds) -> bool:
        """Give a piece up; False when it already had its outcome."""
        if not self.dispatcher.cancel(piece):
            return False
        if piece.flying:
            self._dropped[piece.number] = (piece, now + STUCK_S)
        return True

    def stop(self, error: QallowError) -> None:
        """Fail everything that has no outcome."""
        for outcome in self.dispatcher.stop(error.code, error.message, error.hint):
            if not isinstance(outcome, Finished):
                self._failed(outcome, error.document)

    def recall(self, block: Block) -> None:
        """Settle everything that has no outcome with the retained result of the whole job."""
        failed = self.dispatcher.stop("job-failed", "", "")
        self._payload.recall([outcome.piece for outcome in failed], block)

    def tick(self, now: Seconds) -> None:
        """Do what time demands: deadlines, wires that never came up or whose verdict is late."""
        self._settle(self.dispatcher.tick(now))
        for wire in list(self.wires.values()):
            if wire.dial_until_s is not None and wire.dial_until_s <= now:
                self._give_up(wire, LeaseEnd.BROKEN, f"{wire.label} cannot be reached in time")
            elif wire.silent_s is not None and wire.silent_s + VERDICT_S <= now:
                self._give_up(wire, LeaseEnd.BROKEN, f"{wire.label}: {wire.hopeless}")
        for number, (piece, until_s) in list(self._dropped.items()):
            if until_s <= now:
                del self._dropped[number]
                self._free_from(piece)
        for lease, (wire, until_s) in list(self._leaving.items()):
            if until_s <= now:
                del self._leaving[lease]
                wire.close()

    def due(self) -> Seconds | None:
        """Return when ``tick`` and ``send`` have something to do."""
        waits = [wire.dial_until_s for wire in self.wires.values()]
        waits += [
            wire.silent_s + VERDICT_S for wire in self.wires.values() if wire.silent_s is not None
        ]
        waits += [until_s for _, until_s in self._leaving.values()]
        waits += [until_s for _, until_s in self._dropped.values()]
        # A full reader is waited for: its team neither sends nor hedges, so nothing of that is due.
        deadline_s = None if self._payload.full else self.dispatcher.next_deadline()
        return soonest(deadline_s, *waits)

    def useful_slots(self, points_left: int, guess_s: Seconds, most: int, now: Seconds) -> int:
        """Return how many runners the work left would keep busy for more than a moment.

        Args:
            points_left: Evaluations without an outcome.
            guess_s: Seconds of one, as the kernel declares it.
            most: At most so many.
            now: Before the first answer, waiting for it says how long one takes at least.
        """
        point_s = self.point_s
        if point_s is None:
            waited_s = 0.0 if self._first_sent_s is None else now - self._first_sent_s
            point_s = max(guess_s, waited_s)
        enough = math.ceil(points_left * point_s / self._slice_s)
        return max(1, min(self.dispatcher.useful_slots(most), enough))

    def close(self) -> None:
        """Hang up on everybody."""
        for wire in (*self.wires.values(), *(wire for wire, _ in self._leaving.values())):
            wire.close()
        self.wires.clear()
        self._leaving.clear()

    def _free_from(self, piece: Piece) -> None:
        """Leave the runners that are still at a cancelled piece, if others wait behind it."""
        if self.dispatcher.idle:
            return
        for wire in list(self.wires.values()):
            if piece.number in wire.flights:
                self._give_up(wire, LeaseEnd.PREEMPTED, f"{wire.label} is at a cancelled task")

    def _give_up(self, wire: Wire, code: LeaseEnd, reason: str) -> None:
        self._leaving.pop(wire.lease.id, None)
        self._hints.pop(wire.lease.id, None)
        wire.close()
        if self.wires.pop(wire.lease.id, None) is None:
            return
        self._settle(self.dispatcher.lost(wire.lease.id, code, reason))
        self._report(wire.lease.id, reason)
        self._touch()

    def _send(self, order: Dispatch) -> None:
        wire = self.wires.get(order.lease)
        if wire is None:
            return
        heads: list[TaskHead] = []
        frames: list[Any] = []
        for piece in order.pieces:
            head, buffers = self._payload.task(piece)
            heads.append(head)
            frames.extend(buffers)
            if len(frames) > _MOST_FRAMES:
                wire.send(tuple(heads), frames)
                heads, frames = [], []
        if heads:
            wire.send(tuple(heads), frames)

    def _settle(
        self, outcomes: Iterable[Outcome], block_of: Callable[[int], Block] | None = None
    ) -> None:
        for outcome in outcomes:
            piece = outcome.piece
            if isinstance(outcome, Finished) and block_of is not None:
                block = block_of(outcome.index)
                block.start, block.points = piece.start, piece.points
                point_s, known = outcome.seconds / max(piece.points, 1), self.point_s
                self.point_s = point_s if known is None else known + _NEWEST * (point_s - known)
                self._payload.finished(piece, block)
                if self._keeper is not None:
                    self._keeper.add(block)
            elif not isinstance(outcome, Finished):
                self._failed(outcome)

    def _failed(self, outcome: Failed, document: dict[str, Any] | None = None) -> None:
        self.first_error = self.first_error or outcome.message
        error = remote_error(outcome.code, outcome.message, outcome.hint, outcome.traceback)
        error.document = document or {}
        self._payload.failed(outcome.piece, error)


def _mismatch(lease: Lease) -> VersionMismatch:
    return VersionMismatch(
        f"{lease.node_name}/{lease.device} speaks version {lease.parcels} of parcels, this client "
        f"version {PARCELS}",
        hint=f"upgrade qallow-agent {'here' if lease.parcels > PARCELS else 'there'}",
    )
