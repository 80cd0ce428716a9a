"""Freight: how large arrays reach one runner and come back, beside the parcels.

Where runner and submitter share a kernel, through shared memory; else in pieces of 1 MiB. A runner
that does not hold what a task names says so, and gets what is missing: so an array that many tasks
need is sent once, and one that a broken connection cut short is continued.
"""

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from msgspec import structs

from qallow_agent.base.errors import Malformed, PeerError
from qallow_agent.base.units import Seconds
from qallow_agent.client.cargo import Cargo
from qallow_agent.client.pool import Pool, Segment
from qallow_agent.jobs.holds import Holds
from qallow_agent.jobs.manifest import Parts, join_small, layout
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.parcels import (
    CHUNK_BYTES,
    SMALL_BYTES,
    ArrayHead,
    Chunk,
    Hatch,
    Header,
    HoldsMissing,
    Knock,
    Neighbour,
    ResultHead,
    Room,
    TaskHead,
    TaskParcel,
    announced,
)
from qallow_agent.runtime.hatch import Visit, machine_mark
from qallow_agent.runtime.memory import allocate

_log = logging.getLogger(__name__)

_MOST_RESULT_BYTES: Final = 4 << 30
_MOST_TRIES: Final = 4
_MOST_KNOWN: Final = 1_024

Post = Callable[[Header, Sequence[Any]], None]


