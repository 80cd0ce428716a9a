"""Connecting to the mesh through the local agent, and asking it to compute."""

import functools
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec

from qallow_agent import __version__
from qallow_agent.base.errors import AgentUnreachable, UsageError
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.units import Seconds, parse_duration
from qallow_agent.client.arguments import collect
from qallow_agent.client.book import KernelBook
from qallow_agent.client.control import ControlLink
from qallow_agent.client.engine import CLOSE_S, Engine
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.job import Job
from qallow_agent.client.meter import Meter
from qallow_agent.client.payload import Survey
from qallow_agent.client.points import Grid, Points, lay_out
from qallow_agent.client.stream import End, Stream
from qallow_agent.client.sweep import MapResults, Shelf
from qallow_agent.config.load import find_socket
from qallow_agent.jobs.messages import (
    JobOptions,
    JobProgress,
    OpenSession,
    SessionOpened,
    SubmitJob,
)

DEFAULTS = JobOptions()
_AT_EXIT_S = 2.0


def connect(socket: str | Path | None = None, timeout_s: Seconds = 10.0) -> "Mesh":
    """Return the mesh, reached through the agent of this machine.

    Args:
        socket: The agent's control socket; None for the usual one (or ``QALLOW_SOCKET``).
        timeout_s: How long the agent may take to answer any request.

    Raises:
        AgentUnreachable: No agent answers there.
        NotAllowed: This user may not talk to it.
        ConfigError: The configuration, or the socket's path, is wrong.
    """
    link = ControlLink(find_socket(socket), timeout_s).connect()
    key = CurveKey(os.urandom(32))
    try:
        opened = link.ask(OpenSession(key.public, __version__))
    except BaseException:
        link.close()
        raise
    if not isinstance(opened, SessionOpened):
        link.close()
        raise AgentUnreachable(
            f"the agent at {link.path} does not open sessions", hint="upgrade the agent"
        )
    book = KernelBook()
    engine = Engine(link, key, opened.node, book)
    engine.start()
    return Mesh(Connection(engine), book, opened)


