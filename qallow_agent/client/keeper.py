"""A keeper: collects a job's results and deposits them with the desk, part by part."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qallow_agent.base.errors import QallowError, StorageCorrupt, revive
from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Failure, Message
from qallow_agent.client.results import Block
from qallow_agent.client.scribe import Scribe
from qallow_agent.client.switch import Switch
from qallow_agent.jobs.messages import Deposit

PART_BYTES: Final = 4 << 20
MOST_KEPT_BYTES: Final = 1 << 30
"""No desk retains more; its own limit is usually far lower, and it says so."""

_log = logging.getLogger(__name__)


class Keeper:
    """Keeps what is to be retained until the job is done."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._bytes = 0

    def add(self, block: Block) -> None:
        """Keep one more result."""
        self._bytes += block.size_bytes
        if self._bytes <= MOST_KEPT_BYTES:
            self._blocks.append(block)
        else:
            self._blocks.clear()

    def deposit(
        self, job: JobId, desk: Switch, heard: Callable[[], None], done: Callable[[], None]
    ) -> None:
        """Bring everything to the desk, one part after the other; call ``done`` at the end.

        ``heard`` is called with every answer: the deadline of the next one starts anew. A desk that
        refuses (its space is used up) is logged and no failure of the job.
        """
        from qallow_agent.client.arrays import archive_of  # noqa: PLC0415 - brings NumPy

        if not self._blocks:
            done()
            return
        try:
            data = memoryview(archive_of(self._blocks))
        except QallowError as error:
            _log.warning("the result of %s is not retained: %s", job, error.message)
            done()
            return
        self._blocks = []
        count = -(-len(data) // PART_BYTES)

        def bring(part: int) -> None:
            piece = bytes(data[part * PART_BYTES : (part + 1) * PART_BYTES])
            last = part == count - 1
            desk.post(Deposit(job, part, piece, last), lambda answer: brought(part, answer))

        def brought(part: int, answer: Message) -> None:
            heard()
            if isinstance(answer, Failure):
                _log.warning("the result of %s is not retained: %s", job, answer.message)
            elif part < count - 1:
                bring(part + 1)
                return
            done()

        bring(0)


class Recall:
    """Takes in a retained result, part by part.

    Args:
        points: Points of the sweep; 0 for a single evaluation.
        heard: Called with every part: the deadline of the next one starts anew.
        done: Called with the result, or with why there is none.
    """

    def __init__(
        self,
        points: int,
        heard: Callable[[], None],
        done: Callable[[Block | QallowError], None],
    ) -> None:
        self._points = points
        self._heard = heard
        self._done = done
        self._data = bytearray()

    def take(self, message: Message) -> None:
        """Take in one answer of the desk."""
        from qallow_agent.client.arrays import block_of  # noqa: PLC0415 - brings NumPy

        self._heard()
        if isinstance(message, Failure):
            self._done(revived(message))
        elif isinstance(message, Deposit):
            self._data += message.data
            if not message.last:
                return
            try:
                block = block_of(bytes(self._data), self._points)
            except StorageCorrupt as error:
                self._done(error)
            else:
                self._done(block)


def revived(failure: Failure) -> QallowError:
    """Return the error that a Failure describes."""
    return revive(failure.code, failure.message, hint=failure.hint, retryable=failure.retryable)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Who keeps what of a job: its results for later, the states of its long runs; or nobody."""

    keeper: Keeper | None = None
    scribe: Scribe | None = None
