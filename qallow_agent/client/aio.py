"""The same mesh for programs that run an event loop."""

import asyncio
import importlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self

from qallow_agent.base.errors import QallowError, StorageError
from qallow_agent.client.aflow import Frames, flow
from qallow_agent.client.chime import Chime
from qallow_agent.client.gather import open_target
from qallow_agent.client.harvest import Array
from qallow_agent.client.points import Grid
from qallow_agent.client.receipts import JobReceipt
from qallow_agent.client.results import Block, Result
from qallow_agent.client.session import Mesh, connect
from qallow_agent.client.sweep import Found, MapResults
from qallow_agent.client.window import AHEAD
from qallow_agent.jobs.messages import JobOptions, JobProgress


def aconnect(socket: str | Path | None = None, timeout_s: float = 10.0) -> "Connecting":
    """Return the mesh to await, or to use in ``async with``, which also closes it.

    Args:
        socket: As for :func:`qallow_agent.connect`.
        timeout_s: As for :func:`qallow_agent.connect`.
    """
    return Connecting(socket, timeout_s)


class Connecting(Awaitable["AsyncMesh"], AbstractAsyncContextManager["AsyncMesh"]):
    """A connection that is made when awaited or entered.

    Args:
        socket: The agent's control socket.
        timeout_s: How long the agent may take.
    """

    def __init__(self, socket: str | Path | None, timeout_s: float) -> None:
        self._socket = socket
        self._timeout_s = timeout_s
        self._mesh: AsyncMesh | None = None

    def __await__(self) -> Generator[Any, None, "AsyncMesh"]:
        return self._connect().__await__()

    async def __aenter__(self) -> "AsyncMesh":
        self._mesh = await self._connect()
        return self._mesh

    async def __aexit__(self, *_: object) -> None:
        if self._mesh is not None:
            await self._mesh.close()

    async def _connect(self) -> "AsyncMesh":
        return AsyncMesh(await asyncio.to_thread(_connect, self._socket, self._timeout_s))


class AsyncMesh:
    """A connection to the mesh whose futures and iterators are those of asyncio.

    Args:
        mesh: The connection.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh

    def submit(
        self, kernel: str, /, *, options: JobOptions | None = None, **params: Any
    ) -> "asyncio.Future[Result]":
        """Start one evaluation; await what this returns. Cancelling it cancels the evaluation.

        Args:
            kernel: Its name.
            options: How it is run.
            **params: The kernel's parameters, and options by name.

        Raises:
            QallowError: As for :meth:`Mesh.submit`.
        """
        return asyncio.wrap_future(self.mesh.submit(kernel, options=options, **params))

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
    ) -> "AsyncResults":
        """Evaluate a kernel at many points; iterate over the results with ``async for``.

        Args:
            kernel: Its name.
            grid: As for :meth:`Mesh.map`.
            ordered: As for :meth:`Mesh.map`.
            options: How it is run.
            on_progress: Called in the event loop a few times a second, while results are awaited.
            progress: As for :meth:`Mesh.map`.
            **fixed: Parameters that all points share, and options by name.

        Raises:
            QallowError: As for :meth:`Mesh.map`.
        """
        results = self.mesh.map(
            kernel,
            grid,
            ordered=ordered,
            options=options,
            on_progress=on_progress,
            progress=progress,
            **fixed,
        )
        return AsyncResults(results)

    def stream(
        self,
        kernel: str,
        frames: Frames,
        /,
        *,
        ordered: bool = True,
        ahead: int = AHEAD,
        options: JobOptions | None = None,
        **fixed: Any,
    ) -> AsyncGenerator[Result, None]:
        """Evaluate frames as they are drawn from an (asynchronous) iterable that may never end.

        Frames are awaited while results are read, so a result is never held up by the frame after
        it. A plain iterable is read in the event loop: it must not block.

        Args:
            kernel: Its name.
            frames: Yields the parameters of one evaluation each time; arrays are not copied.
            ordered: As for :meth:`Mesh.stream`.
            ahead: As for :meth:`Mesh.stream`.
            options: How they are run.
            **fixed: Parameters that all share, and options by name.

        Raises:
            QallowError: As for :meth:`Mesh.stream`.
        """
        given = {"options": options} | fixed
        return flow(frames, self.mesh.window(kernel, given, ahead, ordered=ordered))

    async def close(self) -> None:
        """Cancel what is not done and leave."""
        await asyncio.to_thread(self.mesh.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncResults(AsyncIterator[Result]):
    """The results of a sweep, one by one; closing it (or losing it) cancels what is left.

    Args:
        results: The same for programs that may block.
    """

    def __init__(self, results: MapResults) -> None:
        self._results = results
        self._arrived = Chime()
        results.stream.notify = self._arrived.strike

    async def job(self) -> str:
        """Return the id of the job, waiting until the agent has given it one."""
        return await asyncio.to_thread(lambda: self._results.job)

    async def receipt(self, timeout: float = 30.0, *, certify: bool = False) -> JobReceipt:  # noqa: ASYNC109 - the agent keeps it
        """Return the receipt of the job; see :meth:`MapResults.receipt`."""
        return await asyncio.to_thread(self._results.receipt, timeout, certify=certify)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        return await self._next(self._results.take_ready)

    async def blocks(self) -> AsyncIterator[Block]:
        """Yield the same results a slice at a time, as arrays: for millions of points.

        Use either this or the results one by one.

        Raises:
            QallowError: Why there will be no more.
        """
        while True:
            try:
                block = await self._next(self._results.take_ready_block)
            except StopAsyncIteration:
                return
            yield block

    async def arrays(self) -> "dict[str, Array]":
        """Return all results as arrays; see :meth:`MapResults.arrays`.

        Raises:
            QallowError: As there.
        """
        found = self._results.gathering(None)
        async for block in self.blocks():
            found.add(block)
        return found.arrays()

    async def save(self, path: str | Path) -> list[str]:
        """Write all results to a file, in a thread of its own; see :meth:`MapResults.save`.

        Args:
            path: As there.

        Raises:
            QallowError: As there.
        """
        target = await asyncio.to_thread(open_target, path)
        found = self._results.gathering(target.parent)
        try:
            async for block in self.blocks():
                found.add(block)
        except QallowError as error:
            if not isinstance(error, StorageError):
                await asyncio.to_thread(found.save, target)
            raise
        return await asyncio.to_thread(found.save, target)

    async def aclose(self) -> None:
        """Cancel what is left; the iterator ends."""
        self._results.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._results.close()

    async def _next(self, take: Callable[[], Found | None]) -> Found:
        stream = self._results.stream
        while True:
            self._arrived.clear()
            try:
                found = take()
            except StopIteration:
                raise StopAsyncIteration from None
            if found is not None:
                return found
            item = stream.get(0.0)
            if item is not None:
                self._results.learn(item)
                await asyncio.sleep(0)  # many results may be ready: let others have their turn
                continue
            stream.hungry = True
            try:
                await self._arrived.wait()
            finally:
                stream.hungry = False


def _connect(socket: str | Path | None, timeout_s: float) -> Mesh:
    """Connect, and load what the first use of a mesh would, in a thread that may block."""
    mesh = connect(socket, timeout_s)
    mesh.parameters("")
    importlib.import_module("qallow_agent.client.arrays")
    return mesh
