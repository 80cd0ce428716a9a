"""A team: the runners that work on one job, and the dispatcher that feeds them."""

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from qallow_agent.base.errors import QallowError, VersionMismatch, WireError
from qallow_agent.base.ids import LeaseId
from qallow_agent.base.machine import soonest
from qallow_agent.base.units import Seconds
from qallow_agent.client.delivery import Delivery
from qallow_agent.client.jury import NO_TOLERANCES, Jury
from qallow_agent.client.keeper import Keeper
from qallow_agent.client.payload import Payload
from qallow_agent.client.results import Block
from qallow_agent.client.scribe import Scribe
from qallow_agent.client.wires import Exchange, Wire
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.lines import under_way
from qallow_agent.jobs.manifest import Parts
from qallow_agent.jobs.messages import JobOptions, Lease, LeaseLost
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.parcels import (
    PARCELS,
    STATE,
    Header,
    LeaseUnknown,
    ResultParcel,
    Snapshot,
    TaskHead,
)
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Dispatch, Piece

VERDICT_S: Final = 0.4
"""How long the desk may take to say what became of a runner whose connection broke: only it knows
whether a task killed it. Then its work is run again, whatever the reason."""

STUCK_S: Final = 0.5
"""How long a runner may go on with a cancelled task while others of its job wait behind it."""

_FAREWELL_S: Final = 2.0
"""How long answers of a lost lease are still taken: what runs is often finished by then."""

_GRACE_S: Final = 5.0
"""How much longer than the desk we wait for one more device."""

_MOST_FRAMES: Final = 60_000


