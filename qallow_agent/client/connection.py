"""A connection: what keeps an engine running, and what becomes of its work at the program's end."""

import atexit
import contextlib
import weakref
from typing import Final

from qallow_agent.base.errors import QallowError, UsageError
from qallow_agent.base.units import Seconds
from qallow_agent.client.engine import Engine
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.job import Job
from qallow_agent.client.receipts import JobReceipt, fetch_receipt

_AT_EXIT_S: Final = 2.0


class Connection:
    """Whoever waits for something holds it, and the last one to let go ends the engine.

    Args:
        engine: Started.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._end = weakref.finalize(self, engine.close, _AT_EXIT_S)

    def find_job(self, future: JobFuture) -> str:
        """Return the id of a future's job, waiting for it as need be."""
        return self.name_of(self.engine.ask(lambda: future.work))

    def name_of(self, job: Job | None) -> str:
        """Return a job's id, waiting for it as need be; empty when there is none."""
        if job is None:
            return ""
        job.named.wait(self.engine.timeout_s)
        return job.id

    def receipt_of_future(
        self, future: JobFuture, timeout_s: Seconds, *, certify: bool
    ) -> JobReceipt:
        """Return the receipt of a future's job; see :func:`fetch_receipt`."""
        self.engine.check_process()
        return self.receipt_of(self.engine.ask(lambda: future.work), timeout_s, certify=certify)

    def receipt_of(self, job: Job | None, timeout_s: Seconds, *, certify: bool) -> JobReceipt:
        """Return the receipt of a job, which ends once it has nothing left to do.

        Raises:
            UsageError: There is no job, as there was nothing to do.
            QallowError: As for :func:`fetch_receipt`.
        """
        if job is None:
            raise UsageError("there is no job", hint="nothing was submitted")
        job.retiring = True
        self.engine.nudge(job)
        return fetch_receipt(
            self.engine.socket, lambda: self.name_of(job), timeout_s, certify=certify
        )

    def check_process(self) -> None:
        """Raise when nothing can ever arrive here.

        Raises:
            UsageError: The connection belongs to the process that forked this one.
        """
        self.engine.check_process()

    def give_up(self, future: JobFuture) -> None:
        """Take in that nobody waits for a future any more."""
        self.engine.drop(future)

    def cancel(self, job: Job | None) -> None:
        """Cancel a whole job; harmless when it is over."""
        if job is not None:
            self.engine.cancel(job)

    def nudge(self, job: Job | None) -> None:
        """Tell that the reader of a job has made room."""
        if job is not None:
            self.engine.nudge(job)

    def close(self, within_s: Seconds) -> None:
        """End the engine."""
        self.engine.close(within_s)
        self._end.detach()

    def finish_at_exit(self) -> None:
        """Do the work that is left at the end of the program, instead of cancelling it.

        That is what executors of the standard library do. A Ctrl-C then cancels it all the same.
        """
        _LASTING.add(self)
        atexit.unregister(_finish)
        atexit.register(_finish)  # the last one runs first: before connections are ended


_LASTING: weakref.WeakSet[Connection] = weakref.WeakSet()


def _finish() -> None:
    """Let no program end before its executors are done."""
    engines = [connection.engine for connection in _LASTING]
    for engine in engines:
        with contextlib.suppress(QallowError):
            engine.check_process()
            engine.retire()
    for engine in engines:
        engine.join()
