"""Futures of evaluations: real ones of :mod:`concurrent.futures`, so ``wait`` and friends work."""

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, Protocol

from qallow_agent.base.errors import (
    BY_CODE,
    JobFailed,
    QallowError,
    RemoteTraceback,
    revive,
)
from qallow_agent.client.arguments import Arguments
from qallow_agent.client.results import Result
from qallow_agent.jobs.messages import JobOptions

if TYPE_CHECKING:
    from qallow_agent.client.job import Job
    from qallow_agent.client.receipts import JobReceipt
    from qallow_agent.jobs.work import Piece


def remote_error(code: str, message: str, hint: str = "", traceback: str = "") -> QallowError:
    """Return the error that another process described, with its traceback as the cause."""
    kind = BY_CODE.get(code, JobFailed)
    error = revive(code or kind.code, message, hint=hint, retryable=kind.usually_retryable)
    if traceback:
        error.__cause__ = RemoteTraceback(traceback)
    return error


def copy_of(error: QallowError, prefix: str = "") -> QallowError:
    """Return an equal error: each waiter raises its own, or their tracebacks would mix."""
    copy = type(error)(prefix + error.message, hint=error.hint, retryable=error.retryable)
    copy.__cause__ = error.__cause__
    copy.document = error.document
    return copy


_SETTLING: Final = threading.Lock()
"""Held for a moment by whoever decides how a future ends."""


class Connection(Protocol):
    """Keeps the connection open as long as somebody waits for a future of it."""

    def find_job(self, future: "JobFuture") -> str:
        """Return the id of a future's job, waiting for it as need be."""
        ...

    def give_up(self, future: "JobFuture") -> None:
        """Take in that nobody waits for a future any more."""
        ...

    def receipt_of_future(
        self, future: "JobFuture", timeout_s: float, *, certify: bool
    ) -> "JobReceipt":
        """Return the receipt of a future's job."""
        ...

    def check_process(self) -> None:
        """Raise when nothing can ever arrive, because this process was forked."""
        ...


class JobFuture(Future[Result]):
    """The result of one evaluation, when there is one.

    Callbacks run on the thread that talks to the mesh: keep them short.

    Args:
        kernel: Which kernel.
        arguments: Its parameters.
        options: How its job is run.
        deadline_s: Monotonic second after which it fails; None for never.
        connection: Its connection.
    """

    def __init__(
        self,
        kernel: str,
        arguments: Arguments,
        options: JobOptions,
        deadline_s: float | None,
        connection: Connection,
    ) -> None:
        # In place of super().__init__: a condition of its own is a third of what a task costs here,
        # and most futures are over before anybody waits for them.
        self._made: threading.Condition | None = None
        self._state = "PENDING"
        self._result: Result | None = None
        self._exception: BaseException | None = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self.kernel = kernel
        self.arguments = arguments
        self.options = options
        self.deadline_s = deadline_s
        self.work: Job | None = None
        """The job that took it in; set by the mesh's thread, like ``piece``."""
        self.piece: Piece | None = None
        self._connection = connection

    if not TYPE_CHECKING:  # as_completed() is typed for futures whose condition may be set

        @property
        def _condition(self) -> threading.Condition:
            """What others wait on; made when it is first looked at."""
            if self._made is None:
                made = threading.Condition()
                with _SETTLING:
                    if self._made is None:
                        self._made = made
            return self._made

    @property
    def job(self) -> str:
        """The id of the job it belongs to; waits until the agent has given it one.

        Empty when there was none within the connection's time limit.
        """
        return self._connection.find_job(self)

    def receipt(self, timeout: float = 30.0, *, certify: bool = False) -> "JobReceipt":
        """Return the receipt of the job that it belongs to, once that is over and logged.

        Evaluations that were submitted one by one share a job and a receipt; from now on no more
        join this one.

        Args:
            timeout: Seconds to wait.
            certify: Wait until a quorum of the mesh has cosigned it; when that does not happen in
                time, the receipt as it stands is returned.

        Raises:
            DeadlineExceeded: There is none in time; asking again may succeed.
            QallowError: The agent refused, or is gone.
        """
        return self._connection.receipt_of_future(self, timeout, certify=certify)

    def cancel(self) -> bool:
        """Give it up, also while it runs; False when it is over.

        What runs is stopped when nothing else of its job is left.
        """
        with _SETTLING:
            if self._state == "FINISHED":
                return False
            again = self._state != "PENDING"
            if not again:
                self._state = "CANCELLED"
        if not again:
            with self._condition:
                self._condition.notify_all()
            self._invoke_callbacks()  # type: ignore[attr-defined]  # of the base class
        self._connection.give_up(self)
        return True

    def cancelled(self) -> bool:
        """Return whether it was given up."""
        return self._state.startswith("CANCELLED")

    def done(self) -> bool:
        """Return whether it is over."""
        return self._state != "PENDING"

    def running(self) -> bool:
        """Return whether a runner has it."""
        piece = self.piece
        return piece is not None and piece.flying > 0 and not self.done()

    def result(self, timeout: float | None = None) -> Result:
        """Return the result, waiting for it as need be.

        Args:
            timeout: Seconds to wait; None for as long as it takes.

        Raises:
            TimeoutError: It is not there yet; the evaluation goes on.
            CancelledError: It was cancelled.
            QallowError: Why there is none; what a kernel raised has its traceback as the cause.
        """
        if self._state == "FINISHED" and self._exception is None:
            return self._result  # type: ignore[return-value]  # there is one without an error
        if not self.done():
            self._connection.check_process()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return why there is no result, or None when there is one, waiting as need be.

        Args:
            timeout: Seconds to wait; None for as long as it takes.

        Raises:
            TimeoutError: It is not over yet; the evaluation goes on.
            CancelledError: It was cancelled.
        """
        if not self.done():
            self._connection.check_process()
        return super().exception(timeout)

    def settle(self, result: Result | None, error: BaseException | None = None) -> None:
        """Set the outcome; a cancelled future is only told that it is over."""
        self.piece = None  # which holds us: without this cycle a result goes with its last user
        with _SETTLING:
            open_ = self._state == "PENDING"
            if open_:
                self._result, self._exception = result, error
                self._state = "FINISHED"
        if not open_:
            self.confirm_cancelled()
        elif self._made is not None:
            # Whoever made it before this line finds us finished, or waits and is told.
            with self._made:
                for waiter in self._waiters:
                    (waiter.add_result if error is None else waiter.add_exception)(self)
                self._made.notify_all()
            self._invoke_callbacks()  # type: ignore[attr-defined]  # of the base class

    def confirm_cancelled(self) -> None:
        """Let those that wait for a cancelled future go on; again changes nothing."""
        if self._state == "CANCELLED":
            self.set_running_or_notify_cancel()

    def __getstate__(self) -> Any:
        raise TypeError("a future of the mesh belongs to its process; send its result instead")
