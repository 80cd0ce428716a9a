"""The data loop of a runner: a parcel in, its tasks run, their results out.

One thread, one socket, one blocking receive: for a tiny task nothing happens here but what must.
Results of a parcel leave together, but none waits longer than about 20 ms for the others.
"""

import os
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import zmq

from qallow_agent.base.errors import WireError
from qallow_agent.base.ids import LeaseId
from qallow_agent.jobs.local import RunnerTally
from qallow_agent.jobs.parcels import (
    Header,
    LeaseUnknown,
    Ping,
    ResultHead,
    ResultParcel,
    TaskHead,
    TaskParcel,
    pack,
    unpack,
)
from qallow_agent.runtime.eagerness import Eagerness
from qallow_agent.runtime.gate import Gate, Terms
from qallow_agent.runtime.multipart import Sendable, receive, send
from qallow_agent.runtime.slate import Slate, canary_lease
from qallow_agent.runtime.workshop import Workshop

FLUSH_S: Final = 0.02
_FLUSH_RESULTS: Final = 1_000
_FLUSH_FRAMES: Final = 16_000
_FLUSH_BYTES: Final = 1 << 20
"""A reply of about a megabyte lets both ends work at once (one of 64 is three times slower)."""

_DRAIN: Final = 256
TALLY_S: Final = 1.0
_TALLY_MS: Final = 1_000
_STOP: Final = b"stop"


@dataclass(slots=True)
class _Tally:
    kernel: str
    began_s: float
    ended_s: float = 0.0
    tasks: int = 0
    points: int = 0
    ops: float = 0.0
    busy_s: float = 0.0


@dataclass(slots=True)
class _Batch:
    results: list[ResultHead] = field(default_factory=list)
    frames: list[Sendable] = field(default_factory=list)
    size_bytes: int = 0

    def full(self) -> bool:
        return (
            self.size_bytes >= _FLUSH_BYTES
            or len(self.results) >= _FLUSH_RESULTS
            or len(self.frames) >= _FLUSH_FRAMES
        )


@dataclass(frozen=True, slots=True)
class _Work:
    route: bytes
    terms: Terms
    parcel: TaskParcel
    frames: list[zmq.Frame]


class Server:
    """Serves submitters until the gate says stop.

    Args:
        router: The bound CURVE socket; its receive timeout is ours.
        gate: Knows the leases.
        workshop: Runs a task.
        slate: Where the task at hand is noted.
    """

    def __init__(
        self, router: zmq.Socket[bytes], gate: Gate, workshop: Workshop, slate: Slate
    ) -> None:
        self._router = router
        self._gate = gate
        self._workshop = workshop
        self._slate = slate
        self._noted: LeaseId | None = None
        self._backlog: deque[_Work] = deque()
        self._tallies: dict[LeaseId, _Tally] = {}
        self._tally_due_s = 0.0
        self._drained_s = 0.0
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

    def _take(self, route: bytes, frames: list[zmq.Frame]) -> None:
        """Sort one message: a parcel into the backlog, a ping back, an order of the gate done."""
        try:
            user = frames[0].get("User-Id")
        except zmq.ZMQError:  # only the gate's inproc pipe carries no authenticated user
            self._obey(frames[0].bytes)
            return
        try:
            header = unpack([frame.buffer for frame in frames])
        except WireError as error:
            self._drop(str(user), error.message)
            return
        if not isinstance(header, TaskParcel | Ping):
            self._drop(str(user), "a parcel that only runners send")
            return
        terms = self._gate.leases.get(header.lease)
        if terms is None or terms.user != user or terms.expires_s < time.monotonic():
            self._answer(route, LeaseUnknown(header.lease))
        elif isinstance(header, Ping):
            self._answer(route, header)
        elif terms.in_flight + len(header.tasks) > terms.credits:
            self._drop(str(user), f"more than the {terms.credits} tasks its lease allows at once")
        else:
            terms.in_flight += len(header.tasks)
            self._backlog.append(_Work(route, terms, header, frames))

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
        batch = _Batch()
        position, done = 1, 0
        now_s = flushed_s = time.monotonic()
        for task in tasks:
            if not terms.open or now_s > terms.expires_s or gate.stopping:
                break
            end = position + len(task.columns) + len(task.arrays)
            try:
                slate.begin(task.number, task.attempt, now_s)
            except struct.error:
                self._drop(terms.user, "a task number beyond 63 bits")
                break
            result, frames = run(terms.kernel, task, work.frames[position:end])
            if self.copied:
                os._exit(0)
            slate.end()
            position, done = end, done + 1
            batch.results.append(result)
            for frame in frames:
                batch.frames.append(frame)
                batch.size_bytes += frame.nbytes if isinstance(frame, memoryview) else len(frame)
            now_s = time.monotonic()
            self._count(terms, task, result, now_s)
            if now_s - flushed_s >= FLUSH_S or batch.full():
                if not self._flush(work, batch):
                    break
                batch = _Batch()
                flushed_s = now_s
                self._look_up(now_s)
        if batch.results:
            self._flush(work, batch)
        if done < len(tasks):
            terms.in_flight -= len(tasks) - done
            self._answer(work.route, LeaseUnknown(terms.lease))
        self._look_up(now_s)

    def _flush(self, work: _Work, batch: _Batch) -> bool:
        """Send what a parcel's tasks gave so far; False when nobody takes it."""
        work.terms.in_flight -= len(batch.results)
        header = ResultParcel(work.terms.lease, tuple(batch.results))
        try:
            send(self._router, work.route, pack(header), batch.frames)
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
        if self._tallies and now_s >= self._tally_due_s:
            self._report_tallies(now_s)

    def _count(self, terms: Terms, task: TaskHead, result: ResultHead, now_s: float) -> None:
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
            tally.ops += self._workshop.ops(kernel, task)

    def _report_tallies(self, now_s: float) -> None:
        self._tally_due_s = now_s + TALLY_S
        for lease, tally in list(self._tallies.items()):
            done = RunnerTally(
                tally.kernel, tally.tasks, tally.points, tally.ops, tally.busy_s,
                lease, now_s - tally.began_s, now_s - tally.ended_s,
            )  # fmt: skip
            if self._gate.report(done):
                del self._tallies[lease]
        if not self._tallies:
            self._router.rcvtimeo = -1  # idle: sleep until somebody speaks

    def _note(self, lease: LeaseId) -> None:
        if lease != self._noted:
            self._slate.lease(lease)
            self._noted = lease

    def _drop(self, user: str, why: str) -> None:
        print(f"dropped what {user[:16]}... sent: {why}", flush=True)  # noqa: T201 - into the log
