"""How many threads a kernel may use, and how its parts share them.

A runner may own several cores. Its kernels then cut their work into parts: compiled, serial, and
without the GIL while they run. Parts must not depend on which thread runs them or on how many
there are. Threads start at the first need and never before a fork, which they would not survive.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


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

    def run(self, part: Callable[[int], object], count: int) -> None:
        """Call ``part`` with each number below ``count``, once each and in no certain order.

        Raises:
            Exception: Whatever a part raised, once no part runs any more.
        """
        numbers = itertools.count()  # next() of it is atomic

        def take() -> None:
            for number in numbers:
                if number >= count:
                    return
                part(number)

        helpers = [self._submit(take) for _ in range(min(self.threads, count) - 1)]
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