class Depot:
    """What all wires of a connection share: memory, and what is known of runners and kernels."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.sent: dict[bytes, dict[bytes, None]] = {}
        """Runner key -> names of what was sent there, whole or in part."""
        self.output_bytes: dict[str, float] = {}
        """Kernel -> bytes of large outputs a point, of late."""
        self.lent: WeakKeyDictionary[Cargo, Segment] = WeakKeyDictionary()
        """The segments in which arrays of whole sweeps lie, as long as there are such arrays."""

    def sent_to(self, runner_key: bytes) -> dict[bytes, None]:
        """Return what a runner was sent."""
        while len(self.sent) > _MOST_KNOWN:
            del self.sent[next(iter(self.sent))]
        return self.sent.setdefault(runner_key, {})

    def lend(self, cargo: Cargo, segment: Segment) -> None:
        """Leave an array in a segment for all tasks that need it."""
        self.lent[cargo] = segment
        weakref.finalize(cargo, self.pool.give_back, segment).atexit = False


@dataclass(slots=True)
class _Load:
    """A task that is out with large arrays, or with room for some."""

    task: TaskHead
    buffers: Sequence[Any]
    segments: list[Segment] = field(default_factory=list)
    room: Segment | None = None
    tries: int = 0


class Freight:
    """The large arrays of one wire.

    Args:
        lease: Whose runner it leads to.
        depot: Shared by all wires.
        post: Sends a parcel on this wire.
    """

    def __init__(self, lease: Lease, depot: Depot, post: Post) -> None:
        self._lease = lease
        self._depot = depot
        self._post = post
        self._holds = Holds(allocate, _MOST_RESULT_BYTES)
        self._loads: dict[int, _Load] = {}
        self._asked = False
        self._visit: Visit | None = None
        self._open = False
        self._handed: set[bytes] = set()
        self._rooms: dict[bytes, Segment] = {}
        self._views: dict[bytes, memoryview] = {}

    # --- out -------------------------------------------------------------------------------------

    def load(
        self, tasks: Iterable[TaskHead], buffers: Sequence[Any]
    ) -> tuple[tuple[TaskHead, ...], list[Any]]:
        """Send ahead what travels apart; return the tasks and the raw frames of their parcel.

        Args:
            tasks: As their payload made them.
            buffers: Their arrays, in the order of the heads; large ones as cargo.
        """
        loaded: list[TaskHead] = []
        small: list[bytes] = []
        own: list[Any] = []
        position = 0
        for task in tasks:
            count = len(task.columns) + len(task.arrays)
            given = buffers[position : position + count]
            position += count
            head = self._load_one(task, given, small, own)
            loaded.append(head)
        joined = b"".join(small)
        return tuple(loaded), [joined, *own] if joined else own

    def _load_one(
        self, task: TaskHead, given: Sequence[Any], small: list[bytes], own: list[Any]
    ) -> TaskHead:
        large = [each for each in given if isinstance(each, Cargo)]
        room_bytes = self._room_bytes(task)
        if not large and not room_bytes:
            plan = layout(task.columns + task.arrays)
            small.append(join_small(plan, [each.tobytes() for each in given]))
            return task
        if large:
            self._meet()
        load = self._loads.setdefault(task.number, _Load(task, given))
        heads: list[ArrayHead] = []
        pieces: list[bytes] = []
        for head, each in zip(task.columns + task.arrays, given, strict=True):
            if not isinstance(each, Cargo):
                pieces.append(each.tobytes())
                heads.append(head)
                continue
            moved = self._share(head, each, load) if len(heads) >= len(task.columns) else None
            if moved is None and len(each) > CHUNK_BYTES:
                self._send_apart(each)
                moved = structs.replace(head, hold=each.name)
            elif moved is None:
                own.append(each.data)
            heads.append(moved or head)
        small.append(join_small(layout(tuple(heads)), pieces))
        columns = tuple(heads[: len(task.columns)])
        arrays = tuple(heads[len(task.columns) :])
        room = self._make_room(room_bytes, load)
        return structs.replace(task, columns=columns, arrays=arrays, room=room)

    def _send_apart(self, cargo: Cargo) -> None:
        known = self._depot.sent_to(self._lease.runner_key)
        if cargo.name in known:
            return
        while len(known) >= _MOST_KNOWN:
            del known[next(iter(known))]
        known[cargo.name] = None
        self._send_range(cargo, 0, len(cargo))

    def _send_range(self, cargo: Cargo, start: int, end: int) -> None:
        data, total = cargo.data, len(cargo)
        for offset in range(start, end, CHUNK_BYTES):
            chunk = Chunk(self._lease.id, cargo.name, offset, total, cargo.keep)
            self._post(chunk, (data[offset : min(offset + CHUNK_BYTES, total)],))

    # --- shared memory ---------------------------------------------------------------------------

    def _meet(self) -> None:
        """Ask the runner, once, whether it is on this machine."""
        if not self._asked:
            self._asked = True
            mark = machine_mark(self._lease.runner_key)
            self._post(Neighbour(self._lease.id, mark, os.geteuid()), ())

    def _share(self, head: ArrayHead, cargo: Cargo, load: _Load) -> ArrayHead | None:
        """Place an array into shared memory; None when there is none."""
        if not self._open:
            return None
        segment = self._depot.lent.get(cargo)
        if segment is None:
            segment = self._depot.pool.take(len(cargo))
            if segment is None:
                return None
            from qallow_agent.client.arrays import fill  # noqa: PLC0415 - brings NumPy

            fill(segment.memory, cargo.array)
            if cargo.shared:
                self._depot.lend(cargo, segment)
            else:
                load.segments.append(segment)
        if not self._hand_over(segment):
            return None
        return structs.replace(head, hold=segment.name, offset=0)

    def _make_room(self, room_bytes: int, load: _Load) -> Room | None:
        if not self._open or not room_bytes:
            return None
        segment = load.room or self._depot.pool.take(room_bytes)
        if segment is None or not self._hand_over(segment):
            return None
        load.room = segment
        self._rooms[segment.name] = segment
        return Room(segment.name, 0, segment.size_bytes)

    def _room_bytes(self, task: TaskHead) -> int:
        """Return how much room the large outputs of a task will need, judged by those before."""
        point_bytes = self._depot.output_bytes.get(self._lease.kernel, 0.0)
        size = int(point_bytes * max(task.points, 1))
        return size if self._open and size >= SMALL_BYTES else 0

    def _hand_over(self, segment: Segment) -> bool:
        if segment.name in self._handed:
            return True
        if self._visit is None:
            return False
        try:
            self._visit.hand_over(segment.name, segment.descriptor)
        except OSError as error:
            self._part(str(error))
            return False
        self._handed.add(segment.name)
        return True

    def _part(self, why: str) -> None:
        """Do without shared memory from now on."""
        _log.debug("no shared memory with %s: %s", self._lease.runner, why)
        self._open = False
        if self._visit is not None:
            self._visit.close()
            self._visit = None

    def forgotten(self, names: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return those of some segments, now gone, of which the runner should be told."""
        told = tuple(name for name in names if name in self._handed)
        self._handed.difference_update(told)
        return told

    # --- in --------------------------------------------------------------------------------------

    def hear(self, header: Header, frames: Sequence[Any], now: Seconds) -> bool:
        """Take in a parcel about large arrays; False when it is about something else.

        Raises:
            WireError: The runner breaks the protocol.
        """
        if isinstance(header, Chunk):
            self._holds.put(header, memoryview(frames[0]), now)
        elif isinstance(header, HoldsMissing):
            self._bring(header)
        elif isinstance(header, Hatch):
            self._go_to(header)
        elif isinstance(header, Knock):
            self._enter()
        else:
            return False
        return True

    def find(self, head: ArrayHead, now: Seconds) -> memoryview:
        """Return the bytes of an array that lies in a hold.

        Raises:
            Malformed: It does not, or lies outside of it.
        """
        size = announced(head)
        found = self._view(head.hold) or self._holds.find(head.hold, now)
        if found is None or not 0 <= head.offset <= len(found) - size:
            raise Malformed(f"array {head.name!r} lies in a hold that is not there")
        self._holds.used(head.hold)
        return found[head.offset : head.offset + size]

    def answered(self, results: Sequence[ResultHead], parts: Sequence[Parts], points: int) -> None:
        """Take back what answered tasks had, and learn how much room their kernel needs.

        Args:
            results: What came.
            parts: Their arrays.
            points: Of the last task.
        """
        large = max((part.large_bytes for part in parts), default=0)
        if large:
            self._depot.output_bytes[self._lease.kernel] = large / max(points, 1)
            self._meet()
        for result in results:
            load = self._loads.pop(result.number, None)
            if load is None:
                continue
            for segment in load.segments:
                self._depot.pool.give_back(segment)
            if load.room is not None:
                del self._rooms[load.room.name]
                if self._views.pop(load.room.name, None) is None:
                    self._depot.pool.give_back(load.room)
            known = self._depot.sent_to(self._lease.runner_key)
            for each in load.buffers:
                if isinstance(each, Cargo) and not each.keep:
                    known.pop(each.name, None)

    def close(self) -> None:
        """Leave; what the runner may still use is not used again."""
        for load in self._loads.values():
            for segment in (*load.segments, *filter(None, (load.room,))):
                self._depot.pool.discard(segment)
        self._loads.clear()
        self._rooms.clear()
        self._views.clear()
        if self._visit is not None:
            self._visit.close()
            self._visit = None
        self._open = False

    def _view(self, name: bytes) -> memoryview | None:
        view = self._views.get(name)
        segment = self._rooms.get(name)
        if view is None and segment is not None:
            view = self._views[name] = self._depot.pool.view(segment)
        return view

    def _bring(self, header: HoldsMissing) -> None:
        """Send what a runner lacks, and its tasks again."""
        loads = [self._loads[number] for number in header.tasks if number in self._loads]
        cargo = {
            each.name: each
            for load in loads
            for each in load.buffers
            if isinstance(each, Cargo) and len(each) > CHUNK_BYTES
        }
        for missing in header.holds:
            wanted = cargo.get(missing.hold)
            if wanted is None:
                self._part("the runner does not hold what it was handed")
                continue
            for start, end in missing.ranges:
                if start % CHUNK_BYTES or not 0 <= start < end <= len(wanted):
                    raise Malformed(f"bytes {start} to {end} of {len(wanted)} are said to lack")
                self._send_range(wanted, start, end)
        for load in loads:
            load.tries += 1
            if load.tries > _MOST_TRIES:
                raise Malformed("what a task needs is said to lack again and again")
            tasks, frames = self.load((load.task,), load.buffers)
            self._post(TaskParcel(self._lease.id, tasks), frames)

    def _go_to(self, hatch: Hatch) -> None:
        if not self._asked or self._visit is not None:
            raise Malformed("a hatch that was not asked for")
        if not hatch.address:
            _log.debug("no shared memory with %s: another machine", self._lease.runner)
            return
        try:
            self._visit = Visit(hatch)
        except (OSError, PeerError) as error:
            self._part(str(error))
            return
        self._post(Knock(self._lease.id), ())

    def _enter(self) -> None:
        if self._visit is not None and self._visit.confirmed():
            self._open = True
            _log.debug("shared memory with %s", self._lease.runner)
        else:
            self._part("somebody else listens at the hatch")
