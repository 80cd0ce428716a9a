"""The engine: the one thread of a connection, which talks to the agent and to the runners.

Other threads only drop work into its inbox. It sleeps until something arrives or is due; a thread
that drops work wakes it only when it sleeps, so a burst of submissions costs one system call.
"""

import contextlib
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from qallow_agent.base.errors import InvariantBroken, JobCancelled, QallowError, UsageError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.units import Seconds
from qallow_agent.client.book import KernelBook
from qallow_agent.client.control import ControlLink
from qallow_agent.client.futures import JobFuture, copy_of
from qallow_agent.client.job import Job
from qallow_agent.client.payload import Payload, Singles
from qallow_agent.client.phase import Phase
from qallow_agent.client.switch import Switch
from qallow_agent.client.wires import Exchange
from qallow_agent.jobs.messages import JobOptions, SubmitJob

T = TypeVar("T")
Item = JobFuture | Callable[[], None]

_MOST_ITEMS: Final = 2_000
_LONGEST_NAP_S: Final = 1.0
CLOSE_S: Final = 5.0
_CLOSED: Final = "the connection to the mesh is closed"


class Engine:
    """Runs a connection's jobs until it is closed or the agent goes.

    Args:
        link: The connected control link.
        key: This session's CURVE key.
        here: The agent's node.
        book: The kernels known here.
    """

    def __init__(self, link: ControlLink, key: CurveKey, here: NodeId, book: KernelBook) -> None:
        self._link = link
        self._desk = Switch(link)
        self._exchange = Exchange(key, here)
        self._book = book
        self._inbox: deque[Item] = deque()
        self._pools: dict[tuple[str, JobOptions], Job] = {}
        self._last: Job | None = None
        self._jobs: dict[Job, Seconds | None] = {}
        self._ready: dict[Job, None] = {}
        self._asleep = False
        self._pid = os.getpid()
        self._refusing = False
        self._retired = False
        self._end_by_s: Seconds | None = None
        self._error: QallowError | None = None
        self._alarm, self._bell = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="qallow-mesh", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._bell.setblocking(False)
        self._alarm.setblocking(False)
        self._exchange.watch(self._alarm.fileno(), self._hear_alarm)
        self._exchange.watch(self._link.fileno(), self._desk.serve)
        self._thread.start()

    # --- for other threads -----------------------------------------------------------------------

    @property
    def timeout_s(self) -> Seconds:
        """How long the agent may take to answer."""
        return self._desk.timeout_s

    def check_open(self) -> None:
        """Raise why no more work is taken, if so.

        Raises:
            UsageError: The connection was closed.
            AgentUnreachable: It was lost.
        """
        if self._error is not None:
            raise copy_of(self._error)
        if self._refusing:
            raise UsageError(_CLOSED, hint="connect again")
        if self._pid != os.getpid():
            raise UsageError(
                "the connection to the mesh belongs to the process that forked this one",
                hint="connect again in the child",
            )

    def post(self, item: Item) -> None:
        """Put something into the inbox: a future, or what the thread shall do."""
        self._inbox.append(item)
        if self._asleep:
            self._asleep = False
            self._ring()
        if self._error is not None:
            self._empty_inbox()

    def new_job(self, order: SubmitJob, payload: Payload, guess_s: Seconds) -> Job:
        """Return a job of its own that is not submitted yet: see ``launch``."""
        return Job(order, payload, self._desk, self._exchange, guess_s=guess_s, touch=self._touch)

    def launch(self, job: Job) -> None:
        """Submit a job."""
        self.post(lambda: self._launch(job))

    def nudge(self, job: Job) -> None:
        """Give a job a turn: its reader has made room for more results."""
        self.post(lambda: self._touch(job))

    def cancel(self, job: Job) -> None:
        """Cancel a whole job; harmless when it is over."""
        error = JobCancelled("the job was cancelled by its reader")
        self.post(lambda: job.give_up(error))

    def drop(self, future: JobFuture) -> None:
        """Give a cancelled future up."""

        def give_up() -> None:
            future.confirm_cancelled()
            if future.work is not None:
                future.work.drop(future)

        self.post(give_up)

    def ask(self, question: Callable[[], T]) -> T | None:
        """Return what the thread answers, after all that was posted before; None if it is late."""
        answers: list[T] = []
        answered = threading.Event()

        def answer() -> None:
            answers.append(question())
            answered.set()

        self.post(answer)
        answered.wait(self.timeout_s)
        return answers[0] if answers else None

    def retire(self) -> None:
        """Take no more work, and end once all there is is done."""
        self._refusing = True
        self.post(self._retire)

    def close(self, within_s: Seconds = CLOSE_S) -> None:
        """Cancel what is not done, tell the agent, and end; takes no longer than ``within_s``."""
        self._refusing = True
        if self._pid != os.getpid():
            return
        self.post(lambda: self._close(time.monotonic() + within_s))
        self.join(within_s + 1.0)

    def join(self, timeout_s: Seconds | None = None) -> None:
        """Wait until the thread has ended."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        error: QallowError = UsageError(
            "the connection to the mesh is closed", hint="connect again"
        )
        try:
            self._loop()
        except QallowError as why:
            error = why
        except Exception as why:  # noqa: BLE001 - whatever it is, nobody must wait for ever
            error = InvariantBroken(f"the client's thread ended: {type(why).__name__}: {why}")
            error.__cause__ = why
        self._wind_up(error)

    def _loop(self) -> None:
        self._desk.serve()  # what came in the wake of the greeting
        while True:
            now = time.monotonic()
            self._take_inbox(now)
            due_s = self._serve_jobs(time.monotonic())
            if self._retired and not self._jobs and not self._inbox:
                return
            if self._end_by_s is not None:
                if self._end_by_s <= now:
                    return
                due_s = min(due_s, self._end_by_s)
            self._asleep = True
            wait_s = 0.0 if self._inbox else max(0.0, due_s - time.monotonic())
            events = self._exchange.poller.poll(math.ceil(wait_s * 1000))
            self._asleep = False
            for source, _ in events:
                reader = self._exchange.readers.get(source)
                if reader is not None:
                    reader()

    def _serve_jobs(self, now: Seconds) -> Seconds:
        """Give every job that wants it its turn; return when the next one is due."""
        jobs = self._jobs
        for job, due_s in list(jobs.items()):
            if due_s is not None and due_s <= now:
                job.tick(now)
                self._ready[job] = None
        if any(job.hungry(now) for job in jobs):
            # A pool that rests keeps its runners for a while, unless others wait for some.
            for job in jobs:
                job.make_room()
        while self._ready:
            ready, self._ready = self._ready, {}
            for job in ready:
                job.turn(now)
                if job.phase is Phase.OVER:
                    jobs.pop(job, None)
                else:
                    jobs[job] = job.due()
        nap_s = now + _LONGEST_NAP_S
        return min((due_s for due_s in jobs.values() if due_s is not None), default=nap_s)

    def _take_inbox(self, now: Seconds) -> None:
        inbox = self._inbox
        for _ in range(_MOST_ITEMS):
            try:
                item = inbox.popleft()
            except IndexError:
                return
            if isinstance(item, JobFuture):
                self._take_in(item, now)
            else:
                item()

    def _take_in(self, future: JobFuture, now: Seconds) -> None:
        """Add an evaluation to the pool of its kind, or to a job of its own."""
        if future.cancelled():
            future.confirm_cancelled()
            return
        job = self._last
        like = job is not None and job.order.options is future.options
        if job is None or not like or job.order.kernel != future.kernel or not job.accepting:
            job = self._pool_of(future, now)
        future.work = job
        job.add(future)
        self._ready[job] = None

    def _pool_of(self, future: JobFuture, now: Seconds) -> Job:
        options = future.options
        alone = options.retain
        key = (future.kernel, options)
        found = None if alone else self._pools.get(key)
        if found is not None and found.accepting:
            self._last = found
            return found
        given = future.arguments
        order = SubmitJob(future.kernel, int(alone), given.scalars, 1, options, shapes=given.shapes)
        guess_s = self._book.guess_s(future.kernel, given.scalars, order.shapes)
        job = self.new_job(order, Singles(), guess_s)
        job.retiring = alone or self._retired
        self._jobs[job] = None
        job.begin(now)
        if not alone:
            self._pools = {each: pool for each, pool in self._pools.items() if pool.accepting}
            self._pools[key] = self._last = job
        return job

    def _launch(self, job: Job) -> None:
        if self._error is not None:
            job.abort(copy_of(self._error))
            return
        self._jobs[job] = None
        self._ready[job] = None
        job.begin(time.monotonic())

    def _touch(self, job: Job) -> None:
        if job in self._jobs:
            self._ready[job] = None

    def _retire(self) -> None:
        self._retired = True
        for job in self._jobs:
            job.retiring = True
            self._ready[job] = None

    def _close(self, end_by_s: Seconds) -> None:
        self._retired = True
        self._end_by_s = end_by_s
        for job in list(self._jobs):
            why = "the connection to the mesh was closed before the work was done"
            job.give_up(JobCancelled(why, hint="wait for the results before closing"))
            self._ready[job] = None

    def _wind_up(self, error: QallowError) -> None:
        """Fail whatever is left; from now on others empty the inbox themselves."""
        self._error = error
        for job in list(self._jobs):
            job.abort(copy_of(error))
        self._jobs.clear()
        self._empty_inbox()
        self._exchange.close()
        self._link.close()
        self._alarm.close()
        self._bell.close()

    def _empty_inbox(self) -> None:
        error = self._error or UsageError(_CLOSED)
        while True:
            try:
                item = self._inbox.popleft()
            except IndexError:
                return
            if isinstance(item, JobFuture):
                item.settle(None, copy_of(error))
            else:
                item()

    def _ring(self) -> None:
        # Full means that it rings already; closed, that nobody sleeps.
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def _hear_alarm(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._alarm.recv(4_096)
