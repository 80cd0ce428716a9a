"""The logs of other nodes that are kept here, each in a folder named after its owner."""

from pathlib import Path

from qallow_agent.base.ids import NodeId
from qallow_agent.ledger.growth import Past
from qallow_agent.runtime.logbook import Logbook

MIRRORED = "mirrored"
"""Where a log's folder keeps what it mirrors."""


class Mirrors:
    """Opens and writes mirrored logs; at most one folder each is held open.

    Args:
        directory: Below which they lie.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._books: dict[str, Logbook] = {}

    def past(self, owner: NodeId) -> Past:
        """Return what is durable of a node's log, read anew.

        Raises:
            StorageCorrupt: It is damaged.
            StorageError: The disk failed.
        """
        before = self._books.pop(owner, None)
        if before is not None:
            before.close()
        book = Logbook(self.directory / owner)
        past = book.open()
        self._books[owner] = book
        return past

    def book(self, owner: str) -> Logbook:
        """Return the book of a log whose past was asked for."""
        return self._books[owner]

    def close(self) -> None:
        """Close every file."""
        for book in self._books.values():
            book.close()
