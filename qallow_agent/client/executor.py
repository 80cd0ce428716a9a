"""An executor of :mod:`concurrent.futures` whose workers are the devices of the mesh."""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from concurrent.futures import Executor as StandardExecutor
from pathlib import Path
from typing import Any, Self

from qallow_agent.base.errors import JobCancelled, UsageError
from qallow_agent.client.flow import Flow
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.points import Columns
from qallow_agent.client.results import Result
from qallow_agent.client.session import Mesh, connect
from qallow_agent.client.sweep import MapResults
from qallow_agent.client.window import Window, starter
from qallow_agent.client.wishes import NAMES, take_wishes
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.kernels.values import closest


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
            name = min(wishes)
            raise UsageError(f"{name!r} is no option", hint=closest(name, NAMES))
        self._mesh: Mesh = connect(socket, timeout_s)
        self._mesh.finish_at_exit()
        self._over = False
        self._futures: dict[JobFuture, None] = {}
        self._sweeps: list[MapResults] = []

    def submit(self, kernel: str, /, *values: Any, **params: Any) -> JobFuture:  # type: ignore[override]  # a kernel by name, not a function
        """Start one evaluation of a kernel and return its future.

        Args:
            kernel: Its name.
            *values: Its first parameters, in the order it declares them.
            **params: Others by name.

        Raises:
            RuntimeError: After ``shutdown``.
            UsageError: A parameter is given twice.
            BadParameter: A parameter is wrong; nothing was sent.
        """
        if values:
            named = dict(zip(self._names(kernel, len(values)), values, strict=True))
            both = sorted(named.keys() & params.keys())
            if both:
                raise UsageError(f"{both[0]} is given twice", hint="once by place, once by name")
            params |= named
        return self._start(kernel, options=self._options, **params)

    def map(  # type: ignore[override]  # a kernel by name, not a function
        self,
        kernel: str,
        /,
        *iterables: Any,
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        **fixed: Any,
    ) -> Iterator[Result]:
        """Evaluate a kernel at many points and return their results in order.

        The work starts at once, and is done also when the iterator is dropped before its first
        result; later, dropping it cancels what is left.

        Args:
            kernel: Its name.
            *iterables: A mapping of axes (every combination is a point), :class:`Columns` (every
                row is one), an iterable of mappings (one a point), or iterables of the kernel's
                first parameters, side by side like those of :func:`map`.
            timeout: Seconds from now after which the iterator raises TimeoutError.
            chunksize: Accepted for compatibility; work is cut to size by how fast it goes.
            buffersize: How many evaluations may be under way or wait to be read; the iterables are
                then drawn as there is room. None reads them to their end at once.
            **fixed: Parameters that all points share.

        Raises:
            RuntimeError: After ``shutdown``.
            ValueError: ``chunksize`` or ``buffersize`` is below 1.
            BadParameter: A parameter is wrong; nothing was sent.
        """
        self._check_open()
        if chunksize < 1 or (buffersize is not None and buffersize < 1):
            raise ValueError("chunksize and buffersize must be 1 or more")
        until_s = None if timeout is None else time.monotonic() + timeout
        if not iterables:
            raise UsageError("map needs something to iterate over")
        grid = iterables[0]
        if len(iterables) > 1 or not isinstance(grid, Mapping | Columns):
            rows = self._rows(kernel, iterables)
            if buffersize is not None:
                return self._flow(kernel, rows, buffersize, until_s, fixed)
            grid = list(rows)
            if not self._sweepable(kernel, grid):
                return self._flow(kernel, grid, None, until_s, fixed)
        results = self._mesh.map(kernel, grid, options=self._options, **fixed)
        results.until_s = until_s
        self._sweeps = [sweep for sweep in self._sweeps if not sweep.over]
        self._sweeps.append(results)
        return PoolResults(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the standard signature
        """Take no more work and, by default, wait until there is none left.

        Args:
            wait: Return only when every future is done.
            cancel_futures: Cancel those that no runner has yet, and what is left of every ``map``,
                whose iterators then raise CancelledError after the results that are there.
        """
        self._over = True
        for sweep in self._sweeps:
            sweep.retire(cancel=cancel_futures)  # or a wait for what nobody reads would not end
        if cancel_futures:
            for future in list(self._futures):
                if not future.running():
                    future.cancel()
        self._mesh.drain()
        if wait:
            self._mesh.join()

    def _check_open(self) -> None:
        if self._over or self._mesh.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _start(self, kernel: str, /, *, options: JobOptions, **params: Any) -> JobFuture:
        self._check_open()
        future = self._mesh.submit(kernel, options=options, **params)
        self._futures[future] = None
        future.add_done_callback(self._forget)
        return future

    def _flow(
        self,
        kernel: str,
        rows: Iterable[Mapping[str, Any]],
        ahead: int | None,
        until_s: float | None,
        fixed: dict[str, Any],
    ) -> Iterator[Result]:
        """Return the results of rows that are evaluated one by one."""
        start = starter(self._start, kernel, self._options, fixed)
        window = Window(start, ahead, ordered=True, noun="")
        return PoolResults(Flow(rows, window, until_s).fill())

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

    def _rows(
        self, kernel: str, iterables: tuple[Iterable[Any], ...]
    ) -> Iterable[Mapping[str, Any]]:
        """Return what is iterated over as mappings, without reading it to its end."""
        if len(iterables) == 1:
            rows = iter(iterables[0])
            first = list(itertools.islice(rows, 1))
            everything = itertools.chain(first, rows)
            if not first or isinstance(first[0], Mapping):
                return everything
            iterables = (everything,)
        names = self._names(kernel, len(iterables))
        return (dict(zip(names, row, strict=True)) for row in zip(*iterables, strict=False))

    def _sweepable(self, kernel: str, rows: list[Mapping[str, Any]]) -> bool:
        """Return whether rows may be points of one sweep: the same names, all of them sweepable."""
        if not rows:
            return True
        sweepable = self._mesh.parameters(kernel, sweepable=True)
        names = rows[0].keys()
        return all(name in sweepable for name in names) and all(row.keys() == names for row in rows)


class PoolResults(Iterator[Result]):
    """The results of ``Executor.map``: they are worked out also when nobody takes the first one.

    Args:
        results: Of a sweep, or of evaluations one by one.
    """

    def __init__(self, results: MapResults | Flow) -> None:
        self._results = results
        self._begun = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Result:
        self._begun = True
        try:
            return next(self._results)
        except JobCancelled as error:
            raise CancelledError(error.message) from error

    def close(self) -> None:
        """Cancel what is left; the iterator ends."""
        self._results.close()

    def __del__(self) -> None:
        if self._begun:
            self._results.close()
        else:
            self._results.let_go()
