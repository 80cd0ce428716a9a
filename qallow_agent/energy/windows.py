"""Windows: stretches of at least a second of one device, with what it drew and who was busy.

A window is settled a little later than it ends: by then every runner has told what it did in it.
What a runner is still at counts as busy from the agent's own look at it, so that a task of an
hour does not hold up the windows it spans; its tally at the end is not counted twice.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from qallow_agent.base.ids import LeaseId
from qallow_agent.base.units import Seconds

WINDOW_S: Seconds = 1.0
"""Counters move in steps of 1 to 100 ms: over a second that is noise of a few percent at most."""
LONGEST_S: Seconds = 6.0
"""A counter that stands still is waited for: slow ones are read every 5 s."""
HOLD_S: Seconds = 1.5
"""Runners tell once a second what they did: half a second more is for a busy box."""


@dataclass(slots=True)
class Use:
    """What one lease did in a window.

    Args:
        busy_s: Seconds in which its runner computed.
        ops: Operations finished, as their kernel counts them.
    """

    busy_s: Seconds = 0.0
    ops: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """A settled window.

    Args:
        joules: What the device drew in it; None when its counter began anew or missed some.
        uses: By lease.
    """

    begin_s: Seconds
    end_s: Seconds
    joules: float | None
    uses: dict[LeaseId, Use] = field(default_factory=dict)

    @property
    def length_s(self) -> Seconds:
        """How long it lasted."""
        return self.end_s - self.begin_s


@dataclass(slots=True)
class _Stretch:
    lease: LeaseId
    begin_s: Seconds
    end_s: Seconds
    use: Use

    def part(self, until_s: Seconds) -> Use:
        """Take off and return what was done before a moment, as if it had been done evenly."""
        if self.end_s <= until_s:
            part, self.use = self.use, Use()
            return part
        share = max(0.0, until_s - self.begin_s) / (self.end_s - self.begin_s)
        part = Use(self.use.busy_s * share, self.use.ops * share)
        self.use = Use(self.use.busy_s - part.busy_s, self.use.ops - part.ops)
        self.begin_s = max(self.begin_s, until_s)
        return part


class Windows:
    """Collects samples of a device's counter and what its runners did."""

    def __init__(self) -> None:
        self._begin: tuple[Seconds, float] | None = None
        """When the open window began, and what the counter showed then."""
        self._shown_j = 0.0
        self._doubted = False
        """The counter has fallen since, or says that it missed something."""
        self._closed: deque[Window] = deque()
        self._done: list[_Stretch] = []
        self._at: dict[LeaseId, tuple[Seconds, Seconds]] = {}
        """What a runner is at, as last seen: since when, until when."""
        self._ahead_s: dict[LeaseId, Seconds] = {}
        """Busy seconds that were settled before their tally came."""
        self.settled_s: Seconds = 0.0
        """Everything before this moment is settled."""

    @property
    def begun(self) -> bool:
        """Whether the counter was ever read."""
        return self._begin is not None

    def sample(self, shown_j: float | None, read_s: Seconds) -> None:
        """Take in what the counter showed when it was read; a window long enough is closed.

        A value that is missing is made up for by the next one.
        """
        if shown_j is None:
            return
        if self._begin is None:
            self._begin, self._shown_j, self.settled_s = (read_s, shown_j), shown_j, read_s
            return
        begin_s, begin_j = self._begin
        moved = shown_j != self._shown_j
        self._doubted = self._doubted or shown_j < self._shown_j
        self._shown_j = shown_j
        length_s = read_s - begin_s
        if length_s >= LONGEST_S or (length_s >= WINDOW_S and moved):
            drawn_j = None if self._doubted else shown_j - begin_j
            self._closed.append(Window(begin_s, read_s, drawn_j))
            self._begin, self._doubted = (read_s, shown_j), False

    def doubt(self) -> None:
        """Make the open window unknown: the counter will not make up for what it missed."""
        self._doubted = self._begin is not None

    def working(self, lease: LeaseId, since_s: Seconds, now: Seconds) -> None:
        """Take in that a runner has been at one task since a moment, and still is."""
        self._at[lease] = (since_s, now)

    def worked(self, lease: LeaseId, begin_s: Seconds, end_s: Seconds, use: Use) -> None:
        """Take in what a runner did from its first to its last finished task."""
        at = self._at.get(lease)
        if at is not None and at[0] < end_s:
            del self._at[lease]  # that task is among those told of now
        ahead_s = self._ahead_s.pop(lease, 0.0)
        rest = Use(max(0.0, use.busy_s - ahead_s), use.ops)
        begin_s = max(begin_s, self.settled_s)
        self._done.append(_Stretch(lease, begin_s, max(begin_s, end_s), rest))

    def waiting(self, lease: LeaseId) -> bool:
        """Return whether something that a lease did is not settled yet."""
        _, seen_s = self._at.get(lease, (0.0, self.settled_s))
        return seen_s > self.settled_s or any(each.lease == lease for each in self._done)

    def told(self, lease: LeaseId) -> bool:
        """Return whether everything that was settled for a lease has been told of by its runner."""
        return lease not in self._ahead_s

    def forget(self, lease: LeaseId) -> None:
        """Drop what is left of a lease that is over."""
        self._at.pop(lease, None)
        self._ahead_s.pop(lease, None)
        self._done = [stretch for stretch in self._done if stretch.lease != lease]

    def settle(self, now: Seconds) -> Iterator[Window]:
        """Yield the windows that nothing can be added to any more, with who used them."""
        while self._closed and self._closed[0].end_s <= now - HOLD_S:
            window = self._closed.popleft()
            for stretch in self._done:
                if stretch.begin_s < window.end_s or stretch.end_s <= window.end_s:
                    _add(window, stretch.lease, stretch.part(window.end_s))
            self._done = [each for each in self._done if each.end_s > window.end_s]
            for lease, (since_s, until_s) in self._at.items():
                busy_s = min(until_s, window.end_s) - max(since_s, window.begin_s)
                if busy_s > 0:
                    _add(window, lease, Use(busy_s))
                    self._ahead_s[lease] = self._ahead_s.get(lease, 0.0) + busy_s
            self.settled_s = window.end_s
            yield window


def _add(window: Window, lease: LeaseId, use: Use) -> None:
    known = window.uses.setdefault(lease, Use())
    known.busy_s += use.busy_s
    known.ops += use.ops
