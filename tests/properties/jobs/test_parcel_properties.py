"""Parcels: whatever bytes come, the worst is a PeerError; whatever is packed comes back."""

import math
import random

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from qallow_agent.base.errors import Malformed, PeerError, TooLarge
from qallow_agent.jobs.manifest import MAX_FRAMES, Manifest, join_small, layout, unpack
from qallow_agent.jobs.parcels import (
    CHUNK_BYTES,
    ITEM_BYTES,
    MAX_HEADER_BYTES,
    MAX_RANK,
    SMALL_BYTES,
    ArrayHead,
    Chunk,
    Fault,
    Forget,
    Hatch,
    Header,
    HoldsMissing,
    Knock,
    LeaseUnknown,
    Missing,
    Neighbour,
    Ping,
    ResultHead,
    ResultParcel,
    Snapshot,
    TaskHead,
    TaskParcel,
    pack,
)

names = st.text(max_size=8)
heads = st.builds(
    ArrayHead,
    names,
    st.sampled_from(sorted(ITEM_BYTES)),
    st.one_of(
        st.lists(st.integers(0, 4), max_size=3).map(tuple), st.just((SMALL_BYTES // 4, 4)),
    ),
    st.sampled_from([b"", b"", b"held"]),
    st.sampled_from([0, 16]),
)  # fmt: skip
scalars = st.dictionaries(
    names,
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), names),
    max_size=3,
)
tasks = st.builds(
    TaskHead, st.integers(0, 2**40), st.integers(0, 99), st.integers(0, 2**31), scalars,
    st.lists(heads, max_size=2).map(tuple), st.lists(heads, max_size=2).map(tuple),
)  # fmt: skip
results = st.builds(
    ResultHead, st.integers(0, 2**40), st.integers(0, 99), st.floats(0, 1e6),
    st.lists(heads, max_size=3).map(tuple),
    st.one_of(st.none(), st.builds(Fault, names, names, names, names)),
)  # fmt: skip
parcels = st.one_of(
    st.builds(
        TaskParcel, names, st.lists(tasks, max_size=4).map(tuple), st.integers(0, 2**62)
    ),
    st.builds(Snapshot, names, st.integers(0, 2**40), st.integers(0, 99), heads),
    st.builds(ResultParcel, names, st.lists(results, max_size=4).map(tuple)),
    st.builds(LeaseUnknown, names),
    st.builds(Ping, names),
    st.builds(Chunk, names, st.binary(max_size=4), st.sampled_from([0, CHUNK_BYTES]),
              st.integers(CHUNK_BYTES + 1, 2 * CHUNK_BYTES), st.booleans()),
    st.builds(
        HoldsMissing, names, st.lists(st.integers(0, 9), max_size=3).map(tuple),
        st.lists(st.builds(Missing, st.binary(max_size=4), st.just(((0, 5), (7, 8)))),
                 max_size=2).map(tuple),
    ),
    st.builds(Forget, names, st.lists(st.binary(max_size=4), max_size=2).map(tuple)),
    st.builds(Neighbour, names, st.binary(max_size=4), st.integers(0, 9)),
    st.builds(Hatch, names, *[st.binary(max_size=4)] * 3, st.integers(0, 9)),
    st.builds(Knock, names),
)  # fmt: skip


def frames_of(parcel: Header) -> list[bytes]:
    return [pack(parcel), *map(bytes, Manifest(parcel).sizes)]


