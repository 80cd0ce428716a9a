"""A scribe: keeps the states of a job's long runs, tells the desk, and brings it those to keep."""

import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from qallow_agent.base.errors import CheckpointCorrupt
from qallow_agent.base.hlc import HybridClock
from qallow_agent.base.ids import JobId, LeaseId
from qallow_agent.base.message import Failure, Message
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.switch import Switch
from qallow_agent.client.trail import Mark, Trail
from qallow_agent.jobs.epochs import JobStep, KeepEpoch
from qallow_agent.jobs.manifest import Parts
from qallow_agent.jobs.messages import JobOptions, Lease
from qallow_agent.jobs.parcels import Fault, Snapshot
from qallow_agent.jobs.story import CORRUPT, KEPT, RESUMED
from qallow_agent.jobs.vault import PART_BYTES
from qallow_agent.jobs.work import Piece

_MOST_WAITING: Final = 4
"""States that wait to be brought to the desk; it thins them out anyway."""

_log = logging.getLogger(__name__)


class Scribe:
    """Writes down how far the runs of one job are.

    Args:
        desk: The agent.
        job: Returns the job's id.
        options: How the job is run.
    """

    def __init__(self, desk: Switch, job: Callable[[], JobId], options: JobOptions) -> None:
        self.every = options.checkpoint_every
        """Ticks between the states that runners shall tell; 0 leaves it to them."""
        self._newest: Callable[[], JobFuture | None] = lambda: None
        self._desk = desk
        self._job = job
        self._retain = options.retain
        self._clock = HybridClock()
        self._waiting: deque[Mark] = deque(maxlen=_MOST_WAITING)
        self._bringing_s: float | None = None
        self._warned = False
        self._came = bytearray()
        self._kernel_hash = ""

    def kept(
        self, piece: Piece | None, lease: Lease, header: Snapshot, parts: Sequence[Parts]
    ) -> None:
        """Take in a state of a piece from the runner that is at it."""
        future = None if piece is None else piece.token
        if piece is None or piece.panel is not None or not isinstance(future, JobFuture):
            return  # states of several devices at one run are no trail
        blob = b"".join(parts[0])
        if future.trail is None:
            future.trail = Trail(lease.kernel_hash, future.arguments.scalars)
        try:
            mark = future.trail.add(blob)
        except CheckpointCorrupt as error:
            _log.warning("warning: %s; an older one is kept: %s", lease.node_name, error.message)
            self._tell(CORRUPT, piece, lease.id, header.attempt, None, error.message)
            return
        if mark is None:
            return
        self._tell(KEPT, piece, lease.id, header.attempt, mark)
        if self._retain:
            self._waiting.append(mark)
            self._bring()

    def resumed(self, piece: Piece, lease: Lease) -> None:
        """Note that a piece goes on from its newest state."""
        trail = piece.token.trail if isinstance(piece.token, JobFuture) else None
        tip = None if trail is None else trail.tip
        if tip is not None:
            self._tell(RESUMED, piece, lease.id, piece.attempt, tip)
            _log.info("%s goes on from tick %d at %s", self._job(), tip.tick, lease.node_name)

    def faulted(self, piece: Piece | None, fault: Fault) -> None:
        """Let go of a state that a runner could not go on from: an older one may be good."""
        future = None if piece is None else piece.token
        if fault.code != CheckpointCorrupt.code or not isinstance(future, JobFuture):
            return
        mark = None if future.trail is None else future.trail.doubt()
        if mark is not None and piece is not None:
            _log.warning("warning: %s; an older checkpoint is used", fault.message)
            self._tell(CORRUPT, piece, "", piece.attempt, mark, fault.message)

    def added(self, future: JobFuture) -> None:
        """Note which evaluation was added last: of a job that retains there is only one."""
        self._newest = weakref.ref(future)  # whoever waits for it holds it; nobody else may

    def accepted(self, kernel_hash: str) -> None:
        """Learn which kernel the job runs."""
        self._kernel_hash = kernel_hash

    def recall(self, message: KeepEpoch) -> None:
        """Take in a part of the state that the desk kept for a client before this one."""
        if message.part == 0:
            self._came.clear()
        self._came += message.data
        future = self._newest()
        if not message.last or future is None or future.done() or future.trail is not None:
            return
        trail = Trail(self._kernel_hash, future.arguments.scalars)
        try:
            trail.add(bytes(self._came), root=True)
        except CheckpointCorrupt as error:
            _log.warning("warning: the run starts anew: %s", error.message)
            return
        future.trail = trail

    def _tell(
        self,
        what: str,
        piece: Piece,
        lease: str,
        attempt: int,
        mark: Mark | None,
        why: str = "",
    ) -> None:
        stamp = self._clock.stamp(time.time_ns())
        found = mark or Mark(0, 0, "", "", b"")
        self._desk.tell(
            JobStep(
                self._job(), what, LeaseId(lease), piece.number, attempt, found.epoch, found.tick,
                found.digest, found.previous, len(found.blob), why, stamp,
            )
        )  # fmt: skip

    def _bring(self) -> None:
        """Bring the next waiting state to the desk, part by part; one at a time."""
        now = time.monotonic()
        if self._bringing_s is not None and now - self._bringing_s < self._desk.timeout_s:
            return
        if not self._waiting:
            return
        mark, self._bringing_s = self._waiting.popleft(), now
        count = -(-len(mark.blob) // PART_BYTES)

        def bring(part: int) -> None:
            data = mark.blob[part * PART_BYTES : (part + 1) * PART_BYTES]
            keep = KeepEpoch(self._job(), mark.epoch, part, data, last=part == count - 1)
            self._desk.post(keep, lambda answer: brought(part, answer))

        def brought(part: int, answer: Message) -> None:
            if isinstance(answer, Failure):
                self._warn(answer.message)
            elif part < count - 1:
                bring(part + 1)
                return
            self._bringing_s = None
            self._bring()

        bring(0)

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("warning: checkpoints of %s are not kept by the agent: %s",
                         self._job(), why)  # fmt: skip
