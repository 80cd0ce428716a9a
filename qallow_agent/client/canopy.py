"""A canopy: the leaves of a Merkle tree as they come, in any order, and the root over them.

Source: RFC 6962, section 2.1.
"""

import hashlib
from typing import Final

from qallow_agent.ledger.merkle import HASH_BYTES, Edge

_CHUNK: Final = 4_096
_NOTHING: Final = bytes(HASH_BYTES)
_NODE: Final = b"\x01"
_PAIR: Final = 2 * HASH_BYTES


class Canopy:
    """Takes in leaves in any order.

    They wait as bare hashes, and as one hash for each 4,096 that are complete: a straggler among
    millions costs next to nothing.
    """

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}
        self._left: dict[int, int] = {}
        self._roots: dict[int, bytes] = {}

    def put(self, index: int, leaves: bytes) -> None:
        """Take in the hashes of consecutive leaves, joined; each comes once."""
        while leaves:
            number, at = divmod(index, _CHUNK)
            part = leaves[: (_CHUNK - at) * HASH_BYTES]
            count = len(part) // HASH_BYTES
            chunk = self._chunks.get(number)
            if chunk is None:
                chunk = self._chunks[number] = bytearray(_CHUNK * HASH_BYTES)
                self._left[number] = _CHUNK
            chunk[at * HASH_BYTES : (at + count) * HASH_BYTES] = part
            self._left[number] -= count
            if not self._left[number]:
                self._roots[number] = _fold(chunk)
                del self._chunks[number], self._left[number]
            index, leaves = index + count, leaves[len(part) :]

    def has(self, index: int) -> bool:
        """Return whether a leaf has come."""
        number, at = divmod(index, _CHUNK)
        chunk = self._chunks.get(number)
        if chunk is None:
            return number in self._roots
        return chunk[at * HASH_BYTES : (at + 1) * HASH_BYTES] != _NOTHING

    def root(self, size: int, absent: bytes) -> bytes:
        """Return the root over so many leaves; ``absent`` stands for each that never came."""
        edge = Edge()
        for number in range(-(-size // _CHUNK)):
            width = min(_CHUNK, size - number * _CHUNK)
            root = self._roots.get(number)
            edge.append(root if root is not None else self._partial(number, width, absent))
        return edge.root()

    def _partial(self, number: int, width: int, absent: bytes) -> bytes:
        chunk = self._chunks.get(number, bytes(_CHUNK * HASH_BYTES))
        edge = Edge()
        for at in range(0, width * HASH_BYTES, HASH_BYTES):
            leaf = bytes(chunk[at : at + HASH_BYTES])
            edge.append(absent if leaf == _NOTHING else leaf)
        return edge.root()


def _fold(hashes: bytes | bytearray) -> bytes:
    """Return the root over a power of two of joined hashes; twice as fast as one by one."""
    sha256 = hashlib.sha256
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            [
                sha256(_NODE + hashes[at : at + _PAIR]).digest()
                for at in range(0, len(hashes), _PAIR)
            ]
        )
    return bytes(hashes)