@settings(deadline=None)
@given(parcels)
def test_a_packed_parcel_comes_back(parcel: Header) -> None:
    assert unpack(frames_of(parcel)) == parcel
    assert unpack([memoryview(frame) for frame in frames_of(parcel)]) == parcel


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_junk_raises_nothing_but_peer_errors(frames: list[bytes]) -> None:
    try:
        unpack(frames)
    except PeerError:
        return


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), names,
              st.binary(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(
    st.sampled_from(
        ["tasks", "results", "unknown-lease", "ping", "chunk", "holds-missing", "forget",
         "neighbour", "hatch", "knock", "x"]
    ),
    anything,
    anything,
)  # fmt: skip
def test_well_formed_nonsense_raises_nothing_but_peer_errors(
    tag: str, body: object, extra: object
) -> None:
    header = {"type": tag, "lease": "l", "tasks": body, "results": extra, "holds": extra}
    header |= {"hold": b"x", "offset": body, "total_bytes": extra, "machine": body, "uid": extra}
    try:
        unpack([msgspec.msgpack.encode(header)])
    except PeerError:
        return


@settings(deadline=None)
@given(parcels, st.data())
def test_one_changed_byte_raises_nothing_but_peer_errors(
    parcel: Header, data: st.DataObject
) -> None:
    frames = frames_of(parcel)
    header = bytearray(frames[0])
    at = data.draw(st.integers(0, len(header) - 1))
    header[at] ^= data.draw(st.integers(1, 255))
    try:
        unpack([bytes(header), *frames[1:]])
    except PeerError:
        return


@settings(deadline=None)
@given(
    parcels.filter(lambda parcel: Manifest(parcel).sizes),
    st.sampled_from(["missing", "extra", "short", "long"]),
)
def test_frames_that_contradict_their_heads_are_malformed(parcel: Header, how: str) -> None:
    frames = frames_of(parcel)
    changed = {
        "missing": frames[:-1],
        "extra": [*frames, b""],
        "short": [*frames[:-1], frames[-1][:-1] if frames[-1] else b"x"],
        "long": [*frames[:-1], frames[-1] + b"x"],
    }[how]
    with pytest.raises(Malformed):
        unpack(changed)


@pytest.mark.parametrize(
    "head",
    [
        ArrayHead("a", "O", (1,)),
        ArrayHead("a", "f4", (-1,)),
        ArrayHead("a", "f4", (-1, -4)),
        ArrayHead("a", "f4", (1,) * (MAX_RANK + 1)),
        ArrayHead("a", "f8", (2**62, 2**62)),
        ArrayHead("a", "f4", (1,), b"hold", -16),
        ArrayHead("a", "f4", (1,), b"hold", 4),
        ArrayHead("a", "f4", (1,), b"h" * 33, 0),
    ],
)
def test_unsound_array_heads_are_malformed(head: ArrayHead) -> None:
    task = TaskHead(1, 1, 1, {}, (), (head,))
    with pytest.raises(Malformed):
        unpack([pack(TaskParcel("l", (task,))), bytes(4)])


def test_oversized_parcels_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(TooLarge):
        unpack([bytes(MAX_HEADER_BYTES + 1)])
    with pytest.raises(TooLarge):
        unpack([b""] * (MAX_FRAMES + 1))
    with pytest.raises(Malformed):
        unpack([])


def test_an_empty_array_needs_no_frame() -> None:
    head = ArrayHead("a", "f4", (0, 5))
    assert head.size_bytes == 0
    assert math.prod(head.shape) == 0
    parcel = TaskParcel("l", (TaskHead(1, 1, 1, {}, (head,)),))
    assert unpack([pack(parcel)]) == parcel


@settings(deadline=None)
@given(st.lists(heads.filter(lambda head: not head.hold), max_size=5), st.integers(0, 9))
def test_every_array_is_found_where_it_was_put(given: list[ArrayHead], seed: int) -> None:
    rng = random.Random(seed)
    plan = layout(tuple(given))
    arrays = [rng.randbytes(head.size_bytes) for head in given]
    small = join_small(plan, [data for data in arrays if len(data) < SMALL_BYTES])
    own = [data for data in arrays if len(data) >= SMALL_BYTES]
    parcel = ResultParcel("l", (ResultHead(1, 1, 0.0, plan.heads), ResultHead(2, 1, 0.0, None)))
    frames = [small * 2, *own, *own] if small else own * 2
    manifest = Manifest(parcel)
    manifest.check([len(frame) for frame in frames])
    for part in manifest.parts(frames, lambda _: memoryview(b"")):
        assert [bytes(data) for data in part] == arrays
        assert part.heads == plan.heads
    for head, place in zip(plan.heads, plan.places, strict=True):
        assert place < 0 or place % ITEM_BYTES[head.dtype] == 0
