"""Tiles: their paths, their bytes, and the tree that is read from them."""

import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.ledger.merkle import Edge, leaf_hash
from qallow_agent.ledger.proofs import prove_consistency, prove_inclusion, verify_consistency
from qallow_agent.ledger.proofs import verify_inclusion as verify_in
from qallow_agent.ledger.tiles import (
    MAX_ENTRY_BYTES,
    Tile,
    TiledTree,
    fold,
    pack_entries,
    parse_path,
    tiles_of,
    unpack_entries,
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 0, 17), "tile/1/000.p/17"),
        (Tile(-1, 273, 112), "tile/entries/273.p/112"),
        (Tile(63, 999), "tile/63/999"),
    ],
)
def test_a_tile_lies_where_the_standard_says(tile: Tile, path: str) -> None:
    assert (tile.path, parse_path(path)) == (path, tile)


@pytest.mark.parametrize(
    "path",
    ["", "tile", "tile/0", "tile/0/0", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/0/x001",
     "tile/0/001/234", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/07",
     "tile/0/000.p/", "tile/-1/000", "tile/hash/000", "../tile/0/000", "tile/0/../000",
     "tile/0/000/", "tile/0/000.p/1.p/1", "tile/0/\u0660\u0660\u0660"],
)  # fmt: skip
def test_what_is_no_path_of_a_tile_is_refused(path: str) -> None:
    with pytest.raises(Malformed):
        parse_path(path)


def test_a_log_of_70000_entries_has_the_tiles_of_the_standards_example() -> None:
    tiles = list(tiles_of(70_000))
    hashes = [tile for tile in tiles if tile.level >= 0]
    assert sum(tile.level == 0 and tile.width == 256 for tile in hashes) == 273
    partial = [(tile.level, tile.width) for tile in hashes if tile.width < 256]
    assert partial == [(0, 112), (1, 17), (2, 1)]
    assert sum(tile.level < 0 for tile in tiles) == 274


def test_256_entries_fill_a_tile_and_begin_the_next_level() -> None:
    tiles = {(tile.level, tile.width) for tile in tiles_of(256)}
    assert tiles == {(-1, 256), (0, 256), (1, 1)}


def test_growth_rewrites_only_what_changed() -> None:
    paths = [tile.path for tile in tiles_of(600, after=520)]
    assert paths == ["tile/entries/002.p/88", "tile/0/002.p/88"]
    assert list(tiles_of(600, after=600)) == []
    assert list(tiles_of(0)) == []


def test_a_bundle_gives_its_entries_back() -> None:
    entries = (b"", b"one", b"x" * MAX_ENTRY_BYTES)
    assert unpack_entries(pack_entries(entries)) == entries
    assert pack_entries([b"ab"]) == b"\x00\x02ab"


def test_an_entry_that_is_too_long_is_not_packed() -> None:
    with pytest.raises(ValueError, match="at most"):
        pack_entries([b"x" * (MAX_ENTRY_BYTES + 1)])


@pytest.mark.parametrize("bundle", [b"\x00", b"\x00\x02a", b"\x00\x00" * 257])
def test_a_torn_bundle_is_refused(bundle: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_entries(bundle)


def write(size: int) -> tuple[dict[str, bytes], list[bytes]]:
    """Write a log's hash tiles the slow way; return them by path, and its leaves."""
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]
    level, hashes, files = 0, leaves, {}
    while hashes:
        for index in range(-(-len(hashes) // 256)):
            part = hashes[index * 256 : (index + 1) * 256]
            files[Tile(level, index, len(part)).path] = b"".join(part)
        full = len(hashes) // 256
        hashes = [fold(hashes[at * 256 : (at + 1) * 256]) for at in range(full)]
        level += 1
    return files, leaves


def test_every_tile_of_a_log_is_named() -> None:
    files, _ = write(66_000)
    assert {tile.path for tile in tiles_of(66_000) if tile.level >= 0} == set(files)


def test_proofs_are_read_from_tiles() -> None:
    size = 1_003
    files, leaves = write(size)
    tree = TiledTree(size, lambda tile: files[tile.path])
    edges = {0: Edge()}
    for number, leaf in enumerate(leaves, start=1):
        edges[number] = Edge(number - 1, edges[number - 1].roots)
        edges[number].append(leaf)
    root = edges[size].root()
    for index in (0, 1, 255, 256, 700, 1_002):
        verify_in(leaves[index], index, size, prove_inclusion(index, size, tree.node), root)
    for old in (1, 2, 255, 256, 257, 512, 1_002, 1_003):
        proof = prove_consistency(old, size, tree.node)
        verify_consistency(old, size, proof, edges[old].root(), root)


def test_a_subtree_beyond_the_log_is_refused() -> None:
    files, _ = write(300)
    tree = TiledTree(300, lambda tile: files[tile.path])
    for height, index in ((0, 300), (3, 37), (8, 1), (16, 0)):
        with pytest.raises(Malformed):
            tree.node(height, index)


def test_a_tile_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed, match="bytes long"):
        TiledTree(3, lambda _: b"short").node(0, 0)
