"""A chime: wakes a task of an event loop, from any thread."""

import asyncio
import contextlib


class Chime:
    """Made in the loop that it wakes; any number of strikes before that are one.

    Whoever waits clears it, looks for what there is, and only then waits: so nothing is missed.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._struck = False

    def strike(self) -> None:
        """Wake whoever waits; harmless when the loop is over."""
        if not self._struck:
            self._struck = True
            with contextlib.suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Forget earlier strikes."""
        self._struck = False
        self._event.clear()

    async def wait(self) -> None:
        """Wait for a strike since it was last cleared."""
        await self._event.wait()
