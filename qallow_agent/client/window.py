"""A window: the evaluations of an endless series that are under way, and whose turn it is."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from qallow_agent.base.errors import QallowError, UsageError
from qallow_agent.client.futures import JobFuture, copy_of
from qallow_agent.client.results import Result
from qallow_agent.client.stream import MOST_AHEAD_BYTES
from qallow_agent.jobs.messages import JobOptions

AHEAD: Final = 256
"""Enough to keep some runners busy with tasks of a millisecond."""

Start = Callable[[Mapping[str, Any]], JobFuture]
"""Submits one frame."""


def starter(
    submit: Callable[..., JobFuture], kernel: str, options: JobOptions, shared: Mapping[str, Any]
) -> Start:
    """Return what submits one frame of a kernel.

    Args:
        submit: Starts an evaluation, as ``Mesh.submit``.
        kernel: Its name.
        options: How it is run.
        shared: Parameters that all frames share.
    """

    def start(frame: Mapping[str, Any]) -> JobFuture:
        both = sorted(shared.keys() & frame.keys())
        if both:
            raise UsageError(f"{both[0]} is both in the frame and fixed", hint="give it once")
        return submit(kernel, options=options, **shared, **frame)

    return start


class Window:
    """Bounds how many evaluations are under way or wait to be read, and how many bytes.

    Args:
        start: Submits one frame.
        ahead: At most so many at a time; None for any number and size.
        ordered: Results in the order of the frames; else as they come.
        noun: What errors call one of the series; empty to leave errors as they are.
    """

    def __init__(self, start: Start, ahead: int | None, *, ordered: bool, noun: str) -> None:
        if ahead is not None and ahead < 1:
            raise UsageError(f"ahead = {ahead} lets nothing start", hint="give 1 or more")
        self.notify: Callable[[], None] | None = None
        """Called on the mesh's thread when one is done."""
        self.error: BaseException | None = None
        """Why no more are drawn; raised after the results of those before."""
        self.drawing = True
        """Whether there may be more to draw."""
        self._start = start
        self._ahead = ahead
        self._ordered = ordered
        self._noun = noun
        self._numbers: dict[JobFuture, int] = {}
        self._done: deque[JobFuture] = deque()
        self._drawn = 0
        self._input_bytes = 0
        self._result_bytes = 0

    @property
    def room(self) -> bool:
        """Whether one more may be drawn; what results take is judged by the last one."""
        if not self.drawing:
            return False
        count = len(self._numbers)
        if self._ahead is None or count == 0:
            return True
        held_bytes = self._input_bytes + count * self._result_bytes
        return count < self._ahead and held_bytes < MOST_AHEAD_BYTES

    @property
    def empty(self) -> bool:
        """Whether none is under way and none waits to be read."""
        return not self._numbers

    def add(self, frame: Mapping[str, Any]) -> None:
        """Start one; what is wrong with it becomes the error at the end."""
        number = self._drawn
        try:
            if not isinstance(frame, Mapping):
                raise UsageError(
                    f"it is a {type(frame).__name__}, not a mapping of parameters",
                    hint="give {'name': value, ...} each time",
                )
            future = self._start(frame)
        except QallowError as error:
            self.stop(self._named(error, number))
            return
        self._drawn += 1
        self._numbers[future] = number
        self._input_bytes += future.arguments.input_bytes
        future.add_done_callback(self._take_note)

    def stop(self, error: BaseException | None = None) -> None:
        """Draw no more."""
        self.drawing = False
        self.error = error

    def ready(self) -> JobFuture | None:
        """Return the one whose turn it is, if it is done."""
        if not self._ordered:
            return self._done[0] if self._done else None
        first = next(iter(self._numbers), None)
        return first if first is not None and first.done() else None

    def take(self, future: JobFuture) -> Result:
        """Return the result of one that is ready.

        Raises:
            QallowError: Why there is none; names the frame.
            CancelledError: It was cancelled.
        """
        if not self._ordered:
            self._done.popleft()
        number = self._numbers.pop(future)
        self._input_bytes -= future.arguments.input_bytes
        try:
            result = future.result(0)
        except QallowError as error:
            raise self._named(error, number) from error.__cause__
        result.index = number
        self._result_bytes = result.size_bytes
        return result

    def cancel(self) -> None:
        """Give up what is under way and draw no more."""
        for future in self._numbers:
            future.cancel()
        self.let_go()

    def let_go(self) -> None:
        """Forget what is under way, without cancelling it, and draw no more."""
        self.stop()
        self.notify = None
        self._numbers.clear()
        self._done.clear()

    def _take_note(self, future: "Future[Result]") -> None:
        """Called on the mesh's thread, or by whoever cancels."""
        if not self._ordered and isinstance(future, JobFuture):
            self._done.append(future)
        notify = self.notify
        if notify is not None:
            notify()

    def _named(self, error: QallowError, number: int) -> QallowError:
        return copy_of(error, f"{self._noun} {number}: ") if self._noun else error
