"""Leaves of any content, and bytes of any kind."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.base.errors import PeerError
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.ledger.growth import Growth
from qallow_agent.ledger.leaf import NEVER_US, Leaf, LeafKind, parse_leaf
from qallow_agent.ledger.merkle import Edge, leaf_hash
from qallow_agent.ledger.tiles import WIDTH, Tile, TiledTree, fold

times = st.integers(0, NEVER_US)
leaves = st.builds(
    lambda kind, stamp, first, second, policy, body: Leaf(
        kind, NodeId("abc234" * 4 + "zz"), stamp, min(first, second), max(first, second), policy,
        body,
    ),
    st.sampled_from(LeafKind),
    st.builds(Stamp, st.integers(0, 2**64 - 1), st.integers(0, 2**16 - 1)),
    times,
    times,
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=300),
)  # fmt: skip


@given(leaves)
def test_every_leaf_is_read_as_it_was_written(leaf: Leaf) -> None:
    assert parse_leaf(leaf.encode()) == leaf


@given(leaves, st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_never_passes(leaf: Leaf, at: int, by: int) -> None:
    entry = bytearray(leaf.encode())
    entry[at % len(entry)] ^= by
    with contextlib.suppress(PeerError):
        raise AssertionError(parse_leaf(bytes(entry)))


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda junk: b"qal\x01" + junk))
def test_junk_raises_only_peer_errors(junk: bytes) -> None:
    with contextlib.suppress(PeerError):
        assert parse_leaf(junk).encode() == junk


HASHES = [leaf_hash(number.to_bytes(4)) for number in range(66_000)]


@given(st.integers(0, 1_500), st.integers(0, 600))
def test_a_growing_log_can_be_put_down_and_taken_up_anywhere(size: int, more: int) -> None:
    growth, edge, full = Growth(), Edge(), dict[Tile, bytes]()
    for leaf in HASHES[:size]:
        full.update(growth.append(leaf))
        edge.append(leaf)
    again = Growth(growth.size, growth.levels)
    for leaf in HASHES[size : size + more]:
        full.update(again.append(leaf))
        edge.append(leaf)
    assert (again.size, again.root()) == (size + more, edge.root())
    assert set(full) == {Tile(0, index) for index in range((size + more) // WIDTH)}
    for tile, data in full.items():
        assert data == b"".join(HASHES[tile.index * WIDTH : (tile.index + 1) * WIDTH])


def test_a_log_hands_out_its_second_level_when_that_is_full() -> None:
    growth, edge, full = Growth(), Edge(), dict[Tile, bytes]()
    for leaf in HASHES:
        full.update(growth.append(leaf))
        edge.append(leaf)
    assert len(full) == 257 + 1
    assert full[Tile(1, 0)][:32] == fold(HASHES[:WIDTH])
    assert growth.root() == edge.root() == Growth(growth.size, growth.levels).root()
    growing = {
        Tile(level, *growth.growing(level)[:1], width=len(hashes)): b"".join(hashes)
        for level, hashes in enumerate(growth.levels)
        if hashes
    }
    tree = TiledTree(growth.size, (full | growing).__getitem__)
    assert tree.node(16, 0) == fold(HASHES[: 1 << 16])