class Connection:
    """What keeps an engine running: whoever waits for something holds it, and the last one ends it.

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

    def give_up(self, future: JobFuture) -> None:
        """Take in that nobody waits for a future any more."""
        self.engine.drop(future)

    def close(self, within_s: Seconds) -> None:
        """End the engine."""
        self.engine.close(within_s)
        self._end.detach()


class Mesh:
    """A connection to the mesh. Use :func:`connect` to get one; any thread may use it.

    Options of ``submit`` and ``map`` may be given by name beside the kernel's parameters, or
    together as ``options``:

    - ``deadline``: seconds, or text such as ``"2s"``, by which it must be done.
    - ``start_within``: the same, for the wait for a first runner.
    - ``retries``, ``device``, ``prefer``, ``priority``, ``idempotency_key``, ``retain``: see
      :class:`~qallow_agent.jobs.messages.JobOptions`.

    Args:
        connection: To the agent.
        book: The kernels known here.
        opened: What the agent said of itself.
    """

    def __init__(self, connection: Connection, book: KernelBook, opened: SessionOpened) -> None:
        self._connection = connection
        self._book = book
        self.node = opened.node
        """The agent's id."""
        self.node_name = opened.name
        self.name = opened.mesh_name
        """The mesh's name."""
        self.release = opened.release
        """The agent's version."""

    def submit(
        self,
        kernel: str,
        *,
        options: JobOptions | None = None,
        deadline: float | str | None = None,
        start_within: float | str | None = None,
        retries: int | None = None,
        device: str | None = None,
        prefer: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        retain: bool | None = None,
        **params: Any,
    ) -> JobFuture:
        """Start one evaluation of a kernel and return its future.

        Arrays among the parameters are not copied: leave them unchanged until the future is done.

        Raises:
            BadParameter: A parameter is wrong; nothing was sent.
            UsageError: The connection was closed.
            AgentUnreachable: It was lost.
        """
        given = options or DEFAULTS
        settings = (
            deadline,
            start_within,
            retries,
            device,
            prefer,
            priority,
            idempotency_key,
            retain,
        )
        if settings != _NO_SETTINGS:
            given = _with(given, *settings)
        self._connection.engine.check_open()
        arguments = collect(self._book.spec(kernel), params)
        deadline_s = None
        if given.deadline_s and not (given.retain or given.idempotency_key):
            # Evaluations share a job, whose desk knows one deadline: ours is kept here.
            deadline_s = time.monotonic() + given.deadline_s
            given = _without_deadline(given)
        elif given.idempotency_key and not given.retain:
            given = msgspec.structs.replace(given, retain=True)
        future = JobFuture(kernel, arguments, given, deadline_s, self._connection)
        self._connection.engine.post(future)
        return future

    def map(
        self,
        kernel: str,
        grid: Grid,
        *,
        ordered: bool = True,
        options: JobOptions | None = None,
        on_progress: Callable[[JobProgress], None] | None = None,
        progress: bool = False,
        deadline: float | str | None = None,
        start_within: float | str | None = None,
        retries: int | None = None,
        device: str | None = None,
        prefer: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        retain: bool | None = None,
        **fixed: Any,
    ) -> MapResults:
        """Evaluate a kernel at many points and return an iterator over the results.

        The work starts at once. Closing the iterator, or dropping it, cancels what is left.

        Args:
            kernel: Its name.
            grid: Axes, whose every combination is a point (the last one fastest), or an iterable
                of mappings, one a point.
            ordered: In the order of the points; else as they come, and then a point that failed
                is raised only after all results. ``Result.index`` names the point.
            options: How it is run; the arguments below replace single ones of them.
            on_progress: Called by the iterator a few times a second.
            progress: Show a line on stderr.
            deadline: As for ``submit``, like the rest.
            start_within: See above.
            retries: See above.
            device: See above.
            prefer: See above.
            priority: See above.
            idempotency_key: See above.
            retain: See above.
            **fixed: Parameters that all points share.

        Raises:
            BadParameter: A parameter is wrong, or cannot be swept; nothing was sent.
            UsageError: The rows differ in their names, or the connection was closed.
            AgentUnreachable: It was lost.
        """
        settings = (
            deadline,
            start_within,
            retries,
            device,
            prefer,
            priority,
            idempotency_key,
            retain,
        )
        given = _with(options or DEFAULTS, *settings)
        if given.idempotency_key and not given.retain:
            given = msgspec.structs.replace(given, retain=True)
        engine, connection = self._connection.engine, self._connection
        engine.check_open()
        points = lay_out(self._book.spec(kernel), grid, fixed)
        stream = Stream()
        job = None if points is None else self._sweep_job(kernel, points, given, stream)
        if job is None:
            stream.put(End())
        else:
            engine.launch(job)
        return MapResults(
            stream,
            Shelf(ordered=ordered),
            find_job=lambda: connection.name_of(job),
            cancel=lambda: None if job is None else connection.engine.cancel(job),
            wake=lambda: None if job is None else connection.engine.nudge(job),
            on_progress=on_progress,
            meter=Meter(kernel, 0 if points is None else points.count) if progress else None,
        )

    def close(self) -> None:
        """Cancel what is not done and leave; takes a few seconds at most, and none when idle."""
        self._connection.close(CLOSE_S)

    def drain(self) -> None:
        """Take no more work, and leave once all there is is done; does not wait for that."""
        self._connection.engine.retire()

    def join(self, timeout_s: Seconds | None = None) -> None:
        """Wait until a closed or draining connection is gone."""
        self._connection.engine.join(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Mesh {self.name!r} by {self.node_name!r}>"

    def _sweep_job(self, kernel: str, points: Points, options: JobOptions, stream: Stream) -> Job:
        sample = points.sample()
        order = SubmitJob(
            kernel,
            points.count,
            sample,
            1,
            options,
            extremes=points.extremes(),
            shapes=points.fixed.shapes,
        )
        guess_s = self._book.guess_s(kernel, sample, order.shapes)
        engine = self._connection.engine
        job = engine.new_job(order, Survey(points, stream), guess_s)
        job.add_sweep(points.count, points.point_bytes)
        return job


_NO_SETTINGS = (None,) * 8


def _with(
    options: JobOptions,
    deadline: float | str | None,
    start_within: float | str | None,
    retries: int | None,
    device: str | None,
    prefer: str | None,
    priority: int | None,
    idempotency_key: str | None,
    retain: bool | None,  # noqa: FBT001 - private, and called with a tuple
) -> JobOptions:
    """Return options with some replaced."""
    changes: dict[str, Any] = {
        "retries": retries,
        "device": device,
        "prefer": prefer,
        "priority": priority,
        "idempotency_key": idempotency_key,
        "retain": retain,
    }
    for name, value in (("deadline_s", deadline), ("start_s", start_within)):
        if value is not None:
            seconds = parse_duration(value)
            if not seconds > 0:
                raise UsageError(f"{value!r} is no time to wait", hint="give more than 0 seconds")
            changes[name] = seconds
    changes = {name: value for name, value in changes.items() if value is not None}
    return msgspec.structs.replace(options, **changes) if changes else options


@functools.lru_cache(maxsize=256)
def _without_deadline(options: JobOptions) -> JobOptions:
    """Return equal options without a deadline, the same object each time."""
    return msgspec.structs.replace(options, deadline_s=0.0)
