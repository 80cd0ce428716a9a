"""Holds: pieces in any order, twice, or with junk between give the array, or nothing."""

import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from qallow_agent.base.errors import Malformed, PeerError, TooLarge
from qallow_agent.jobs.holds import MOST_HOLDS, STALE_S, Holds
from qallow_agent.jobs.parcels import CHUNK_BYTES, Chunk

MOST = 8 * CHUNK_BYTES
sizes = st.sampled_from(
    [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 16]
)


def pieces(name: bytes, data: bytes, *, keep: bool = False) -> list[tuple[Chunk, memoryview]]:
    return [
        (Chunk("l", name, at, len(data), keep), memoryview(data)[at : at + CHUNK_BYTES])
        for at in range(0, len(data), CHUNK_BYTES)
    ]


def fill(holds: Holds, name: bytes, size: int, now: float = 0.0, *, keep: bool = True) -> None:
    for chunk, data in pieces(name, bytes(size), keep=keep):
        holds.put(chunk, data, now)


@settings(deadline=None, max_examples=50)
@given(sizes, st.integers(0, 2**32), st.data())
def test_pieces_in_any_order_and_twice_give_the_array(
    size: int, seed: int, choice: st.DataObject
) -> None:
    data = random.Random(seed).randbytes(size)
    given = pieces(b"a", data)
    sent = choice.draw(st.permutations(given + given))
    holds = Holds(bytearray, MOST)
    came: set[int] = set()
    for chunk, piece in sent:
        assert (holds.find(b"a", 0.0) is not None) == (len(came) == len(given))
        holds.put(chunk, piece, 0.0)
        came.add(chunk.offset)
    found = holds.find(b"a", 0.0)
    assert found is not None
    assert bytes(found) == data


chunks = st.builds(
    Chunk, st.just("l"), st.binary(max_size=34),
    st.sampled_from([0, 1, -CHUNK_BYTES, CHUNK_BYTES, 7 * CHUNK_BYTES, 2**63]),
    st.sampled_from([0, 1, -1, 5, CHUNK_BYTES, 2 * CHUNK_BYTES, 9 * CHUNK_BYTES, 2**64 - 1]),
    st.booleans(),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.tuples(chunks, st.sampled_from([0, 1, 5, CHUNK_BYTES])), max_size=20))
def test_junk_raises_nothing_but_peer_errors_and_takes_no_more_than_allowed(
    given: list[tuple[Chunk, int]],
) -> None:
    taken: list[int] = []

    def allocate(size: int) -> bytearray:
        taken.append(size)
        return bytearray(size)

    holds = Holds(allocate, MOST)
    fill(holds, b"sound", 5)
    for chunk, length in given:
        try:
            holds.put(chunk, memoryview(bytes(length)), 0.0)
        except PeerError:
            continue
        finally:
            assert holds.size_bytes <= MOST
    assert all(size <= MOST for size in taken)
    found = holds.find(b"sound", 0.0)
    assert found is None or len(found) == 5


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 5)))
def test_what_is_missing_is_said_in_ranges_that_complete_it(came: set[int]) -> None:
    data = random.Random(1).randbytes(5 * CHUNK_BYTES + 3)
    given = pieces(b"a", data)
    holds = Holds(bytearray, MOST)
    for position in came:
        holds.put(*given[position], 0.0)
    missing = holds.missing(b"a", len(data))
    for start, end in missing.ranges:
        for at in range(start, end, CHUNK_BYTES):
            assert at // CHUNK_BYTES not in came
            holds.put(*given[at // CHUNK_BYTES], 0.0)
    found = holds.find(b"a", 0.0)
    assert found is not None
    assert bytes(found) == data
    assert holds.missing(b"a", len(data)).ranges == ()


def test_a_hold_for_one_task_ends_with_it_and_a_kept_one_stays() -> None:
    holds = Holds(bytearray, MOST)
    fill(holds, b"once", 5, keep=False)
    fill(holds, b"kept", 5, keep=True)
    for name in (b"once", b"kept", b"never"):
        holds.used(name)
    assert holds.find(b"once", 0.0) is None
    assert holds.find(b"kept", 0.0) is not None
    assert holds.size_bytes == 5


def test_the_longest_unused_complete_hold_gives_way() -> None:
    holds = Holds(bytearray, MOST)
    for name in (b"a", b"b", b"c", b"d"):
        fill(holds, name, 2 * CHUNK_BYTES)
    assert holds.find(b"a", 1.0) is not None
    fill(holds, b"e", 2 * CHUNK_BYTES)
    assert holds.find(b"a", 2.0) is not None
    assert holds.find(b"b", 2.0) is None


def test_what_was_begun_is_not_pushed_out_but_goes_when_it_is_not_continued() -> None:
    holds = Holds(bytearray, MOST)
    holds.put(*pieces(b"begun", bytes(MOST))[0], 0.0)
    with pytest.raises(TooLarge):
        fill(holds, b"next", CHUNK_BYTES, 1.0)
    assert "allowed" in holds.refused(b"next")
    fill(holds, b"next", CHUNK_BYTES, STALE_S)
    assert holds.refused(b"next") == ""
    assert holds.find(b"next", STALE_S) is not None


def test_many_tiny_holds_are_bounded_too() -> None:
    holds = Holds(bytearray, MOST)
    for number in range(MOST_HOLDS + 1):
        fill(holds, number.to_bytes(4, "big"), 1)
    assert holds.size_bytes == MOST_HOLDS
    assert holds.find((0).to_bytes(4, "big"), 0.0) is None
    assert holds.find((1).to_bytes(4, "big"), 0.0) is not None


def test_pieces_that_contradict_an_earlier_one_are_malformed() -> None:
    holds = Holds(bytearray, MOST)
    holds.put(*pieces(b"a", bytes(2 * CHUNK_BYTES))[0], 0.0)
    with pytest.raises(Malformed):
        fill(holds, b"a", 3 * CHUNK_BYTES)


def test_memory_that_cannot_be_had_is_explained() -> None:
    def allocate(size: int) -> Any:
        raise MemoryError(size)

    holds = Holds(allocate, MOST)
    with pytest.raises(TooLarge):
        fill(holds, b"a", 5)
    assert holds.refused(b"a") == "no memory for 5 B"
    assert holds.size_bytes == 0
