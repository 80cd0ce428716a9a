"""Tiles: the hashes and entries of a log as files that never change once they are full.

Source: C2SP tlog-tiles, v1.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from qallow_agent.base.errors import Malformed
from qallow_agent.ledger.merkle import HASH_BYTES, node_hash

WIDTH = 256
"""Hashes of a full tile, and entries of a full bundle."""

HEIGHT = 8
MAX_LEVEL = 63
MAX_ENTRY_BYTES = (1 << 16) - 1
ENTRIES = "entries"

_LENGTH_BYTES = 2
_GROUP = 1000


@dataclass(frozen=True, slots=True)
class Tile:
    """A place in the tree: ``width`` hashes of full subtrees of ``256**level`` leaves each.

    Args:
        level: 0 for hashes of leaves; -1 for the entries themselves.
        index: Which of its level, counted from 0.
        width: 1 to 256; below 256 the tile is still growing.
    """

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it lies below a log's folder, e.g. ``tile/0/x001/234.p/7``."""
        level = ENTRIES if self.level < 0 else str(self.level)
        digits = f"{self.index % _GROUP:03d}"
        rest = self.index // _GROUP
        while rest:
            digits = f"x{rest % _GROUP:03d}/{digits}"
            rest //= _GROUP
        return f"tile/{level}/{digits}" + (f".p/{self.width}" if self.width < WIDTH else "")


def parse_path(path: str) -> Tile:
    """Return the tile that lies at a path.

    Raises:
        Malformed: No tile does.
    """
    whole, _, width = path.partition(".p/")
    head, level, *groups = (*whole.split("/", 2), "", "")[:3]
    index = 0
    for place, group in enumerate(parts := groups[0].split("/")):
        digits = group.removeprefix("x") if place < len(parts) - 1 else group
        if not (digits.isascii() and digits.isdigit()):
            raise Malformed(f"{path[:80]!r} is no path of a tile")
        index = index * _GROUP + int(digits)
    number = -1 if level == ENTRIES else int(level) if level.isascii() and level.isdigit() else -2
    tile = Tile(number, index, int(width) if width.isascii() and width.isdigit() else WIDTH)
    sound = -1 <= tile.level <= MAX_LEVEL and 0 < tile.width <= WIDTH and head == "tile"
    if not sound or tile.path != path:  # one spelling only, or two paths would name one tile
        raise Malformed(f"{path[:80]!r} is no path of a tile")
    return tile


def tiles_of(size: int, *, after: int = 0) -> Iterator[Tile]:
    """Yield the tiles of a log of ``size`` entries that one of ``after`` entries does not have.

    Bundles of entries come first, then hashes from the leaves upwards; partial tiles included.
    """
    for level in (-1, *range(MAX_LEVEL + 1)):
        shift = HEIGHT * max(level, 0)
        hashes, known = size >> shift, after >> shift
        if not hashes:
            return
        for index in range(known // WIDTH, -(-hashes // WIDTH)):
            width = min(WIDTH, hashes - index * WIDTH)
            if index * WIDTH + width > known:
                yield Tile(level, index, width)


def pack_entries(entries: Iterable[bytes]) -> bytes:
    """Return a bundle: each entry behind its length, big-endian in two bytes.

    Raises:
        ValueError: An entry is longer than 65,535 bytes.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry of {len(entry)} bytes, at most {MAX_ENTRY_BYTES}")
        parts += (len(entry).to_bytes(_LENGTH_BYTES), entry)
    return b"".join(parts)


def unpack_entries(bundle: bytes) -> tuple[bytes, ...]:
    """Return the entries of a bundle.

    Raises:
        Malformed: It ends in the middle of an entry, or holds more than 256.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(bundle[start - _LENGTH_BYTES : start])
        if start > len(bundle) or at > len(bundle):
            raise Malformed("a bundle ends in the middle of an entry")
        entries.append(bundle[start:at])
    if len(entries) > WIDTH:
        raise Malformed(f"a bundle of {len(entries)} entries, at most {WIDTH}")
    return tuple(entries)


def whole_entries(bundle: bytes, most: int = WIDTH) -> list[bytes]:
    """Return the entries of a bundle up to where it is torn."""
    entries: list[bytes] = []
    at = 0
    while len(entries) < most:
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(bundle[at:start])
        if start > len(bundle) or end > len(bundle):
            break
        entries.append(bundle[start:end])
        at = end
    return entries


def unpack_hashes(data: bytes, width: int) -> tuple[bytes, ...]:
    """Return the hashes of a tile.

    Raises:
        Malformed: They are not as many as its width.
    """
    if len(data) != width * HASH_BYTES:
        raise Malformed(f"a tile of {width} hashes is {len(data)} bytes long")
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [
            node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


class TiledTree:
    """Reads full subtrees of a log from its tiles; what :mod:`proofs` asks for.

    Args:
        size: Entries of the log; says which tiles are partial.
        read: Tile -> its bytes. May raise what it likes; it passes through.
    """

    def __init__(self, size: int, read: Callable[[Tile], bytes]) -> None:
        self._size = size
        self._read = read
        self._held: dict[Tile, tuple[bytes, ...]] = {}

    def node(self, height: int, index: int) -> bytes:
        """Return the root of the full subtree of ``2**height`` leaves at ``index * 2**height``.

        Raises:
            Malformed: A tile is not what it should be, or the log is not that long.
        """
        level, above = divmod(height, HEIGHT)
        first = index << above
        tile_index, at = divmod(first, WIDTH)
        hashes = self._tile(level, tile_index)
        chosen = hashes[at : at + (1 << above)]
        if len(chosen) != 1 << above:
            raise Malformed(f"the log of {self._size} entries has no subtree {index} of 2^{height}")
        return fold(chosen)

    def _tile(self, level: int, index: int) -> tuple[bytes, ...]:
        width = min(WIDTH, (self._size >> (HEIGHT * level)) - index * WIDTH)
        if width < 1:
            raise Malformed(f"the log of {self._size} entries has no tile {index} of level {level}")
        tile = Tile(level, index, width)
        if tile not in self._held:
            self._held[tile] = unpack_hashes(self._read(tile), width)
        return self._held[tile]