class Team:
    """Feeds a job's runners and takes in what they answer.

    Args:
        exchange: Connects to them.
        payload: Makes the tasks and takes the outcomes.
        settings: Sizes of slices and batches.
        options: How often a task is run again, and how many devices must answer it.
        keeper: Collects results that the desk shall retain, if any.
        report: Tells the desk of a lease that is of no use, and why.
        touch: Says that something changed and there may be work to send out.
        scribe: Keeps the states of long runs, if they are to be kept.
    """

    def __init__(
        self,
        exchange: Exchange,
        payload: Payload,
        *,
        settings: DispatchSettings,
        options: JobOptions,
        keeper: Keeper | None,
        report: Callable[[LeaseId, str], None],
        touch: Callable[[], None],
        scribe: Scribe | None = None,
    ) -> None:
        self.dispatcher = Dispatcher(
            settings,
            options.retries,
            verify=options.verify,
            patience_s=options.start_s + _GRACE_S,
            rng=random.Random(),
        )
        self.jury = Jury(NO_TOLERANCES)
        """Compares what several devices answer."""
        self.delivery = Delivery(payload, self.dispatcher.arbiter, self.jury, keeper)
        """Gives outcomes to the payload."""
        self.wires: dict[LeaseId, Wire] = {}
        self.mismatch: VersionMismatch | None = None
        """Why a runner that was granted cannot be talked to."""
        self._exchange = exchange
        self._payload = payload
        self._slice_s = settings.slice_s
        self._report = report
        self._touch = touch
        self._scribe = scribe
        self._hints: dict[LeaseId, Seconds | None] = {}
        self.shadows: dict[LeaseId, None] = {}
        """Leases of devices on trial."""
        self._leaving: dict[LeaseId, tuple[Wire, Seconds]] = {}
        self._dropped: dict[int, tuple[Piece, Seconds]] = {}
        self._first_sent_s: Seconds | None = None

    @property
    def workers(self) -> int:
        """Runners that do the work; those on trial do not."""
        return sum(lease not in self.shadows for lease in self.wires)

    # --- leases ----------------------------------------------------------------------------------

    def grant(
        self, lease: Lease, now: Seconds, hint_s: Seconds | None = None, *, shadow: bool = False
    ) -> None:
        """Connect to the runner of a lease.

        Args:
            lease: The lease.
            now: Monotonic seconds.
            hint_s: Seconds that one evaluation should take there.
            shadow: Its device is on trial: it gets copies of what others have answered.
        """
        if lease.id in self.wires or lease.id in self._leaving:
            return
        if lease.parcels != PARCELS:
            self.mismatch = _mismatch(lease)
            self._report(lease.id, self.mismatch.message)
            return
        self._hints[lease.id] = hint_s
        if shadow:
            self.shadows[lease.id] = None
        wire = self._exchange.dial(lease, self, now)
        wire.every = 0 if self._scribe is None else self._scribe.every
        self.wires[lease.id] = wire
        if wire.hopeless:
            self._give_up(wire, LeaseEnd.BROKEN, wire.hopeless)

    def lose(self, lost: LeaseLost, now: Seconds) -> None:
        """Take back what was in flight under a lost lease; the desk says who is to blame."""
        wire = self.wires.pop(lost.lease, None)
        self._hints.pop(lost.lease, None)
        self.shadows.pop(lost.lease, None)
        if wire is not None:
            self._leaving[lost.lease] = (wire, now + _FAREWELL_S)
            self.delivery.settle(
                self.dispatcher.lost(lost.lease, lost.code, lost.reason, lost.task, lost.attempt)
            )

    def wire_up(self, wire: Wire) -> None:
        """Give a connected runner work."""
        if wire.lease.id in self.wires:
            hint_s = self._hints.pop(wire.lease.id, None)
            shadow = wire.lease.id in self.shadows
            self.dispatcher.granted(wire.lease, hint_s, shadow=shadow)
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
                self.delivery.settle(self.dispatcher.lost(wire.lease.id, LeaseEnd.UNKNOWN, reason))
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
                if self._scribe is not None and head.fault is not None:
                    piece = under_way(self.dispatcher.lines, wire.lease.id, head)
                    self._scribe.faulted(piece, head.fault)
            outcomes = self.dispatcher.results(wire.lease.id, heads, time.monotonic())
            if outcomes:
                self.delivery.settle(
                    outcomes,
                    lambda index: Block(
                        parts[index].heads,
                        parts[index],
                        where=wire.label,
                        seconds=heads[index].seconds,
                    ),
                )
        elif isinstance(header, Snapshot) and self._scribe is not None:
            piece = under_way(self.dispatcher.lines, wire.lease.id, header)
            self._scribe.kept(piece, wire.lease, header, parts)
        elif isinstance(header, LeaseUnknown) and wire.lease.id in self.wires:
            self._give_up(wire, LeaseEnd.UNKNOWN, f"{wire.label} does not know the lease any more")
        self._touch()

    # --- work ------------------------------------------------------------------------------------

    def send(self, now: Seconds) -> None:
        """Send out what there is room for."""
        if self._payload.full:
            return
        while orders := self.dispatcher.orders(now):
            for order in orders:
                self._send(order)
            if self._first_sent_s is None:
                self._first_sent_s = now
            if not self.dispatcher.replicas.waiting:
                break

    def drop(self, piece: Piece, now: Seconds) -> bool:
        """Give a piece up; False when it already had its outcome."""
        if not self.dispatcher.cancel(piece):
            return False
        if piece.flying:
            self._dropped[piece.number] = (piece, now + STUCK_S)
        return True

    def stop(self, error: QallowError) -> None:
        """Fail everything that has no outcome."""
        stopped = self.dispatcher.stop(error.code, error.message, error.hint)
        self.delivery.settle(stopped, document=error.document)

    def audit(self, share: float, task_s: Seconds) -> None:
        """Have this share of the tasks shorter than ``task_s`` run a second time, and compared."""
        sampler = self.dispatcher.arbiter.sampler
        if sampler is not None:
            sampler.set(share, task_s)

    def recall(self, block: Block) -> None:
        """Settle everything that has no outcome with the retained result of the whole job."""
        failed = self.dispatcher.stop("job-failed", "", "")
        self._payload.recall([outcome.piece for outcome in failed], block)

    def tick(self, now: Seconds) -> None:
        """Do what time demands: deadlines, wires that never came up or whose verdict is late."""
        self.delivery.settle(self.dispatcher.tick(now))
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
        point_s = self.delivery.point_s
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
        self.shadows.pop(wire.lease.id, None)
        wire.close()
        if self.wires.pop(wire.lease.id, None) is None:
            return
        self.delivery.settle(self.dispatcher.lost(wire.lease.id, code, reason))
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
            if self._scribe is not None and head.arrays and head.arrays[-1].name == STATE:
                self._scribe.resumed(piece, wire.lease)
            heads.append(head)
            frames.extend(buffers)
            if len(frames) > _MOST_FRAMES:
                wire.send(tuple(heads), frames)
                heads, frames = [], []
        if heads:
            wire.send(tuple(heads), frames)


def _mismatch(lease: Lease) -> VersionMismatch:
    return VersionMismatch(
        f"{lease.node_name}/{lease.device} speaks version {lease.parcels} of parcels, this client "
        f"version {PARCELS}",
        hint=f"upgrade qallow-agent {'here' if lease.parcels > PARCELS else 'there'}",
    )
