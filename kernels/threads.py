"""How many threads a kernel may use, and how its parts share them.

A runner may own several cores. Its kernels then cut their work into parts: compiled, serial, and
without the GIL while they run. Parts must not depend on which thread runs them or on how many
there are. Threads start at the first need and never before a fork, which they would not survive.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

SPANS = 4
"""Spans for each thread: one that is held up leaves the rest to the others."""


class Crew:
    """The threads of this process: the caller and those that help it, started when needed.

    There is no deadline here: a part ends when its kernel does, and who asked for the task kills
    the whole process when that takes too long.
    """

    def __init__(self) -> None:
        self.threads = 1
        self._pool: ThreadPoolExecutor | None = None

    def resize(self, threads: int) -> None:
        """Use so many threads, at least one, from the next call on."""
        self.forget()
        self.threads = max(threads, 1)

    def forget(self) -> None:
        """Let go of the threads that help; a forked child has none of its parent's."""
        self._pool = None

    def run(self, part: Callable[[int, int], object], total: int, grain: int = 1) -> None:
        """Call ``part(begin, end)`` with spans that cover ``range(total)``, in no certain order.

        Args:
            part: Does the work of a span.
            total: How much work there is.
            grain: Each span begins at a multiple of this.

        Raises:
            Exception: Whatever a part raised, once no part runs any more.
        """
        grains = -(-total // grain)
        spans = min(grains, 1 if self.threads == 1 else self.threads * SPANS)
        numbers = itertools.count()  # next() of it is atomic

        def take() -> None:
            for number in numbers:
                if number >= spans:
                    return
                begin, end = grains * number // spans, grains * (number + 1) // spans
                part(begin * grain, min(end * grain, total))

        helpers = [self._submit(take) for _ in range(min(self.threads, spans) - 1)]
        try:
            take()
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()

    def _submit(self, take: Callable[[], None]) -> "Future[None]":
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="kernel")
        return self._pool.submit(take)


CREW = Crew()
"""The threads of this process; one until its owner says otherwise."""

os.register_at_fork(after_in_child=CREW.forget)
