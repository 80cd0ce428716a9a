"""The data loop of a runner: a parcel in, its tasks run, their results out.

One thread, one socket, one blocking receive: for a tiny task nothing happens here but what must.
Results of a parcel leave together, but none waits longer than about 20 ms for the others.
"""

import os
import struct
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import zmq

from qallow_agent.base.errors import DeviceMemory, Malformed, TooLarge, WireError
from qallow_agent.base.ids import LeaseId
from qallow_agent.jobs.local import RunnerTally
from qallow_agent.jobs.manifest import MAX_FRAMES, Manifest, Parts
from qallow_agent.jobs.parcels import (
    CHUNK_BYTES,
    ArrayHead,
    Chunk,
    Fault,
    Forget,
    Header,
    HoldsMissing,
    Knock,
    LeaseUnknown,
    Neighbour,
    Ping,
    ResultHead,
    ResultParcel,
    TaskHead,
    TaskParcel,
    chunk_bytes,
    pack,
    unpack_header,
)
from qallow_agent.runtime.batch import Batch
from qallow_agent.runtime.eagerness import Eagerness
from qallow_agent.runtime.gate import Gate, Terms
from qallow_agent.runtime.multipart import receive, send
from qallow_agent.runtime.posture import Posture
from qallow_agent.runtime.slate import Slate, canary_lease
from qallow_agent.runtime.snapshots import send_snapshot
from qallow_agent.runtime.stowage import Stowage
from qallow_agent.runtime.workshop import Cut, Done, Workshop

FLUSH_S: Final = 0.02

_DRAIN: Final = 256
TALLY_S: Final = 1.0
_TALLY_MS: Final = 1_000
_STOP: Final = b"stop"
_ASKED: Final = (TaskParcel, Chunk, Ping, Forget, Neighbour, Knock)
"""What submitters say."""


@dataclass(slots=True)
class _Tally:
    kernel: str
    began_s: float
    ended_s: float = 0.0
    tasks: int = 0
    points: int = 0
    ops: float = 0.0
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Work:
    route: bytes
    terms: Terms
    parcel: TaskParcel
    parts: list[Parts]


@dataclass(frozen=True, slots=True)
class _Arrived:
    route: bytes
    terms: Terms
    header: TaskParcel
    manifest: Manifest
    raw: list[memoryview]


