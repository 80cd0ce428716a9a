"""The files of a log, read: C2SP tlog-tiles, of which the last bundle may still be growing.

    checkpoint            the newest signed head
    tile/entries/...      bundles of entries; the last one grows under its final name
    tile/0/... tile/1/... hashes, from the leaves upwards

Entries are the truth. A tile of hashes that is missing is made anew from what lies below it.
"""

from pathlib import Path

from qallow_agent.base.errors import Malformed, StorageCorrupt
from qallow_agent.ledger.checkpoint import Checkpoint, parse_checkpoint
from qallow_agent.ledger.leaf import parse_leaf
from qallow_agent.ledger.log import RESTORE
from qallow_agent.ledger.merkle import HASH_BYTES, leaf_hash
from qallow_agent.ledger.note import Note, parse_note
from qallow_agent.ledger.tiles import WIDTH, Tile, fold, unpack_hashes, whole_entries

CHECKPOINT = "checkpoint"
PRUNED = "pruned"
"""How many entries were deleted from the beginning of a log; a multiple of 256."""

LEDGER = "ledger"
"""Where the state directory keeps logs, each in a folder named after its mesh."""

LENGTH_BYTES = 2


class LogFiles:
    """Reads one log's folder; never writes.

    Args:
        directory: The folder that holds ``checkpoint`` and ``tile``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, tile: Tile) -> Path:
        """Return where a tile lies."""
        return self.directory / tile.path

    def head(self) -> tuple[Note, Checkpoint] | None:
        """Return the newest signed head, or None when there is none yet; no signature is checked.

        Raises:
            StorageCorrupt: It is no checkpoint, or cannot be read.
        """
        path = self.directory / CHECKPOINT
        try:
            note = parse_note(path.read_bytes())
            return note, parse_checkpoint(note.text)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        except Malformed as error:
            raise StorageCorrupt(f"{path}: {error.message}", hint=RESTORE) from error

    def pruned(self) -> int:
        """Return how many of the first entries were deleted by rule; their hashes are kept.

        Raises:
            StorageCorrupt: What says so cannot be read.
        """
        path = self.directory / PRUNED
        try:
            return int(path.read_text())
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error

    def bundle(self, index: int) -> bytes:
        """Return the bytes of a bundle as they lie there; empty when there is none.

        An exported folder holds the last one as a partial tile.

        Raises:
            StorageCorrupt: The file cannot be read.
        """
        path = self.path(Tile(-1, index))
        partial = path.with_name(path.name + ".p")
        try:
            if not path.exists() and partial.is_dir():
                path = max(partial.iterdir(), key=lambda each: int(each.name), default=path)
            return path.read_bytes()
        except FileNotFoundError:
            return b""
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error

    def entries(self, index: int, width: int = WIDTH) -> list[bytes]:
        """Return the first entries of a bundle.

        Raises:
            StorageCorrupt: It has fewer.
        """
        found = whole_entries(self.bundle(index), width)
        if not found and index * WIDTH < self.pruned():
            raise StorageCorrupt(
                f"entry {index * WIDTH} was deleted from {self.directory} by rule",
                hint="look for it at a mirror, or in an earlier export",
            )
        if len(found) < width:
            raise StorageCorrupt(
                f"{self.path(Tile(-1, index))} ends before entry {index * WIDTH + len(found)}",
                hint=RESTORE,
            )
        return found

    def hashes(self, level: int, index: int, width: int = WIDTH) -> tuple[bytes, ...]:
        """Return the first hashes of a tile, made from what lies below when it is not there.

        Raises:
            StorageCorrupt: What lies below is not there either.
        """
        stored = self._stored(Tile(level, index)) or self._stored(Tile(level, index, width))
        if stored:
            return stored[:width]
        if level == 0:
            return tuple(leaf_hash(entry) for entry in self.entries(index, width))
        return tuple(fold(self.hashes(level - 1, index * WIDTH + at)) for at in range(width))

    def read(self, tile: Tile) -> bytes:
        """Return a tile's bytes; level -1 gives a bundle cut to the tile's width.

        Raises:
            StorageCorrupt: The files do not hold it.
        """
        if tile.level >= 0:
            return b"".join(self.hashes(tile.level, tile.index, tile.width))
        size = sum(LENGTH_BYTES + len(entry) for entry in self.entries(tile.index, tile.width))
        return self.bundle(tile.index)[:size]

    def _stored(self, tile: Tile) -> tuple[bytes, ...]:
        path = self.path(tile)
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise unreadable(path, error) from error
        return unpack_hashes(data, tile.width) if len(data) == tile.width * HASH_BYTES else ()


def sound(entry: bytes) -> bool:
    """Return whether an entry is a whole leaf, of whatever version."""
    try:
        parse_leaf(entry)
    except Malformed as error:
        return bool(error.hint)  # of a newer release
    return True


def unreadable(path: Path, error: Exception) -> StorageCorrupt:
    """Return why a file cannot be read."""
    why = error.strerror if isinstance(error, OSError) else error
    return StorageCorrupt(f"{path} cannot be read: {why}", hint="check the disk")
