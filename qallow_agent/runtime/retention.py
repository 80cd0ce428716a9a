"""Retention by itself: once a day what is older than its owner wants goes from the log's folder."""

from collections.abc import Callable

from qallow_agent.base.errors import StorageError
from qallow_agent.base.machine import Instant
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.logfiles import CHECKPOINT, LogFiles
from qallow_agent.runtime.logprune import prune

EVERY_S: Seconds = 86_400.0
_DAY_MS = 86_400_000


class Retention:
    """Deletes old entries of this node's log; a source of the driver that tells the node nothing.

    Args:
        files: The log's folder.
        days: Entries younger than this stay; 0 keeps all.
        say: Takes what was done, or why it could not be.
    """

    def __init__(self, files: LogFiles, days: int, say: Callable[[Notice], None]) -> None:
        self._files = files
        self._days = days
        self._say = say
        self._due_s: Seconds | None = 0.0 if days else None

    def poll(self, now: Instant) -> list[Message]:
        """Delete what is old, once a day."""
        if self._due_s is None or now.mono_s < self._due_s:
            return []
        self._due_s = now.mono_s + EVERY_S
        if (self._files.directory / CHECKPOINT).exists():
            self._delete(now.wall_ns // 1_000_000 - self._days * _DAY_MS)
        return []

    def next_deadline(self) -> Seconds | None:
        """Return when to look again."""
        return self._due_s

    def _delete(self, before_ms: int) -> None:
        try:
            entries, size_bytes = prune(self._files, before_ms)
        except StorageError as error:
            why: dict[str, str | int | float | bool | None] = {"why": error.message}
            self._say(Notice("ledger.kept", "old entries could not be deleted", "error", why))
            return
        if entries:
            said: dict[str, str | int | float | bool | None] = {
                "entries": entries, "bytes": size_bytes,
            }  # fmt: skip
            self._say(Notice("ledger.pruned", "old entries of the log were deleted", facts=said))
