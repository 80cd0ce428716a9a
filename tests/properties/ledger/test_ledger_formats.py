"""Logs of any size, and bytes of any kind."""

import contextlib
import hashlib

from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.base.errors import BadProof, ConfigError, PeerError
from qallow_agent.base.keys import SigningKey
from qallow_agent.ledger.checkpoint import Checkpoint, parse_checkpoint
from qallow_agent.ledger.evidence import parse_evidence
from qallow_agent.ledger.merkle import Edge, leaf_hash
from qallow_agent.ledger.note import Note, parse_note
from qallow_agent.ledger.policy import parse_policy
from qallow_agent.ledger.proofs import (
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from qallow_agent.ledger.signing import parse_note_key, sign_checkpoint
from qallow_agent.ledger.tiles import pack_entries, parse_path, unpack_entries

LEAVES = [leaf_hash(bytes([number % 256, number // 256])) for number in range(600)]
KEY = SigningKey(b"k" * 32)


def slow_root(leaves: list[bytes]) -> bytes:
    """Return MTH of RFC 6962, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def node(height: int, index: int) -> bytes:
    return slow_root(LEAVES[index << height : (index + 1) << height])


def edge_root(size: int) -> bytes:
    edge = Edge()
    for leaf in LEAVES[:size]:
        edge.append(leaf)
    return edge.root()


sizes = st.integers(1, len(LEAVES))


@given(sizes)
def test_a_growing_tree_has_the_root_of_the_definition(size: int) -> None:
    assert edge_root(size) == slow_root(LEAVES[:size])


@given(sizes, st.data())
def test_every_leaf_is_proved_and_no_other(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root = slow_root(LEAVES[:size])
    proof = prove_inclusion(index, size, node)
    verify_inclusion(LEAVES[index], index, size, proof, root)
    other = data.draw(st.integers(0, size - 1))
    if other != index:
        with contextlib.suppress(BadProof):
            verify_inclusion(LEAVES[other], index, size, proof, root)
            raise AssertionError("another leaf was proved")


@given(sizes, st.data())
def test_growth_is_proved_and_a_changed_past_is_not(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    proof = prove_consistency(old, size, node)
    before, after = slow_root(LEAVES[:old]), slow_root(LEAVES[:size])
    verify_consistency(old, size, proof, before, after)
    changed = data.draw(st.integers(0, old - 1))
    forged = slow_root([*LEAVES[:changed], leaf_hash(b"forged"), *LEAVES[changed + 1 : old]])
    with contextlib.suppress(BadProof):
        verify_consistency(old, size, proof, forged, after)
        raise AssertionError("a changed past was proved")


@given(st.lists(st.binary(max_size=40), max_size=256))
def test_bundles_give_their_entries_back(entries: list[bytes]) -> None:
    assert unpack_entries(pack_entries(entries)) == tuple(entries)


origins = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1)


@given(
    origins.filter(lambda text: "+" not in text),
    st.integers(0, (1 << 63) - 1),
    st.binary(min_size=32, max_size=32),
)
def test_heads_travel_as_notes(origin: str, size: int, root: bytes) -> None:
    head = Checkpoint(origin, size, root)
    note = parse_note(Note(head.text(), (sign_checkpoint(head, KEY),)).encode())
    assert parse_checkpoint(note.text) == head


@given(st.binary(max_size=400))
def test_junk_raises_only_a_peers_error(junk: bytes) -> None:
    text = junk.decode(errors="replace")
    for read in (parse_note, parse_evidence, unpack_entries):
        with contextlib.suppress(PeerError):
            read(junk)
    for understand in (parse_checkpoint, parse_note_key, parse_path):
        with contextlib.suppress(PeerError):
            understand(text)
    with contextlib.suppress(ConfigError):
        parse_policy(text)


@given(st.text("xtile/0123456789.pentrs-", max_size=40))
def test_a_path_is_read_only_in_its_one_spelling(text: str) -> None:
    with contextlib.suppress(PeerError):
        assert parse_path(text).path == text
