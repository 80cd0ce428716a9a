"""A log on a virtual disk: what the real logbook keeps in files, in memory."""

from collections.abc import Callable, Sequence

from qallow_agent.base.errors import InvariantBroken, StorageError
from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.growth import Growth, Past
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.note import parse_note
from qallow_agent.ledger.tiles import WIDTH, Tile, pack_entries


class VirtualLogbook:
    """Keeps one log over every boot of a box.

    Args:
        check: Raises StorageError while the disk does not take anything.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.entries: list[bytes] = []
        self.head = b""
        self._check = check
        self._growth = Growth()
        self._tiles: dict[Tile, bytes] = {}
        self._broken = False

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return len(self.entries)

    def open(self) -> Past:
        """Return what the log holds."""
        self._broken = False
        return Past(self.size, self._growth.levels, self.head)

    def append(self, first: int, entries: Sequence[bytes], head: bytes = b"") -> None:
        """Make entries durable, then the signed head that covers them.

        Raises:
            StorageError: As the disk's state says; nothing was written.
            InvariantBroken: The head is not that of these entries.
        """
        if self._broken:
            raise StorageError("the log was not written before")
        if first != self.size:
            raise StorageError(f"entry {first} waits for entry {self.size}", retryable=True)
        try:
            self._check()
        except StorageError as error:
            self._broken = not error.retryable
            raise
        for entry in entries:
            self.entries.append(entry)
            self._tiles.update(self._growth.append(leaf_hash(entry)))
        if head:
            checkpoint = parse_checkpoint(parse_note(head).text)
            if (checkpoint.size, checkpoint.root) != (self.size, self._growth.root()):
                raise InvariantBroken(f"a head of {checkpoint.size} entries is not the log's")
            self.head = head

    def read(self, tile: Tile) -> bytes:
        """Return a durable tile's bytes; level -1 gives a bundle cut to the tile's width."""
        if tile.level >= 0:
            return self._tiles[tile]
        first = tile.index * WIDTH
        return pack_entries(self.entries[first : first + tile.width])
