"""Virtual runners: they take parcels under leases, work in virtual time, crash and hang on demand.

A task says where its points begin (``scalars["start"]``), and its job may name points at which
something happens: ``poison`` kills the runner, ``hang`` never ends, ``faulty`` raises.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import LeaseId, RunnerId
from qallow_agent.base.message import Message
from qallow_agent.base.reading import Reading
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.local import (
    Allow,
    CanaryDone,
    Forbid,
    RunCanary,
    RunnerBusy,
    RunnerExited,
    RunnerTally,
)
from qallow_agent.jobs.manifest import unpack
from qallow_agent.jobs.parcels import (
    ArrayHead,
    Fault,
    Header,
    LeaseUnknown,
    Ping,
    ResultHead,
    ResultParcel,
    TaskHead,
    TaskParcel,
    pack,
)
from qallow_agent.testing.network import Stream
from qallow_agent.testing.timeline import Process, Timeline

LIE = (ArrayHead("lie", "u1", (0,)),)
"""What an answer holds that is not what others answer."""

FLUSH_S: Seconds = 0.02
TALLY_S: Seconds = 1.0


@dataclass(slots=True)
class Craft:
    """How well a machine works.

    Args:
        slots: Runners of its one device.
        point_s: Seconds one point takes, give or take a tenth.
        start_s: Seconds until a runner listens.
        canary_s: Seconds of one canary.
        sick: Its canaries fail.
        lies: Share of tasks that it answers wrong; its canaries pass all the same.
        idle_w: What the device draws at rest, by its meter; 0 when it has none.
        busy_w: What a runner draws on top of that while it works.
        desktop: A person sits there.
        others: Share of its CPU that other programs take.
        margin_c: Degrees between its temperature and where it slows down; None: no thermometer.
        kind: What kind its device is.
        readings: What its device's other sensors say.
        machine: What those of the whole machine say.
        felt: What people and other programs feel, instead of nothing at all.
    """

    slots: int = 2
    point_s: Seconds = 0.02
    start_s: Seconds = 0.3
    canary_s: Seconds = 0.05
    sick: bool = False
    lies: float = 0.0
    idle_w: float = 0.0
    busy_w: float = 0.0
    desktop: bool = False
    others: float = 0.0
    margin_c: float | None = None
    kind: str = "cpu"
    readings: dict[str, Reading] = field(default_factory=dict)
    machine: dict[str, Reading] = field(default_factory=dict)
    felt: dict[str, Reading] = field(default_factory=dict)


@dataclass(slots=True)
class _Terms:
    key: bytes
    kernel: str
    credits: int
    expires_s: Seconds
    open: bool = True
    in_flight: int = 0


@dataclass(slots=True)
class _Work:
    terms: _Terms
    stream: Stream
    parcel: TaskParcel
    done: int = 0


class VirtualRunner:
    """One runner process.

    Args:
        id: Its name.
        process: Its life.
        timeline: Its time.
        craft: How fast and how well it works.
        rng: How much its times vary.
        tell: Takes what it says to its agent.
        point_ops: Operations of one point of a kernel.
    """

    def __init__(
        self,
        id: RunnerId,  # noqa: A002 - the field's name in leases and messages
        process: Process,
        timeline: Timeline,
        craft: Craft,
        rng: Random,
        tell: Callable[[Message], None],
        point_ops: Callable[[str], float],
    ) -> None:
        self.id = id
        self.process = process
        self._timeline = timeline
        self._craft = craft
        self._rng = rng
        self._tell = tell
        self._point_ops = point_ops
        self._leases: dict[LeaseId, _Terms] = {}
        self._backlog: deque[_Work] = deque()
        self._task: tuple[LeaseId, int, int, Seconds] | None = None
        self._working = False
        self._leaving: Callable[[], None] | None = None
        self._tallies: dict[tuple[LeaseId, str], list[float]] = {}
        self._tallying = False
        self._worked_s: Seconds = 0.0
        self._since_s: Seconds | None = None

    # --- what its agent says ----------------------------------------------------------------------

    def obey(self, message: Message) -> None:
        """Take an order of the agent."""
        match message:
            case Allow():
                self._allow(message)
            case Forbid(lease=lease):
                terms = self._leases.pop(lease, None)
                if terms is not None:
                    terms.open = False
            case RunCanary(kernel=kernel):
                self.process.after(self._craft.canary_s, partial(self._canary_done, kernel))
            case _:
                pass

    def leave(self, bye: Callable[[], None]) -> None:
        """Finish the task at hand, then end."""
        self._leaving = bye
        if not self._working:
            bye()

    def busy(self) -> RunnerBusy | None:
        """Return what it is running."""
        if self._task is None:
            return None
        lease, number, attempt, since_s = self._task
        return RunnerBusy(lease, number, attempt, self._timeline.now - since_s)

    def obituary(self, end: str) -> RunnerExited:
        """Return what to say of its end."""
        if self._task is None:
            return RunnerExited(end)
        lease, number, attempt, _ = self._task
        return RunnerExited(f"{end} while running task {number}", lease, number, attempt)

    def worked_s(self) -> Seconds:
        """Return for how long it has worked in its life."""
        at_it_s = 0.0 if self._since_s is None else self._timeline.now - self._since_s
        return self._worked_s + at_it_s

    def served(self) -> int:
        """Return how many leases it serves now."""
        now_s = self._timeline.now
        return sum(terms.expires_s > now_s for terms in self._leases.values())

    # --- what submitters say ----------------------------------------------------------------------

    def lets_in(self, key: bytes) -> bool:
        """Return whether a submitter with this key may connect."""
        now_s = self._timeline.now
        return any(terms.key == key and terms.expires_s >= now_s for terms in self._leases.values())

    def hear(self, stream: Stream, key: bytes, frames: Sequence[bytes]) -> None:
        """Take in one multipart message of the submitter whose key opened the stream."""
        header = unpack(frames)
        if not isinstance(header, TaskParcel | Ping):
            raise InvariantBroken(f"a submitter said {type(header).__name__}")
        terms = self._leases.get(header.lease)
        if terms is None or terms.key != key or terms.expires_s < self._timeline.now:
            _answer(stream, LeaseUnknown(header.lease))
        elif isinstance(header, Ping):
            _answer(stream, header)
        elif terms.in_flight + len(header.tasks) <= terms.credits:
            terms.in_flight += len(header.tasks)
            self._backlog.append(_Work(terms, stream, header))
            if not self._working:
                self._next()

    # --- work -------------------------------------------------------------------------------------

    def _allow(self, message: Allow) -> None:
        expires_s = self._timeline.now + message.ttl_s
        known = self._leases.get(message.lease)
        if known is not None:
            known.expires_s = expires_s
            known.credits = message.credits
            return
        self._leases[message.lease] = _Terms(
            message.submitter_key, message.kernel, message.credits, expires_s
        )

    def _canary_done(self, kernel: str) -> None:
        if self._craft.sick:
            self._tell(CanaryDone(kernel, passed=False, why="0.78 is not 0.79"))
        else:
            rate = self._point_ops(kernel) / self._craft.point_s
            self._tell(CanaryDone(kernel, passed=True, seconds=self._craft.canary_s, rate=rate))

    def _next(self) -> None:
        """Begin the next parcel, or the rest of the one at hand."""
        self._working = False
        self._task = None
        if self._leaving is not None:
            self._leaving()
            return
        while self._backlog:
            work = self._backlog[0]
            gone = not work.terms.open or work.terms.expires_s < self._timeline.now
            if gone or work.done == len(work.parcel.tasks):
                self._backlog.popleft()
                if gone:
                    work.terms.in_flight -= len(work.parcel.tasks) - work.done
                    _answer(work.stream, LeaseUnknown(work.parcel.lease))
                continue
            self._begin(work)
            return

    def _begin(self, work: _Work) -> None:
        """Do tasks until it is time to flush, something happens, or the parcel ends."""
        self._working = True
        results: list[ResultHead] = []
        passed_s = 0.0
        since_s = self._since_s = self._timeline.now
        for task in work.parcel.tasks[work.done :]:
            seconds = self._craft.point_s * max(1, task.points) * (0.9 + 0.2 * self._rng.random())
            self._task = (work.parcel.lease, task.number, task.attempt, since_s + passed_s)
            fate = _fate(task)
            if fate == "hang":
                return
            if fate == "poison":
                self.process.after(passed_s + seconds, self._segfault)
                return
            fault = (
                Fault("kernel-failed", "a point raised ValueError") if fate == "faulty" else None
            )
            lie = self._craft.lies > 0 and self._rng.random() < self._craft.lies
            arrays = LIE if lie and fault is None else ()
            results.append(ResultHead(task.number, task.attempt, seconds, arrays, fault))
            passed_s += seconds
            if passed_s >= FLUSH_S:
                break
        points = sum(
            max(1, task.points) for task in work.parcel.tasks[work.done : work.done + len(results)]
        )
        self.process.after(passed_s, partial(self._finish, work, results, points, passed_s))

    def _finish(self, work: _Work, results: list[ResultHead], points: int, busy_s: Seconds) -> None:
        self._worked_s, self._since_s = self.worked_s(), None
        work.done += len(results)
        work.terms.in_flight -= len(results)
        work.stream.send(1, (pack(ResultParcel(work.parcel.lease, tuple(results))),))
        lease, now_s = work.parcel.lease, self._timeline.now
        tally = self._tallies.setdefault((lease, work.terms.kernel), [0, 0, 0.0, now_s - busy_s, 0])
        tally[4] = now_s
        tally[0] += len(results)
        tally[1] += points
        tally[2] += busy_s
        if not self._tallying:
            self._tallying = True
            self.process.after(TALLY_S, self._report)
        self._next()

    def _report(self) -> None:
        self._tallying = False
        now_s = self._timeline.now
        for (lease, kernel), (tasks, points, busy_s, began_s, ended_s) in self._tallies.items():
            ops = points * self._point_ops(kernel)
            self._tell(
                RunnerTally(
                    kernel, int(tasks), int(points), ops, busy_s,
                    lease, now_s - began_s, now_s - ended_s,
                )
            )  # fmt: skip
        self._tallies.clear()

    def _segfault(self) -> None:
        self._tell(self.obituary("killed by SIGSEGV"))
        self.process.die()


def _fate(task: TaskHead) -> str:
    """Return what happens to a task: the first of its points that a fate is planned for."""
    start = int(task.scalars.get("start", 0))
    for fate in ("poison", "hang", "faulty"):
        points = task.scalars.get(fate, ())
        if any(start <= point < start + max(1, task.points) for point in points):
            return fate
    return ""


def _answer(stream: Stream, header: Header) -> None:
    stream.send(1, (pack(header),))
