"""A flow: evaluations of frames as they are drawn from an iterable that may never end."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Self

from qallow_agent.client.results import Result
from qallow_agent.client.window import Window

_LOOK_S: Final = 1.0


class Flow(Iterator[Result]):
    """The results of frames, drawn as there is room for them; closing it cancels the rest.

    A frame that fails is raised in its turn (as results come: as soon as it failed), and ends it.

    Args:
        frames: Yields the parameters of one evaluation each time.
        window: Bounds what is under way.
        until_s: Monotonic second after which ``next`` raises TimeoutError; None for never.
    """

    def __init__(
        self, frames: Iterable[Mapping[str, Any]], window: Window, until_s: float | None = None
    ) -> None:
        self._window = window
        self._frames = iter(frames)
        self._until_s = until_s
        self._moved = threading.Event()
        window.notify = self._moved.set

    def fill(self) -> Self:
        """Draw as many frames as there is room for, and return itself."""
        while self._window.room:
            self._draw()
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Result:
        window = self._window
        if window.room:
            self._draw()  # before a ready result is returned, or the runners would run dry
        while True:
            self._moved.clear()
            future = window.ready()
            if future is not None:
                try:
                    return window.take(future)
                except BaseException:
                    self.close()
                    raise
            if window.room:
                self._draw()
            elif window.empty:
                error, window.error = window.error, None
                raise error or StopIteration
            else:
                self._wait()

    def close(self) -> None:
        """Cancel what is left; the iterator ends."""
        self._window.cancel()

    def let_go(self) -> None:
        """Read no more, but let what is under way be done."""
        self._window.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _draw(self) -> None:
        try:
            frame = next(self._frames)
        except StopIteration:
            self._window.stop()
        except Exception as error:  # noqa: BLE001 - the source's own error takes its turn
            self._window.stop(error)
        else:
            self._window.add(frame)

    def _wait(self) -> None:
        if self._until_s is None:
            self._moved.wait(_LOOK_S)
            return
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            self.close()
            raise TimeoutError("the next result did not come in time")
        self._moved.wait(min(left_s, _LOOK_S))
