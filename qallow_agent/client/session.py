"""Connecting to the mesh through the local agent, and asking it to compute."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from qallow_agent import __version__
from qallow_agent.base.errors import AgentUnreachable
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.units import Seconds
from qallow_agent.client.account import MOST_SLOTS
from qallow_agent.client.arguments import collect
from qallow_agent.client.book import KernelBook
from qallow_agent.client.connection import Connection
from qallow_agent.client.control import ControlLink
from qallow_agent.client.engine import CLOSE_S, Engine
from qallow_agent.client.flow import Flow
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.job import Job
from qallow_agent.client.notebook import meter
from qallow_agent.client.payload import Survey
from qallow_agent.client.points import Grid, Points, lay_out
from qallow_agent.client.stream import End, Stream
from qallow_agent.client.sweep import MapResults, Shelf
from qallow_agent.client.trail import Trail, retrace
from qallow_agent.client.window import AHEAD, Window, starter
from qallow_agent.client.wishes import take_wishes, without_deadline
from qallow_agent.config.load import find_socket
from qallow_agent.jobs.messages import (
    JobOptions,
    JobProgress,
    OpenSession,
    SessionOpened,
    SubmitJob,
)
from qallow_agent.kernels.spec import Parameter


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


class Mesh:
    """A connection to the mesh. Use :func:`connect` to get one; any thread may use it.

    How work is run may be said by name beside the kernel's parameters, or together as
    :class:`~qallow_agent.jobs.messages.JobOptions`: ``deadline`` and ``start_within`` (seconds, or
    text such as ``"2s"``), ``retries``, ``device``, ``prefer``, ``priority``,
    ``idempotency_key``, ``retain``, ``max_joules``, ``verify`` and ``checkpoint_every``; see
    :class:`~qallow_agent.client.wishes.Wishes`.

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
        self, kernel: str, /, *, options: JobOptions | None = None, **params: Any
    ) -> JobFuture:
        """Start one evaluation of a kernel and return its future.

        Arrays among the parameters are not copied: leave them unchanged until the future is done.

        Args:
            kernel: Its name.
            options: How it is run.
            **params: The kernel's parameters, and options by name (see the class).

        Raises:
            BadParameter: A parameter is wrong; nothing was sent.
            UsageError: The connection was closed.
            AgentUnreachable: It was lost.
        """
        wanted = take_wishes(options, params, self._declared(kernel))
        deadline_s = None
        if wanted.deadline_s and not wanted.retain:
            # Evaluations share a job, whose desk knows one deadline: each one's is kept here.
            deadline_s = time.monotonic() + wanted.deadline_s
            wanted = without_deadline(wanted)
        return self._start(kernel, wanted, params, deadline_s)

    def submit_alone(
        self, kernel: str, /, *, options: JobOptions | None = None, **params: Any
    ) -> JobFuture:
        """Start one evaluation as a job of its own, if it has a deadline, and return its future.

        So the agent itself judges the deadline, and refuses at once one that cannot be met. For
        many evaluations ``submit`` is cheaper, since they share runners; it takes the same
        arguments and raises the same errors.
        """
        wanted = take_wishes(options, params, self._declared(kernel))
        return self._start(kernel, wanted, params, None)

    def replay(self, checkpoint: bytes, *, options: JobOptions | None = None) -> JobFuture:
        """Start a run again from one of its checkpoints and return the future of its result.

        On a backend of the same kind the result is that of the undisturbed run, to the bit.

        Args:
            checkpoint: As :meth:`~qallow_agent.client.futures.JobFuture.checkpoint` returns it.
            options: How it is run; on a CPU if nothing is said, as boards begin at the beginning.

        Raises:
            CheckpointCorrupt: It is damaged, or its kernel has changed since; nothing was sent.
            UsageError: The connection was closed.
            AgentUnreachable: It was lost.
        """
        kernel, trail = retrace(checkpoint, self._book)
        wanted = take_wishes(options or JobOptions(device="cpu"), {}, ())
        return self._start(kernel, wanted, trail.scalars, None, trail)

    def map(
        self,
        kernel: str,
        grid: Grid,
        /,
        *,
        ordered: bool = True,
        options: JobOptions | None = None,
        on_progress: Callable[[JobProgress], None] | None = None,
        progress: bool = False,
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
            options: How it is run.
            on_progress: Called by the iterator a few times a second.
            progress: Show rate, time left, failures: a line on stderr, or a bar in a notebook.
            **fixed: Parameters that all points share, and options by name (see the class).

        Raises:
            BadParameter: A parameter is wrong, or cannot be swept; nothing was sent.
            UsageError: The rows differ in their names, or the connection was closed.
            AgentUnreachable: It was lost.
        """
        spec = self._book.spec(kernel)
        wanted = take_wishes(options, fixed, spec.parameters if spec else ())
        connection = self._connection
        self.check_open()
        points = lay_out(spec, grid, fixed)
        stream = Stream()
        job = None if points is None else self._sweep_job(kernel, points, wanted, stream)
        if job is None:
            stream.put(End())
        else:
            connection.engine.launch(job)
        return MapResults(
            stream,
            Shelf(ordered=ordered),
            find_job=lambda: connection.name_of(job),
            cancel=lambda: connection.cancel(job),
            wake=lambda: connection.nudge(job),
            on_progress=on_progress,
            line=meter(kernel, points.count) if progress and points else None,
            points=points,
        )

    def stream(
        self,
        kernel: str,
        frames: Iterable[Mapping[str, Any]],
        /,
        *,
        ordered: bool = True,
        ahead: int = AHEAD,
        options: JobOptions | None = None,
        **fixed: Any,
    ) -> Flow:
        """Evaluate frames as they are drawn from an iterable that may never end.

        Nothing is drawn before the first ``next``. Each ``next`` draws a frame before it waits for
        a result: where a frame depends on the result before it, ``ahead`` must be 1. Closing the
        iterator, or dropping it, cancels what is under way.

        Args:
            kernel: Its name.
            frames: Yields the parameters of one evaluation each time; arrays are not copied.
            ordered: In the order of the frames; else as they come. ``Result.index`` names it.
            ahead: At most so many evaluations are under way or wait to be read, and not many more
                than 256 MiB of their arrays.
            options: How they are run.
            **fixed: Parameters that all share, and options by name (see the class).

        Raises:
            UsageError: The connection was closed.
            AgentUnreachable: It was lost.
        """
        given = {"options": options} | fixed
        return Flow(frames, self.window(kernel, given, ahead, ordered=ordered))

    def window(self, kernel: str, given: dict[str, Any], ahead: int, *, ordered: bool) -> Window:
        """Return what bounds a stream; for those that read it in another way.

        Args:
            kernel: Its name.
            given: Options, and parameters that all frames share.
            ahead: As for :meth:`stream`.
            ordered: As for :meth:`stream`.

        Raises:
            UsageError: ``ahead`` or an option is wrong, or the connection was closed.
            AgentUnreachable: It was lost.
        """
        self.check_open()
        spec = self._book.spec(kernel)
        shared = dict(given)
        options = take_wishes(shared.pop("options"), shared, spec.parameters if spec else ())
        start = starter(self.submit, kernel, options, shared)
        return Window(start, ahead, ordered=ordered, noun="frame")

    def parameters(self, kernel: str, *, sweepable: bool = False) -> tuple[str, ...]:
        """Return the names of a kernel's parameters as declared; none when it is not known here.

        Args:
            kernel: Its name.
            sweepable: Only those in which the points of a sweep may differ.
        """
        spec = self._book.spec(kernel)
        if spec is None:
            return ()
        return tuple(
            each.name
            for each in spec.parameters
            if not sweepable or (each.sweepable and not each.shape)
        )

    @property
    def closed(self) -> bool:
        """Whether it was closed, or takes no more work since it is to end."""
        return self._connection.engine.refusing

    def check_open(self) -> None:
        """Raise why no more work is taken, if so.

        Raises:
            UsageError: The connection was closed, or belongs to the process that forked this one.
            AgentUnreachable: It was lost; connect again.
        """
        self._connection.engine.check_open()

    def finish_at_exit(self) -> None:
        """At the end of the program wait for the work that is left, instead of cancelling it."""
        self._connection.finish_at_exit()

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

    def _declared(self, kernel: str) -> tuple[Parameter, ...]:
        spec = self._book.spec(kernel)
        return () if spec is None else spec.parameters

    def _start(
        self,
        kernel: str,
        wanted: JobOptions,
        params: dict[str, Any],
        deadline_s: Seconds | None,
        trail: Trail | None = None,
    ) -> JobFuture:
        self._connection.engine.check_open()
        arguments = collect(self._book.spec(kernel), params)
        future = JobFuture(kernel, arguments, wanted, deadline_s, self._connection)
        future.trail = trail
        self._connection.engine.post(future)
        return future

    def _sweep_job(self, kernel: str, points: Points, options: JobOptions, stream: Stream) -> Job:
        sample = points.sample()
        order = SubmitJob(
            kernel,
            points.count,
            sample,
            max(min(points.count, MOST_SLOTS), options.verify),
            options,
            extremes=points.extremes(),
            shapes=points.fixed.shapes,
        )
        guess_s = self._book.guess_s(kernel, sample, order.shapes)
        engine = self._connection.engine
        job = engine.new_job(order, Survey(points, stream), guess_s)
        job.account.add_sweep(points.count, points.point_bytes)
        job.retiring = True
        return job
