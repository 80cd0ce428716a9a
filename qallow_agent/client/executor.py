"""An executor of :mod:`concurrent.futures` whose workers are the devices of the mesh."""

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor as StandardExecutor
from pathlib import Path
from typing import Any

from qallow_agent.base.errors import UsageError
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.results import Result
from qallow_agent.client.session import Mesh, connect
from qallow_agent.client.wishes import NAMES, take_wishes
from qallow_agent.jobs.messages import JobOptions


class Executor(StandardExecutor):
    """Runs kernels by name with the manners of :class:`concurrent.futures.ThreadPoolExecutor`.

    Its futures work with ``wait`` and ``as_completed``. Leaving a ``with`` block waits for them.

    Args:
        socket: The agent's control socket; None for the usual one.
        timeout_s: How long the agent may take to answer any request.
        options: How its work is run; the following replace single ones of them.
        **wishes: ``deadline``, ``retries``, ``device``, ``prefer``, ``priority``, ... as for
            :meth:`Mesh.submit`.

    Raises:
        AgentUnreachable: No agent answers.
    """

    def __init__(
        self,
        socket: str | Path | None = None,
        timeout_s: float = 10.0,
        *,
        options: JobOptions | None = None,
        **wishes: Any,
    ) -> None:
        self._options = take_wishes(options, wishes)
        if wishes:
            raise UsageError(
                f"{min(wishes)!r} is no option", hint=f"known: {', '.join(sorted(NAMES))}"
            )
        self._mesh: Mesh = connect(socket, timeout_s)
        self._over = False
        self._futures: dict[JobFuture, None] = {}

    def submit(self, kernel: str, /, *values: Any, **params: Any) -> JobFuture:  # type: ignore[override]  # a kernel by name, not a function
        """Start one evaluation of a kernel and return its future.

        Args:
            kernel: Its name.
            *values: Its first parameters, in the order it declares them.
            **params: Others by name.

        Raises:
            RuntimeError: After ``shutdown``.
            BadParameter: A parameter is wrong; nothing was sent.
        """
        if self._over:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if values:
            params |= dict(zip(self._names(kernel, len(values)), values, strict=True))
        future = self._mesh.submit(kernel, options=self._options, **params)
        self._futures[future] = None
        future.add_done_callback(self._forget)
        return future

    def map(  # type: ignore[override]  # a kernel by name, not a function
        self,
        kernel: str,
        /,
        *iterables: Any,
        timeout: float | None = None,
        chunksize: int = 1,
        **fixed: Any,
    ) -> Iterator[Result]:
        """Evaluate a kernel at many points and return their results in order.

        Args:
            kernel: Its name.
            *iterables: A mapping of axes (every combination is a point), an iterable of mappings
                (one a point), or iterables of the kernel's first parameters, side by side like
                those of :func:`map`.
            timeout: Seconds from now after which the iterator raises TimeoutError.
            chunksize: Accepted for compatibility; work is cut to size by how fast it goes.
            **fixed: Parameters that all points share.

        Raises:
            RuntimeError: After ``shutdown``.
            BadParameter: A parameter is wrong; nothing was sent.
        """
        del chunksize
        if self._over:
            raise RuntimeError("cannot schedule new futures after shutdown")
        until_s = None if timeout is None else time.monotonic() + timeout
        if not iterables:
            raise UsageError("map needs something to iterate over")
        grid = iterables[0]
        if len(iterables) > 1 or not isinstance(grid, Mapping):
            grid = self._rows(kernel, iterables)
            if not self._sweepable(kernel, grid):
                futures = [self.submit(kernel, **row, **fixed) for row in grid]
                return _in_order(futures, until_s)
        results = self._mesh.map(kernel, grid, options=self._options, **fixed)
        results.until_s = until_s
        return results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the standard signature
        """Take no more work and, by default, wait until there is none left.

        Args:
            wait: Return only when every future is done.
            cancel_futures: Cancel those that no runner has yet.
        """
        self._over = True
        if cancel_futures:
            for future in list(self._futures):
                if not future.running():
                    future.cancel()
        self._mesh.drain()
        if wait:
            self._mesh.join()

    def _forget(self, future: Any) -> None:
        self._futures.pop(future, None)

    def _names(self, kernel: str, count: int) -> tuple[str, ...]:
        names = self._mesh.parameters(kernel)
        if count > len(names):
            takes = f"takes {len(names)} parameters" if names else "is not known here"
            raise UsageError(
                f"{count} values without a name: kernel {kernel!r} {takes}",
                hint="give the parameters by name",
            )
        return names[:count]

    def _rows(self, kernel: str, iterables: tuple[Iterable[Any], ...]) -> list[Mapping[str, Any]]:
        if len(iterables) == 1:
            rows = list(iterables[0])
            if all(isinstance(row, Mapping) for row in rows):
                return rows
            iterables = (rows,)
        names = self._names(kernel, len(iterables))
        return [dict(zip(names, row, strict=True)) for row in zip(*iterables, strict=False)]

    def _sweepable(self, kernel: str, rows: list[Mapping[str, Any]]) -> bool:
        """Return whether rows may be points of one sweep: the same names, all of them sweepable."""
        if not rows:
            return True
        sweepable = self._mesh.parameters(kernel, sweepable=True)
        names = rows[0].keys()
        return all(name in sweepable for name in names) and all(row.keys() == names for row in rows)


def _in_order(futures: list[JobFuture], until_s: float | None) -> Iterator[Result]:
    """Return an iterator over the results of futures; what is left when it ends is cancelled."""
    waiting = list(reversed(futures))

    def results() -> Iterator[Result]:
        try:
            while waiting:
                left_s = None if until_s is None else until_s - time.monotonic()
                result = waiting[-1].result(left_s)
                waiting.pop()
                yield result
        finally:
            for future in waiting:
                future.cancel()

    return results()
