"""Iterating over a sweep: results one by one, in order or as they come."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qallow_agent.base.errors import QallowError, StorageError, UsageError
from qallow_agent.client.points import Points
from qallow_agent.client.progress import Meter
from qallow_agent.client.results import Block, Result
from qallow_agent.client.stream import End, Gap, Item, Stream
from qallow_agent.jobs.messages import JobProgress

if TYPE_CHECKING:
    from qallow_agent.client.gather import Gathering
    from qallow_agent.client.harvest import Array
    from qallow_agent.client.receipts import JobReceipt

_LOOK_S = 1.0

Found = TypeVar("Found", Result, Block)


class Shelf:
    """Puts what arrives into the wanted order and takes single results off it.

    Ordered, a point without a result is an error when its turn comes. As they come, it is one
    after all the others: no result is lost to it.

    Args:
        ordered: By index; else as they come.
    """

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self._waiting: dict[int, Block | Gap] = {}
        self._ready: deque[Block] = deque()
        self._next = 0
        self._row = 0
        self._end: End | None = None
        self._gap: Gap | None = None
        self._taken = False

    def add(self, item: Block | Gap | End) -> None:
        """Take in what arrived."""
        if isinstance(item, End):
            self._end = item
        elif self._ordered:
            self._waiting[item.start] = item
            self._line_up()
        elif isinstance(item, Gap):
            self._gap = self._gap or item
        else:
            self._ready.append(item)

    def take(self) -> tuple[Result | None, Block | None]:
        """Return the next result, and its block when this was the last one of it."""
        if not self._ready:
            return None, None
        self._taken = True
        block = self._ready[0]
        result = Result(block, self._row, block.start + self._row)
        self._row += 1
        if self._row < block.points:
            return result, None
        self._row = 0
        self._ready.popleft()
        return result, block

    def any_order(self) -> None:
        """From now on hand results out as they come.

        Raises:
            UsageError: Some were taken already.
        """
        if self._taken:
            raise UsageError(
                "some results were taken already",
                hint="gather or save them all, or take them one by one",
            )
        self._ordered = False
        waiting, self._waiting = list(self._waiting.values()), {}
        for item in waiting:
            self.add(item)

    def take_block(self) -> Block | None:
        """Return the next results a slice at a time; None when one must wait."""
        if not self._ready:
            return None
        self._taken = True
        return self._ready.popleft()

    def verdict(self) -> BaseException | None:
        """Return why nothing more can be taken: StopIteration, an error, or None to wait."""
        if self._ready:
            return None
        if self._gap is not None and (self._ordered or self._end is not None):
            return self._gap.error
        if self._end is None:
            return None
        return self._end.error or StopIteration()

    def _line_up(self) -> None:
        while self._gap is None and (item := self._waiting.pop(self._next, None)) is not None:
            if isinstance(item, Gap):
                self._gap = item
            else:
                self._next += item.points
                self._ready.append(item)


class MapResults(Iterator[Result], AbstractContextManager["MapResults"]):
    """The results of a sweep, as an iterator; closing it (or losing it) cancels what is left.

    Args:
        stream: Brings them.
        shelf: Orders them.
        find_job: Returns the job's id, waiting for it as need be.
        cancel: Cancels the job; harmless when it is over.
        wake: Tells the mesh that there is room for more.
        on_progress: Called by ``next``, in the reader's thread, a few times a second.
        line: Shows progress to a person.
        points: What is swept; None when that is nothing.
    """

    def __init__(
        self,
        stream: Stream,
        shelf: Shelf,
        *,
        find_job: Callable[[], str],
        cancel: Callable[[], None],
        wake: Callable[[], None],
        on_progress: Callable[[JobProgress], None] | None,
        line: Meter | None,
        points: Points | None,
    ) -> None:
        self.stream = stream
        self._shelf = shelf
        self._find_job = find_job
        self._cancel = cancel
        self._wake = wake
        self._on_progress = on_progress
        self._line = line
        self._points = points
        self._over: BaseException | None = None
        self.find_receipt: Callable[[float, bool], JobReceipt] | None = None
        """Returns the job's receipt, given how long to wait and whether to certify it."""
        self.until_s: float | None = None
        """Monotonic second after which ``next`` raises TimeoutError; None for never."""

    @property
    def job(self) -> str:
        """The id of the job; waits until the agent has given it one."""
        return self._find_job()

    def receipt(self, timeout: float = 30.0, *, certify: bool = False) -> "JobReceipt":
        """Return the receipt of the job, once that is over and logged.

        Args:
            timeout: Seconds to wait, also for results that are not there yet.
            certify: Wait until a quorum of the mesh has cosigned it; when that does not happen in
                time, the receipt as it stands is returned.

        Raises:
            UsageError: There is no job, since there was no point.
            DeadlineExceeded: There is none in time; asking again may succeed.
            QallowError: The agent refused, or is gone.
        """
        if self.find_receipt is None:
            raise UsageError("there is no job", hint="these results are nobody's")
        return self.find_receipt(timeout, certify)

    @property
    def over(self) -> bool:
        """Whether it was read to its end or closed, and nothing of it goes on."""
        return self._over is not None and self.stream.holds is None

    def __next__(self) -> Result:
        return self._wait(self.take_ready)

    def blocks(self) -> Iterator[Block]:
        """Yield the same results a slice at a time, as arrays: for millions of points.

        Use either this or the results one by one.

        Raises:
            QallowError: Why there will be no more.
        """
        while True:
            try:
                block = self._wait(self.take_ready_block)
            except StopIteration:
                return
            yield block

    def arrays(self) -> "dict[str, Array]":
        """Return all results: one array an output, its first axis the points, in order.

        ``point`` numbers the points; the swept parameters are there under their names
        (``parameter_x`` where an output is called ``x``).

        Raises:
            UsageError: Some results were taken already.
            QallowError: Why a point, or the rest, has none.
        """
        found = self.gathering(None)
        for block in self.blocks():
            found.add(block)
        return found.arrays()

    def save(self, path: str | Path) -> list[str]:
        """Write all results to a ``.npz``, ``.csv`` or ``.parquet`` file, atomically.

        What does not fit into memory waits on disk beside the file. When a point or the job fails,
        or Ctrl-C ends it, what is finished is written all the same, before the error is raised.

        Args:
            path: The file; one that is there is replaced. It has the columns of :meth:`arrays`.

        Returns:
            The outputs that are left out of CSV, as they hold more than 64 numbers a point.

        Raises:
            UsageError: Its ending is another one, or some results were taken already.
            StorageError: It cannot be written; what was there is untouched.
            QallowError: Why a point, or the rest, has no result.
        """
        from qallow_agent.client.gather import open_target  # noqa: PLC0415 - brings NumPy

        target = open_target(path)
        found = self.gathering(target.parent)
        try:
            for block in self.blocks():
                found.add(block)
        except (QallowError, KeyboardInterrupt) as error:
            self.close()
            if not isinstance(error, StorageError):
                found.save(target)
            raise
        return found.save(target)

    def gathering(self, spool: Path | None) -> "Gathering":
        """Return what gathers the slices of ``blocks``, which from now on come in any order.

        Args:
            spool: A folder for what is too large for memory; None to keep everything there.

        Raises:
            UsageError: Some results were taken already.
        """
        from qallow_agent.client.gather import Gathering  # noqa: PLC0415 - brings NumPy

        self._shelf.any_order()
        return Gathering(self._points, spool)

    def take_ready(self) -> Result | None:
        """Return a result that is there already; None when one must wait.

        Raises:
            StopIteration: That was the last one.
            QallowError: Why there will be no more.
        """
        result, emptied = self._shelf.take()
        self._count_used(emptied)
        return self._judged(result)

    def take_ready_block(self) -> Block | None:
        """Return a slice that is there already; None when one must wait.

        Raises:
            StopIteration: That was the last one.
            QallowError: Why there will be no more.
        """
        block = self._shelf.take_block()
        self._count_used(block)
        return self._judged(block)

    def _count_used(self, block: Block | None) -> None:
        if block is not None and self.stream.used(block):
            self._wake()

    def _judged(self, found: Found | None) -> Found | None:
        """Return what was found; without anything, raise why there will be nothing more."""
        if found is not None and self._over is None:
            return found
        over = self._over or self._shelf.verdict()
        if over is not None:
            self.close()
            raise over
        return None

    def learn(self, item: Item) -> None:
        """Take in one item of the stream."""
        if isinstance(item, JobProgress):
            if self._line is not None:
                self._line.show(item.done, item.failed, item.rerun)
            if self._on_progress is not None:
                self._on_progress(item)
            return
        self._shelf.add(item)

    def close(self) -> None:
        """Cancel what is left; the iterator ends."""
        if self._over is None:
            self._over = StopIteration()  # an error is raised once, as by a generator
            self._cancel()
            if self._line is not None:
                self._line.end()

    def retire(self, *, cancel: bool) -> None:
        """Let no work wait for the reader any more; what is there can still be read.

        Args:
            cancel: Cancel what is left, so that JobCancelled is raised after what is there; else
                do it, however far behind the reader is.
        """
        if cancel:
            self._cancel()
        else:
            self.stream.bounded = False
            self._wake()

    def let_go(self) -> None:
        """Read no more, but let the work be done."""
        if self._over is None:
            self._over = StopIteration()
            self.stream.let_go(self._wake)
            self._wake()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _wait(self, take: Callable[[], Found | None]) -> Found:
        while True:
            found = take()
            if found is not None:
                return found
            patience_s = _LOOK_S
            if self.until_s is not None:
                patience_s = min(_LOOK_S, max(self.until_s - time.monotonic(), 1e-3))
            item = self.stream.get(patience_s)
            if item is not None:
                self.learn(item)
            elif self.until_s is not None and time.monotonic() >= self.until_s:
                self.close()
                raise TimeoutError("the next result did not come in time")
