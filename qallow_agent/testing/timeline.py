"""Virtual time: one heap of things to do, and processes that can be frozen, stalled and killed."""

import heapq
import itertools
from collections.abc import Callable

from qallow_agent.base.units import Seconds

Action = Callable[[], None]


class Timeline:
    """Does things in order of their time; things of one time in the order they were planned."""

    def __init__(self) -> None:
        self.now: Seconds = 0.0
        self._heap: list[tuple[Seconds, int, Action]] = []
        self._order = itertools.count()

    def at(self, when: Seconds, action: Action) -> None:
        """Plan something; what is planned in the past happens now."""
        heapq.heappush(self._heap, (max(when, self.now), next(self._order), action))

    def after(self, delay_s: Seconds, action: Action) -> None:
        """Plan something that much later."""
        self.at(self.now + delay_s, action)

    def run(self, until_s: Seconds, stop: Callable[[], bool] | None = None) -> bool:
        """Let time pass.

        Args:
            until_s: When to return at the latest; time stands there then.
            stop: Looked at after everything that happens; True returns at once.

        Returns:
            Whether ``stop`` said so.
        """
        if stop is not None and stop():
            return True
        while self._heap and self._heap[0][0] <= until_s:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            if stop is not None and stop():
                return True
        self.now = max(self.now, until_s)
        return False


class Process:
    """Something that runs until it is killed; while it is frozen, what happens to it waits.

    Args:
        timeline: Its time.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.alive = True
        self.frozen = False
        self._stalled = False
        self._inbox: list[Action] = []
        self._last_will: list[Action] = []

    @property
    def waits(self) -> bool:
        """Whether it takes nothing in at present."""
        return self.frozen or self._stalled

    def run(self, action: Action) -> None:
        """Let something happen to it: now, when it thaws, or never."""
        if not self.alive:
            return
        if self.waits:
            self._inbox.append(action)
        else:
            action()

    def after(self, delay_s: Seconds, action: Action) -> None:
        """Let something happen to it later."""
        self.timeline.after(delay_s, lambda: self.run(action))

    def at_death(self, action: Action) -> None:
        """Do something when it dies, in the order asked."""
        self._last_will.append(action)

    def freeze(self) -> None:
        """Stop it as SIGSTOP does."""
        self.frozen = True

    def thaw(self) -> None:
        """Let it go on as SIGCONT does; what happened meanwhile happens to it now."""
        self.frozen = False
        self._catch_up()

    def stall(self, seconds: Seconds, then: Action) -> None:
        """Keep it busy, as a slow disk does; ``then`` comes before what happened meanwhile."""
        self._stalled = True

        def resume() -> None:
            if self.frozen:
                self._inbox.insert(0, then)
                self._stalled = False
                return
            self._stalled = False
            then()
            self._catch_up()

        self.timeline.after(seconds, lambda: resume() if self.alive else None)

    def die(self) -> None:
        """End it as SIGKILL does."""
        if not self.alive:
            return
        self.alive = False
        self._inbox.clear()
        for action in self._last_will:
            action()

    def _catch_up(self) -> None:
        while self._inbox and not self.waits:
            self._inbox.pop(0)()
