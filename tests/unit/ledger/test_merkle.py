"""Trees and proofs against the published vectors of Certificate Transparency."""

import hashlib

import pytest

from qallow_agent.base.errors import BadProof
from qallow_agent.ledger.merkle import EMPTY_ROOT, Edge, leaf_hash, node_hash
from qallow_agent.ledger.proofs import (
    MAX_HASHES,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
"""Source: the reference implementation of RFC 6962 (merkle_tree_test.cc)."""

INCLUSION_OF_6_IN_8 = (
    leaf_hash(ENTRIES[7]).hex(),
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
)
CONSISTENCY_OF_6_AND_8 = (
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
)
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def node(height: int, index: int) -> bytes:
    if height == 0:
        return LEAVES[index]
    return node_hash(node(height - 1, 2 * index), node(height - 1, 2 * index + 1))


def root_of(size: int) -> bytes:
    return bytes.fromhex(ROOTS[size - 1]) if size else EMPTY_ROOT


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert Edge().root() == hashlib.sha256(b"").digest()


def test_a_growing_tree_has_the_published_roots() -> None:
    edge = Edge()
    for size, leaf in enumerate(LEAVES, start=1):
        edge.append(leaf)
        assert (edge.size, edge.root()) == (size, root_of(size))


def test_an_edge_goes_on_from_what_was_kept_of_it() -> None:
    edge = Edge()
    for leaf in LEAVES[:5]:
        edge.append(leaf)
    later = Edge(edge.size, edge.roots)
    for leaf in LEAVES[5:]:
        later.append(leaf)
    assert later.root() == root_of(8)


@pytest.mark.parametrize(("size", "roots"), [(3, [b"x"]), (-1, []), (0, [b"x"])])
def test_an_edge_that_cannot_be_is_refused(size: int, roots: list[bytes]) -> None:
    with pytest.raises(ValueError, match="do not make a tree"):
        Edge(size, roots)


def test_proofs_are_the_published_ones() -> None:
    assert [each.hex() for each in prove_inclusion(6, 8, node)] == list(INCLUSION_OF_6_IN_8)
    assert [each.hex() for each in prove_consistency(6, 8, node)] == list(CONSISTENCY_OF_6_AND_8)


def test_every_proof_of_small_trees_verifies() -> None:
    for size in range(1, 9):
        for index in range(size):
            proof = prove_inclusion(index, size, node)
            verify_inclusion(LEAVES[index], index, size, proof, root_of(size))
        for old in range(1, size + 1):
            proof = prove_consistency(old, size, node)
            verify_consistency(old, size, proof, root_of(old), root_of(size))
        verify_consistency(0, size, (), root_of(0), root_of(size))


def test_a_leaf_elsewhere_is_not_proved() -> None:
    proof = prove_inclusion(6, 8, node)
    for index in (5, 7, -1, 8):
        with pytest.raises(BadProof):
            verify_inclusion(LEAVES[6], index, 8, proof, root_of(8))


def test_proofs_of_other_lengths_are_refused() -> None:
    proof = prove_inclusion(6, 8, node)
    for wrong in (proof[:-1], (*proof, LEAVES[0]), (), (LEAVES[0],) * (MAX_HASHES + 1)):
        with pytest.raises(BadProof):
            verify_inclusion(LEAVES[6], 6, 8, wrong, root_of(8))
    proof = prove_consistency(3, 7, node)
    for wrong in (proof[:-1], (*proof, LEAVES[0]), (), (LEAVES[0],) * (MAX_HASHES + 1)):
        with pytest.raises(BadProof):
            verify_consistency(3, 7, wrong, root_of(3), root_of(7))


def test_hashes_of_another_length_are_refused() -> None:
    with pytest.raises(BadProof, match="32 bytes"):
        verify_inclusion(LEAVES[0], 0, 2, (b"short",), root_of(2))


def test_a_tree_cannot_shrink_or_change() -> None:
    with pytest.raises(BadProof):
        verify_consistency(4, 3, (), root_of(4), root_of(3))
    with pytest.raises(BadProof):
        verify_consistency(3, 3, (), root_of(3), root_of(4))
    with pytest.raises(BadProof):
        verify_consistency(0, 3, (LEAVES[0],), root_of(0), root_of(3))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no leaf"):
        prove_inclusion(index, size, node)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3)])
def test_there_is_no_proof_between_trees_that_do_not_grow(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="nothing to prove"):
        prove_consistency(old, new, node)
