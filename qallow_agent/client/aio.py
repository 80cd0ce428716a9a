"""The same mesh for programs that run an event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self

from qallow_agent.client.points import Grid
from qallow_agent.client.results import Result
from qallow_agent.client.session import Mesh, connect
from qallow_agent.client.stream import Stream
from qallow_agent.client.sweep import MapResults

_LOOK_S = 1.0


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
        return AsyncMesh(await asyncio.to_thread(connect, self._socket, self._timeout_s))


class AsyncMesh:
    """A connection to the mesh whose futures and iterators are those of asyncio.

    Args:
        mesh: The connection.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh

    def submit(self, kernel: str, **given: Any) -> "asyncio.Future[Result]":
        """Start one evaluation; await what this returns. Cancelling it cancels the evaluation.

        Args:
            kernel: Its name.
            **given: Parameters and options, as for :meth:`Mesh.submit`.

        Raises:
            QallowError: As for :meth:`Mesh.submit`.
        """
        return asyncio.wrap_future(self.mesh.submit(kernel, **given))

    def map(self, kernel: str, grid: Grid, **given: Any) -> "AsyncResults":
        """Evaluate a kernel at many points; iterate over the results with ``async for``.

        Args:
            kernel: Its name.
            grid: As for :meth:`Mesh.map`.
            **given: Parameters and options, as for :meth:`Mesh.map`.

        Raises:
            QallowError: As for :meth:`Mesh.map`.
        """
        results = self.mesh.map(kernel, grid, **given)
        return AsyncResults(results, results.stream)

    async def close(self) -> None:
        """Cancel what is not done and leave."""
        await asyncio.to_thread(self.mesh.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncResults(AsyncIterator[Result]):
    """The results of a sweep, one by one; ``aclose`` cancels what is left.

    Args:
        results: Orders them.
        stream: Brings them.
    """

    def __init__(self, results: MapResults, stream: Stream) -> None:
        self._results = results
        self._stream = stream
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        stream.notify = self._notify

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        while True:
            try:
                result = self._results.take_ready()
            except StopIteration:
                raise StopAsyncIteration from None
            if result is not None:
                return result
            self._arrived.clear()
            item = self._stream.get(0.0)
            if item is not None:
                self._results.learn(item)
                continue
            self._stream.hungry = True
            await self._arrived.wait()
            self._stream.hungry = False

    async def aclose(self) -> None:
        """Cancel what is left; the iterator ends."""
        self._results.close()

    def _notify(self) -> None:
        """Wake the event loop; called on the mesh's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)
