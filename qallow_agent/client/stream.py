"""The way from the mesh's thread to whoever iterates over a sweep."""

from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from qallow_agent.client.results import Block
from qallow_agent.jobs.messages import JobProgress

MOST_AHEAD_BYTES = 256 << 20
"""Results that may wait for a slow reader; then no more work is sent out until it catches up."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Points without a result, and why."""

    start: int
    points: int
    error: Exception


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more will come; ``error`` when the job was ended by something else than a point."""

    error: Exception | None = None


Item = Block | Gap | JobProgress | End


class Stream:
    """Carries a sweep's items from one writer to one reader."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._put_bytes = 0
        self._taken_bytes = 0
        self.hungry = False
        """Whether the reader waits. Then it is not behind, whatever it holds back for order."""
        self.notify: Callable[[], None] | None = None
        """Called by the writer after each item, for readers that must not block."""
        self.bounded = True
        """Whether work waits for a reader that is far behind."""
        self.holds: object = None
        """What must stay alive until the end, when nobody reads."""
        self._unread = False

    @property
    def full(self) -> bool:
        """Whether the reader is far behind."""
        if self.hungry or not self.bounded:
            return False
        return self._put_bytes - self._taken_bytes > MOST_AHEAD_BYTES

    def put(self, item: Item) -> None:
        """Hand an item to the reader."""
        if isinstance(item, Block):
            self._put_bytes += item.size_bytes
        self._items.put(item)
        if self._unread:
            self._discard()
        elif self.notify is not None:
            self.notify()

    def get(self, timeout_s: float) -> Item | None:
        """Return the next item; None when there was none in time."""
        self.hungry = True
        try:
            return self._items.get(timeout=timeout_s) if timeout_s > 0 else self._items.get_nowait()
        except Empty:
            return None
        finally:
            self.hungry = False

    def let_go(self, holds: object) -> None:
        """Take items in without keeping them, as nobody will read any.

        Args:
            holds: What must stay alive until the end.
        """
        self.holds = holds
        self._unread = True
        self.bounded = False
        self._discard()

    def used(self, block: Block) -> bool:
        """Note that the reader is done with a block; return whether that made room."""
        was_full = self._put_bytes - self._taken_bytes > MOST_AHEAD_BYTES
        self._taken_bytes += block.size_bytes
        return was_full

    def _discard(self) -> None:
        while (item := self.get(0.0)) is not None:
            if isinstance(item, End):
                self.holds = None
