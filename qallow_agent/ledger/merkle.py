"""The Merkle tree of a log: hashes of leaves and nodes, and the edge that grows.

Source: RFC 6962, section 2.1.
"""

import hashlib
from collections.abc import Iterable

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry as a leaf."""
    return hashlib.sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over its two children."""
    return hashlib.sha256(_NODE + left + right).digest()


class Edge:
    """The right edge of a tree: what must be kept to append leaves and to know the root.

    For each one in the binary form of its size it holds the root of a full subtree, the largest
    first, so it needs 64 hashes at most.

    Args:
        size: Leaves so far.
        roots: Roots of the full subtrees that they make, the largest first.

    Raises:
        ValueError: The number of roots does not fit the size.
    """

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self._size = size
        self._roots = list(roots)
        if size < 0 or len(self._roots) != size.bit_count():
            raise ValueError(f"{len(self._roots)} subtrees do not make a tree of {size} leaves")

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self._size

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Roots of the full subtrees, the largest first."""
        return tuple(self._roots)

    def append(self, leaf: bytes) -> None:
        """Take in the hash of one more leaf."""
        roots, carried = self._roots, leaf
        size = self._size
        while size & 1:
            carried = node_hash(roots.pop(), carried)
            size >>= 1
        roots.append(carried)
        self._size += 1

    def root(self) -> bytes:
        """Return the root over all leaves."""
        if not self._roots:
            return EMPTY_ROOT
        *above, root = self._roots
        for larger in reversed(above):
            root = node_hash(larger, root)
        return root