class Server:
    """Serves submitters until the gate says stop.

    Args:
        router: The bound CURVE socket; its receive timeout is ours.
        gate: Knows the leases.
        workshop: Runs a task.
        slate: Where the task at hand is noted.
        stowage: What submitters place here beside their tasks.
        posture: How each job finds the process.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        gate: Gate,
        workshop: Workshop,
        slate: Slate,
        stowage: Stowage,
        posture: Posture,
    ) -> None:
        self._router = router
        self._gate = gate
        self._workshop = workshop
        self._slate = slate
        self._stowage = stowage
        self._posture = posture
        self._noted: LeaseId | None = None
        self._backlog: deque[_Work] = deque()
        self._tallies: dict[LeaseId, _Tally] = {}
        self._tally_due_s = 0.0
        self._drained_s = 0.0
        self._snapshots = 0
        self.copied = False
        """Set in a process that a kernel forked: it must never reach our sockets."""

    def run(self) -> None:
        """Serve; returns after the task at hand once the gate is stopping or the device lost."""
        gate, router, backlog, workshop = self._gate, self._router, self._backlog, self._workshop
        watch = Eagerness(router).watch
        while not (gate.stopping or workshop.lost):
            if backlog:
                self._serve(backlog.popleft())
                continue
            watch()
            try:
                route, frames = receive(router)
            except zmq.Again:
                self._report_tallies(time.monotonic())
                continue
            self._take(route, frames)
        for work in backlog:
            self._answer(work.route, LeaseUnknown(work.terms.lease))
        self._report_tallies(time.monotonic())
        self._stowage.close()

    def _take(self, route: bytes, frames: list[zmq.Frame]) -> None:
        """Sort one message: a parcel into the backlog, a ping back, an order of the gate done."""
        try:
            user = frames[0].get("User-Id")
        except zmq.ZMQError:  # only the gate's inproc pipe carries no authenticated user
            self._obey(frames[0].bytes)
            return
        try:
            self._hear(route, str(user), frames)
        except WireError as error:
            self._drop(str(user), error.message)

    def _hear(self, route: bytes, user: str, frames: list[zmq.Frame]) -> None:
        if len(frames) > MAX_FRAMES:
            raise TooLarge(f"a parcel of {len(frames)} frames")
        header = unpack_header(frames[0].buffer)
        manifest = Manifest(header)
        raw = [frame.buffer for frame in frames[1:]]
        manifest.check([len(data) for data in raw])
        if not isinstance(header, _ASKED):
            raise Malformed("a parcel that only runners send")
        terms = self._gate.leases.get(header.lease)
        now_s = time.monotonic()
        if terms is None or terms.user != user or terms.expires_s < now_s:
            if not isinstance(header, Chunk):  # its task follows, and is answered
                self._answer(route, LeaseUnknown(header.lease))
        elif isinstance(header, TaskParcel):
            self._queue(_Arrived(route, terms, header, manifest, raw), now_s)
        elif isinstance(header, Chunk):
            self._router.rcvtimeo = _TALLY_MS  # what is never finished must go one day
            self._stowage.put(user, header, raw[0], now_s)
        elif isinstance(header, Forget):
            self._stowage.forget(user, header.holds)
        elif isinstance(header, Neighbour):
            self._answer(route, self._stowage.invite(user, header))
        elif isinstance(header, Ping) or self._stowage.admit(user):
            self._answer(route, header)

    def _queue(self, came: _Arrived, now_s: float) -> None:
        """Put a parcel into the backlog, or say what it lacks."""
        terms, tasks = came.terms, came.header.tasks
        if terms.in_flight + len(tasks) > terms.credits:
            self._drop(terms.user, f"more than the {terms.credits} tasks its lease allows at once")
            return
        stowage, lacking, held = self._stowage, [], []

        def find(head: ArrayHead) -> memoryview:
            found = stowage.find(terms.user, head, now_s)
            held.append(head)
            if found is None:
                lacking.append(head)
                return memoryview(b"")
            return found

        parts = came.manifest.parts(came.raw, find)
        if lacking:
            self._lack(came, lacking)
            return
        for head in held:
            stowage.used(terms.user, head.hold)
        terms.in_flight += len(tasks)
        self._backlog.append(_Work(came.route, terms, came.header, parts))

    def _lack(self, came: _Arrived, lacking: list[ArrayHead]) -> None:
        """Say which holds a parcel names that are not here; or fail it where they cannot be."""
        lease, user, tasks = came.terms.lease, came.terms.user, came.header.tasks
        for head in lacking:
            why = self._stowage.refused(user, head.hold)
            if why:
                hint = "make the task smaller, or raise runners.memory_bytes on that node"
                fault = Fault(DeviceMemory.code, f"its arrays do not fit this runner: {why}", hint)
                failed = [ResultHead(task.number, task.attempt, 0.0, (), fault) for task in tasks]
                self._answer(came.route, ResultParcel(lease, tuple(failed)))
                return
        missing = {head.hold: self._stowage.missing(user, head) for head in lacking}
        numbers = tuple(task.number for task in tasks)
        self._answer(came.route, HoldsMissing(lease, numbers, tuple(missing.values())))

    def _obey(self, order: bytes) -> None:
        if order == _STOP:
            return
        kernel = order.decode()
        self._note(canary_lease(kernel))
        self._slate.begin(0, 0, time.monotonic())
        done = self._workshop.canary(kernel)
        self._slate.end()
        self._gate.report(done)

    def _serve(self, work: _Work) -> None:
        """Run the tasks of one parcel and answer it, in pieces when it takes long."""
        terms, tasks, gate = work.terms, work.parcel.tasks, self._gate
        run, slate = self._workshop.run, self._slate
        self._note(terms.lease)
        batch = Batch()
        done = 0
        cut = Cut(work.parcel.every, terms.lease, lambda task, blob: self._keep(work, task, blob))
        now_s = flushed_s = time.monotonic()
        for task, parts in zip(tasks, work.parts, strict=True):
            if not terms.open or now_s > terms.expires_s or gate.stopping:
                break
            try:
                slate.begin(task.number, task.attempt, now_s)
            except struct.error:
                self._drop(terms.user, "a task number beyond 63 bits")
                break
            room = self._stowage.room(terms.user, task.room) if task.room else None
            result = run(terms.kernel, task, parts, room, cut)
            if self.copied:
                os._exit(0)
            slate.end()
            done += 1
            batch.add(task, result)
            now_s = time.monotonic()
            self._count(terms, task, result, now_s)
            if now_s - flushed_s >= FLUSH_S or batch.full():
                if not self._flush(work, batch):
                    break
                batch = Batch()
                flushed_s = now_s
                self._look_up(now_s)
        if batch.results:
            self._flush(work, batch)
        if done < len(tasks):
            terms.in_flight -= len(tasks) - done
            self._answer(work.route, LeaseUnknown(terms.lease))
        self._look_up(now_s)

    def _flush(self, work: _Work, batch: Batch) -> bool:
        """Send what a parcel's tasks gave so far; False when nobody takes it."""
        work.terms.in_flight -= len(batch.results)
        header = ResultParcel(work.terms.lease, tuple(batch.results))
        try:
            for name, data in batch.apart:
                self._send_apart(work, name, data)
            send(self._router, work.route, pack(header), batch.frames())
        except zmq.Again:
            # Its pipe has been full for as long as we wait: it does not read its results. Credits
            # bound what it may ask for, this bounds what it may leave lying here.
            work.terms.open = False
            self._gate.leases.pop(work.terms.lease, None)
            self._drop(work.terms.user, "it does not read its results")
            return False
        except zmq.ZMQError:  # EHOSTUNREACH: its connection is gone, and so are its wishes
            self._forget(work.route)
            return False
        return True

    def _keep(self, work: _Work, task: TaskHead, blob: bytes) -> None:
        """Hand the state of a running task to its submitter, if that takes it at once."""
        self._snapshots += 1
        with suppress(zmq.ZMQError):  # it is behind, or gone; the run goes on
            send_snapshot(self._router, work.route, work.terms.lease, task, blob, self._snapshots)

    def _send_apart(self, work: _Work, name: bytes, data: memoryview) -> None:
        total = len(data)
        for offset in range(0, total, CHUNK_BYTES):
            chunk = pack(Chunk(work.terms.lease, name, offset, total))
            piece = data[offset : offset + chunk_bytes(offset, total)]
            send(self._router, work.route, chunk, (piece,))

    def _forget(self, route: bytes) -> None:
        kept = [work for work in self._backlog if work.route != route]
        for work in self._backlog:
            if work.route == route:
                work.terms.in_flight -= len(work.parcel.tasks)
        self._backlog.clear()  # in place: the loop holds on to it
        self._backlog.extend(kept)

    def _answer(self, route: bytes, header: Header) -> None:
        try:
            send(self._router, route, pack(header), ())
        except zmq.ZMQError:  # gone, or it does not read: it will notice by itself
            return

    def _look_up(self, now_s: float) -> None:
        """Now and then, look at what else has come and tell the agent what was done."""
        if now_s - self._drained_s >= FLUSH_S:
            self._drained_s = now_s
            for _ in range(_DRAIN):
                try:
                    route, frames = receive(self._router, zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._take(route, frames)
        if now_s >= self._tally_due_s and (self._tallies or not self._stowage.empty):
            self._report_tallies(now_s)

    def _count(self, terms: Terms, task: TaskHead, result: Done, now_s: float) -> None:
        kernel = terms.kernel
        tally = self._tallies.get(terms.lease)
        if tally is None:
            tally = self._tallies[terms.lease] = _Tally(kernel, now_s - result.seconds)
            self._tally_due_s = now_s + TALLY_S
            self._router.rcvtimeo = _TALLY_MS
        tally.ended_s = now_s
        tally.tasks += 1
        tally.busy_s += result.seconds
        if result.fault is None:
            tally.points += max(task.points, 1)
            tally.ops += self._workshop.ops(kernel, task) * result.share

    def _report_tallies(self, now_s: float) -> None:
        self._tally_due_s = now_s + TALLY_S
        for lease, tally in list(self._tallies.items()):
            done = RunnerTally(
                tally.kernel, tally.tasks, tally.points, tally.ops, tally.busy_s,
                lease, now_s - tally.began_s, now_s - tally.ended_s,
            )  # fmt: skip
            if self._gate.report(done):
                del self._tallies[lease]
        if not self._stowage.empty:
            leases = list(self._gate.leases.values())
            self._stowage.keep({terms.user for terms in leases if terms.expires_s > now_s}, now_s)
        idle = not self._tallies and self._stowage.empty
        self._router.rcvtimeo = -1 if idle else _TALLY_MS  # idle: sleep until somebody speaks

    def _note(self, lease: LeaseId) -> None:
        if lease != self._noted:
            self._slate.lease(lease)
            self._posture.resume()
            self._noted = lease

    def _drop(self, user: str, why: str) -> None:
        print(f"dropped what {user[:16]}... sent: {why}", flush=True)  # noqa: T201 - into the log
