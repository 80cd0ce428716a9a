"""Proofs about a tree: that it holds a leaf, and that it continues an earlier one.

Source: RFC 6962, section 2.1 (what a proof is); RFC 9162, sections 2.1.3.2 and 2.1.4.2 (how it is
verified).
"""

from collections.abc import Callable, Sequence

from qallow_agent.base.errors import BadProof
from qallow_agent.ledger.merkle import EMPTY_ROOT, HASH_BYTES, node_hash

MAX_HASHES = 63
"""No tree of less than 2^63 leaves needs more; a longer proof is junk."""

Nodes = Callable[[int, int], bytes]
"""(height, index) -> root of the full subtree of ``2**height`` leaves that begins at leaf
``index * 2**height``."""


def prove_inclusion(index: int, size: int, nodes: Nodes) -> tuple[bytes, ...]:
    """Return the proof that leaf ``index`` is in the tree of ``size`` leaves, leaf's sibling first.

    Args:
        index: Which leaf, counted from 0.
        size: Leaves of the tree.
        nodes: Full subtrees of the tree.

    Raises:
        ValueError: The tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    return tuple(_path(index, 0, size, nodes))


def prove_consistency(old: int, new: int, nodes: Nodes) -> tuple[bytes, ...]:
    """Return the proof that the tree of ``new`` leaves continues that of ``old`` leaves.

    Raises:
        ValueError: The older tree is empty or larger than the newer one.
    """
    if not 0 < old <= new:
        raise ValueError(f"nothing to prove between trees of {old} and {new} leaves")
    return tuple(_growth(old, 0, new, nodes, whole=True))


def root_of(size: int, nodes: Nodes) -> bytes:
    """Return the root of a tree of at least one leaf.

    Raises:
        ValueError: The tree is empty.
    """
    if size < 1:
        raise ValueError("an empty tree has no subtrees")
    return _root(0, size, nodes)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf is in a tree.

    Args:
        leaf: The leaf's hash.
        index: Its place, counted from 0.
        size: Leaves of the tree.
        proof: Its siblings on the way to the root, the nearest first.
        root: The tree's root.

    Raises:
        BadProof: It is not, or the proof has another shape.
    """
    _check_hashes(proof, leaf, root)
    if not 0 <= index < size:
        raise BadProof(f"a tree of {size} leaves has no leaf {index}")
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise BadProof("an inclusion proof is too long")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    if last or found != root:
        raise BadProof(f"leaf {index} is not proved to be in the tree of {size} leaves")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that a tree continues an earlier one: nothing was changed or taken away.

    Args:
        old: Leaves of the earlier tree.
        new: Leaves of the later tree.
        proof: Hashes that give both roots.
        old_root: Root of the earlier tree.
        new_root: Root of the later tree.

    Raises:
        BadProof: It does not, or the proof has another shape.
    """
    _check_hashes(proof, old_root, new_root)
    if not 0 <= old <= new:
        raise BadProof(f"a tree of {new} leaves cannot continue one of {old}")
    if old in {0, new}:
        wanted = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != wanted:
            raise BadProof(f"trees of {old} and {new} leaves are not consistent")
        return
    hashes = list(proof)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise BadProof("a consistency proof is empty")
    _fold(old, new, hashes, old_root, new_root)


def _fold(old: int, new: int, hashes: list[bytes], old_root: bytes, new_root: bytes) -> None:
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise BadProof("a consistency proof is too long")
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    if last or before != old_root or after != new_root:
        raise BadProof(f"the tree of {new} leaves is not proved to continue that of {old}")


def _check_hashes(proof: Sequence[bytes], *ends: bytes) -> None:
    if len(proof) > MAX_HASHES:
        raise BadProof(f"a proof of {len(proof)} hashes, at most {MAX_HASHES} make sense")
    if any(len(each) != HASH_BYTES for each in (*proof, *ends)):
        raise BadProof(f"a hash is not {HASH_BYTES} bytes long")


def _split(size: int) -> int:
    """Return the largest power of two below a size of at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _root(start: int, size: int, nodes: Nodes) -> bytes:
    """Return the root over ``size`` leaves that begin at a multiple of their power of two."""
    if size & (size - 1) == 0:
        height = size.bit_length() - 1
        return nodes(height, start >> height)
    left = _split(size)
    return node_hash(_root(start, left, nodes), _root(start + left, size - left, nodes))


def _path(index: int, start: int, size: int, nodes: Nodes) -> list[bytes]:
    if size == 1:
        return []
    left = _split(size)
    if index < left:
        return [*_path(index, start, left, nodes), _root(start + left, size - left, nodes)]
    below = _path(index - left, start + left, size - left, nodes)
    return [*below, _root(start, left, nodes)]


def _growth(old: int, start: int, size: int, nodes: Nodes, *, whole: bool) -> list[bytes]:
    """Return SUBPROOF of RFC 6962; ``whole`` while the older tree is this very subtree's."""
    if old == size:
        return [] if whole else [_root(start, size, nodes)]
    left = _split(size)
    if old <= left:
        below = _growth(old, start, left, nodes, whole=whole)
        return [*below, _root(start + left, size - left, nodes)]
    below = _growth(old - left, start + left, size - left, nodes, whole=False)
    return [*below, _root(start, left, nodes)]
