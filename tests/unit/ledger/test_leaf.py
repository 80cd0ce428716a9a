import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.ledger.leaf import HEADER_BYTES, MAX_BODY_BYTES, Leaf, LeafKind, parse_leaf
from qallow_agent.ledger.tiles import MAX_ENTRY_BYTES

LEAF = Leaf(LeafKind.POLICY, NodeId("a" * 26), Stamp(5, 1), 4_000, 6_000, bytes(32), b"body")
ENTRY = LEAF.encode()


def test_a_leaf_is_read_as_it_was_written() -> None:
    assert parse_leaf(ENTRY) == LEAF
    assert len(ENTRY) == HEADER_BYTES + 4


def test_1600_records_of_40_bytes_fit_into_one_leaf() -> None:
    assert MAX_BODY_BYTES >= 1_600 * 40
    assert HEADER_BYTES + MAX_BODY_BYTES == MAX_ENTRY_BYTES


@pytest.mark.parametrize("at", range(len(ENTRY)))
def test_a_leaf_with_one_changed_byte_is_refused(at: int) -> None:
    changed = bytearray(ENTRY)
    changed[at] ^= 0x40
    with pytest.raises(Malformed):
        parse_leaf(bytes(changed))


@pytest.mark.parametrize("length", range(len(ENTRY)))
def test_a_leaf_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(Malformed):
        parse_leaf(ENTRY[:length])


def test_bytes_behind_a_leaf_are_refused() -> None:
    with pytest.raises(Malformed):
        parse_leaf(ENTRY + b"\x00")


@pytest.mark.parametrize(
    "leaf",
    [
        Leaf(LeafKind.EPOCH, NodeId("short"), Stamp(5, 1), 4, 6, bytes(32), b""),
        Leaf(LeafKind.EPOCH, NodeId("A" * 26), Stamp(5, 1), 4, 6, bytes(32), b""),
        Leaf(LeafKind.EPOCH, LEAF.node, Stamp(-1, 1), 4, 6, bytes(32), b""),
        Leaf(LeafKind.EPOCH, LEAF.node, Stamp(5, 70_000), 4, 6, bytes(32), b""),
        Leaf(LeafKind.EPOCH, LEAF.node, Stamp(5, 1), 7, 6, bytes(32), b""),
        Leaf(LeafKind.EPOCH, LEAF.node, Stamp(5, 1), 4, 1 << 63, bytes(32), b""),
        Leaf(LeafKind.EPOCH, LEAF.node, Stamp(5, 1), 4, 6, b"digest", b""),
        Leaf(LeafKind.EPOCH, LEAF.node, Stamp(5, 1), 4, 6, bytes(32), bytes(MAX_BODY_BYTES + 1)),
    ],
)
def test_what_is_out_of_range_cannot_be_a_leaf(leaf: Leaf) -> None:
    with pytest.raises(ValueError, match=r"leaf|body"):
        leaf.encode()


def test_a_leaf_of_a_newer_release_says_so() -> None:
    with pytest.raises(Malformed, match="version 2") as caught:
        parse_leaf(ENTRY[:3] + b"\x02" + ENTRY[4:])
    assert "newer" in caught.value.hint
