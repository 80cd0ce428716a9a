"""A flow under an event loop: frames are awaited and results handed out at the same time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any, Final

from qallow_agent.client.chime import Chime
from qallow_agent.client.results import Result
from qallow_agent.client.window import Window

_AT_ONCE: Final = 16
"""A turn of the event loop costs as much as drawing some frames."""

Frames = AsyncIterable[Mapping[str, Any]] | Iterable[Mapping[str, Any]]
"""Yields the parameters of one evaluation each time."""


async def flow(frames: Frames, window: Window) -> AsyncGenerator[Result, None]:
    """Yield the results of frames, which a task of its own draws as there is room for them.

    The place of a result is free again when the next one is asked for.

    Raises:
        QallowError: Why a frame has no result, in its turn.
        Exception: What the frames raised, after the results of those before.
    """
    moved, room = Chime(), asyncio.Event()
    window.notify = moved.strike
    drawing = asyncio.create_task(_draw(frames, window, moved, room))
    try:
        while True:
            moved.clear()
            future = window.ready()
            if future is not None:
                yield window.take(future)
                room.set()
            elif window.empty and not window.drawing:
                if window.error is not None:
                    raise window.error
                return
            else:
                await moved.wait()
    finally:
        window.cancel()
        drawing.cancel()
        await asyncio.wait([drawing])


async def _draw(frames: Frames, window: Window, moved: Chime, room: asyncio.Event) -> None:
    try:
        async for frame in _each(frames):
            window.add(frame)
            moved.strike()
            while window.drawing and not window.room:
                room.clear()
                await room.wait()
            if not window.drawing:
                return
        window.stop()
    except Exception as error:  # noqa: BLE001 - the source's own error takes its turn
        window.stop(error)
    finally:
        moved.strike()


async def _each(frames: Frames) -> AsyncIterator[Mapping[str, Any]]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
        return
    for number, frame in enumerate(frames):
        yield frame
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)  # let the results of frames before be read
