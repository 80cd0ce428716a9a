"""The growing end of a log: its tiles that are not full yet, and what a new leaf does to them."""

from collections.abc import Sequence
from dataclasses import dataclass

from qallow_agent.ledger.merkle import Edge
from qallow_agent.ledger.tiles import HEIGHT, WIDTH, Tile, fold

Level = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """What a log finds of itself at a start; the storage has verified it.

    Args:
        size: Entries that are durable.
        levels: Hashes of the tiles that are not full yet, from the leaves upwards.
        head: The newest signed checkpoint; empty when there is none.
        began: Whether one is known to have been there, from elsewhere.
    """

    size: int = 0
    levels: tuple[Level, ...] = ()
    head: bytes = b""
    began: bool = False


class Growth:
    """Takes leaf hashes in, knows the root, and hands out each tile when it gets full.

    Args:
        size: Leaves so far.
        levels: Hashes of the tiles that are not full yet, from the leaves upwards.

    Raises:
        ValueError: The hashes are not as many as that size leaves over.
    """

    def __init__(self, size: int = 0, levels: Sequence[Level] = ()) -> None:
        self._levels = [list(level) for level in levels]
        if [len(level) for level in self._levels] != widths(size):
            raise ValueError(f"these are not the growing tiles of a log of {size} entries")
        self._edge = Edge(size, _roots(self._levels))

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._edge.size

    @property
    def levels(self) -> tuple[Level, ...]:
        """Hashes of the tiles that are not full yet, from the leaves upwards."""
        return tuple(tuple(level) for level in self._levels)

    def root(self) -> bytes:
        """Return the root over all leaves."""
        return self._edge.root()

    def growing(self, level: int) -> tuple[int, list[bytes]]:
        """Return which tile of a level grows, and the hashes it has; they are not copied."""
        index = (self.size >> (HEIGHT * level)) // WIDTH
        return index, self._levels[level] if level < len(self._levels) else []

    def append(self, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """Take in the hash of one more leaf; return the tiles that it made full."""
        self._edge.append(leaf)
        full: list[tuple[Tile, bytes]] = []
        carried = leaf
        for level in range(len(self._levels) + 1):
            if level == len(self._levels):
                self._levels.append([])
            hashes = self._levels[level]
            hashes.append(carried)
            if len(hashes) < WIDTH:
                break
            index = (self.size >> (HEIGHT * level)) // WIDTH - 1
            full.append((Tile(level, index), b"".join(hashes)))
            carried = fold(hashes)
            self._levels[level] = []
        return full


def widths(size: int) -> list[int]:
    """Return how many hashes each growing tile has, from the leaves upwards."""
    found: list[int] = []
    while size:
        found.append(size % WIDTH)
        size //= WIDTH
    return found


def _roots(levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the roots of the full subtrees that growing tiles stand for, the largest first."""
    roots: list[bytes] = []
    for hashes in reversed(levels):
        at = 0
        for height in reversed(range(HEIGHT)):
            if len(hashes) >> height & 1:
                roots.append(fold(hashes[at : at + (1 << height)]))
                at += 1 << height
    return roots
