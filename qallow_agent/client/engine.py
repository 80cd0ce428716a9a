"""The engine: the one thread of a connection, which talks to the agent and to the runners.

Other threads only drop work into its inbox. It sleeps until something arrives or is due; a thread
that drops work wakes it only when it sleeps, so a burst of submissions costs one system call.
"""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from qallow_agent.base.errors import (
    AgentUnreachable,
    InvariantBroken,
    JobCancelled,
    QallowError,
    UsageError,
)
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.units import Seconds
from qallow_agent.client.bell import Bell
from qallow_agent.client.book import KernelBook
from qallow_agent.client.control import ControlLink
from qallow_agent.client.futures import JobFuture, copy_of
from qallow_agent.client.job import Job
from qallow_agent.client.payload import Payload
from qallow_agent.client.switch import Switch
from qallow_agent.client.wires import Exchange
from qallow_agent.client.workload import Workload
from qallow_agent.jobs.messages import SubmitJob

T = TypeVar("T")
Item = JobFuture | Callable[[], None]

CLOSE_S: Final = 5.0
_CLOSED: Final = "the connection to the mesh is closed"
_MOST_ITEMS: Final = 2_000


class Engine:
    """Runs a connection's jobs until it is closed or the agent goes.

    Args:
        link: The connected control link.
        key: This session's CURVE key.
        here: The agent's node.
        book: The kernels known here.
    """

    def __init__(self, link: ControlLink, key: CurveKey, here: NodeId, book: KernelBook) -> None:
        self.socket: Path = link.path
        """The agent's."""
        self._link = link
        self._desk = Switch(link)
        self._exchange = Exchange(key, here)
        self._workload = Workload(self._desk, self._exchange, book)
        self._inbox: deque[Item] = deque()
        self._bell = Bell()
        self._pid = os.getpid()
        self._refusing = False
        self._end_by_s: Seconds | None = None
        self._error: QallowError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qallow-mesh", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._exchange.watch(self._bell.fileno(), self._bell.hear)
        self._exchange.watch(self._link.fileno(), self._desk.serve)
        self._thread.start()

    # --- for other threads -----------------------------------------------------------------------

    @property
    def refusing(self) -> bool:
        """Whether no more work is taken, because it was closed or is to end when it is done."""
        return self._refusing

    @property
    def timeout_s(self) -> Seconds:
        """How long the agent may take to answer."""
        return self._desk.timeout_s

    def check_open(self) -> None:
        """Raise why no more work is taken, if so.

        Raises:
            UsageError: The connection was closed, or belongs to another process.
            AgentUnreachable: It was lost.
        """
        if isinstance(self._error, AgentUnreachable):
            raise AgentUnreachable(
                f"the connection is lost: {self._error.message}",
                hint="connect again once the agent runs; what had no result must be submitted anew",
            )
        if self._error is not None:
            raise copy_of(self._error)
        if self._refusing:
            raise UsageError(_CLOSED, hint="connect again")
        self.check_process()

    def check_process(self) -> None:
        """Raise when this process has no engine.

        Raises:
            UsageError: The connection belongs to the process that forked this one.
        """
        if self._pid != os.getpid():
            raise UsageError(
                "the connection to the mesh belongs to the process that forked this one",
                hint="connect again in the child",
            )

    def post(self, item: Item) -> None:
        """Put something into the inbox: a future, or what the thread shall do."""
        self._inbox.append(item)
        self._bell.ring()
        if self._error is not None:
            self._empty_inbox(self._error)

    def new_job(self, order: SubmitJob, payload: Payload, guess_s: Seconds) -> Job:
        """Return a job of its own that is not submitted yet: see ``launch``."""
        return self._workload.new_job(order, payload, guess_s)

    def launch(self, job: Job) -> None:
        """Submit a job."""

        def submit() -> None:
            if self._error is None:
                self._workload.launch(job, time.monotonic())
            else:
                job.abort(copy_of(self._error))

        self.post(submit)

    def nudge(self, job: Job) -> None:
        """Give a job a turn: its reader has made room for more results."""
        self.post(lambda: self._workload.touch(job))

    def cancel(self, job: Job) -> None:
        """Cancel a whole job; harmless when it is over."""
        error = JobCancelled("the job was cancelled by its reader")
        self.post(lambda: job.give_up(error))

    def drop(self, future: JobFuture) -> None:
        """Give a cancelled future up."""
        self.post(lambda: self._workload.drop(future))

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
        self.post(self._workload.retire)

    def close(self, within_s: Seconds = CLOSE_S) -> None:
        """Cancel what is not done, tell the agent, and end; takes no longer than ``within_s``."""
        self._refusing = True
        if self._pid != os.getpid():
            return

        def end() -> None:
            self._end_by_s = time.monotonic() + within_s
            why = "the connection to the mesh was closed before the work was done"
            self._workload.give_up(JobCancelled(why, hint="wait for results before closing"))

        self.post(end)
        self.join(within_s + 1.0)

    def join(self, timeout_s: Seconds | None = None) -> None:
        """Wait until the thread has ended."""
        if threading.current_thread() is self._thread or self._pid != os.getpid():
            return
        # An interrupted Thread.join takes the thread for ended: bpo-45274.
        if self._ended.wait(timeout_s):
            self._thread.join()

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        error: QallowError = UsageError(_CLOSED, hint="connect again")
        try:
            self._loop()
        except QallowError as why:
            error = why
        except BaseException as why:  # noqa: BLE001 - a callback's sys.exit() too must leave nobody waiting
            error = InvariantBroken(f"the client's thread ended: {type(why).__name__}: {why}")
            error.__cause__ = why
        self._error = error  # from now on, whoever posts also empties the inbox
        try:
            self._workload.abort(error)
            self._empty_inbox(error)
            self._exchange.close()
            self._link.close()
            self._bell.close()
        finally:
            self._ended.set()

    def _loop(self) -> None:
        bell, exchange, workload = self._bell, self._exchange, self._workload
        self._desk.serve()  # what came in the wake of the greeting
        while True:
            now = time.monotonic()
            self._take_inbox(now)
            due_s = workload.serve(time.monotonic())
            exchange.tidy(now)
            if workload.retired and workload.done and not self._inbox:
                return
            if self._end_by_s is not None:
                if self._end_by_s <= now:
                    return
                due_s = min(due_s, self._end_by_s)
            bell.asleep = True
            wait_s = 0.0 if self._inbox else max(0.0, due_s - time.monotonic())
            events = exchange.poller.poll(math.ceil(wait_s * 1000))
            bell.asleep = False
            for source, _ in events:
                reader = exchange.readers.get(source)
                if reader is not None:
                    reader()

    def _take_inbox(self, now: Seconds) -> None:
        inbox = self._inbox
        for _ in range(_MOST_ITEMS):
            try:
                item = inbox.popleft()
            except IndexError:
                return
            if isinstance(item, JobFuture):
                self._workload.take_in(item, now)
            else:
                item()

    def _empty_inbox(self, error: QallowError) -> None:
        """Fail what nobody will ever take in."""
        while True:
            try:
                item = self._inbox.popleft()
            except IndexError:
                return
            if isinstance(item, JobFuture):
                item.settle(None, copy_of(error))
            else:
                item()
