import hashlib
import itertools
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.canonical import canonical
from qallow_agent.client.canopy import Canopy
from qallow_agent.client.fingerprint import OUTPUTS, SweepPrint, TaskPrint
from qallow_agent.client.results import Block
from qallow_agent.client.toll import Toll
from qallow_agent.jobs.parcels import ArrayHead
from qallow_agent.ledger.merkle import Edge, leaf_hash

Arrays = dict[str, np.ndarray]


def block_of(arrays: Arrays, start: int, points: int, names: list[str]) -> Block:
    rows = {name: arrays[name][start : start + points] for name in names}
    return Block(
        [ArrayHead(name, each.dtype.str[1:], each.shape) for name, each in rows.items()],
        [each.tobytes() for each in rows.values()],
        start=start,
        points=points,
    )


def dumb(arrays: Arrays, points: int, missing: set[int]) -> bytes:
    """Return the fingerprint in the plainest way: a mask, whole columns, leaf by leaf."""
    names = sorted(arrays)
    row_bytes = sum(arrays[name][0].nbytes for name in names)
    step = 4096
    while step > 1 and step * row_bytes > 4 << 20:
        step //= 2
    edge = Edge()
    for start in range(0, points, step):
        size = min(step, points - start)
        there = np.array([start + at not in missing for at in range(size)])
        gaps: list[list[int]] = []
        for at in np.flatnonzero(~there).tolist():
            if gaps and sum(gaps[-1]) == at:
                gaps[-1][1] += 1
            else:
                gaps.append([at, 1])
        columns = [[n, arrays[n].dtype.str[1:], list(arrays[n].shape[1:])] for n in names]
        data = canonical(OUTPUTS, [size, gaps, columns])
        for name in names:
            data += arrays[name][start : start + size][there].tobytes()
        edge.append(leaf_hash(data))
    return edge.root()


@st.composite
def sweeps(draw: st.DrawFn) -> tuple[Arrays, int, set[int], list[tuple[int, int]], int]:
    """Return outputs, missing points, and the rest cut into slices in some order."""
    points = draw(st.sampled_from([1, 2, 5, 4095, 4096, 4097, 9000]) | st.integers(1, 12_000))
    seed = draw(st.integers(0, 1 << 30))
    rng = np.random.default_rng(seed)
    wide = draw(st.sampled_from([(), (3,), (2, 2)]))
    arrays: Arrays = {"y": rng.random((points, *wide)), "a": rng.integers(0, 9, points, "i4")}
    if draw(st.booleans()):
        arrays["flag"] = rng.integers(0, 2, points).astype(bool)
    cuts = sorted(draw(st.sets(st.integers(1, points), max_size=12)) | {points})
    slices = [(a, b) for a, b in zip([0, *cuts], cuts, strict=False) if b > a]
    lost = draw(st.sets(st.integers(0, len(slices) - 1), max_size=3))
    missing = {at for number in lost for at in range(*slices[number])}
    kept = [each for number, each in enumerate(slices) if number not in lost]
    random.Random(seed).shuffle(kept)
    return arrays, points, missing, kept, seed


@given(sweeps())
@settings(deadline=None, max_examples=80)
def test_a_sweep_has_one_fingerprint_however_it_is_cut_and_whatever_comes_first(
    sweep: tuple[Arrays, int, set[int], list[tuple[int, int]], int],
) -> None:
    arrays, points, missing, slices, seed = sweep
    printed = SweepPrint(points, Toll())
    names = list(arrays)
    for start, stop in slices:
        random.Random(seed + start).shuffle(names)
        printed.done(block_of(arrays, start, stop - start, names))
    if slices:
        assert printed.root() == dumb(arrays, points, missing)
        assert [each.name for each in printed.columns] == sorted(arrays)
    else:
        assert printed.root() == dumb({}, points, set(range(points)))


@given(st.integers(1, 300), st.integers(0, 1 << 30), st.sampled_from([0, 1, 7]))
@settings(deadline=None, max_examples=40)
def test_single_evaluations_have_one_fingerprint_in_whatever_order_they_are_done(
    count: int, seed: int, lost: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((count, 2))
    order = [number for number in range(count) if not lost or number % lost]
    random.Random(seed).shuffle(order)
    printed = TaskPrint(Toll())
    head = (ArrayHead("y", "f8", (2,)),)
    edge = Edge()
    for number in range(count):
        there = not lost or number % lost
        gaps, columns = ([], [["y", "f8", [2]]]) if there else ([[0, 1]], [])
        row = values[number].tobytes() if there else b""
        edge.append(leaf_hash(canonical(OUTPUTS, [1, gaps, columns]) + row))
    for number in order:
        printed.done(number, Block(head, [values[number].tobytes()]))
    assert printed.root(count) == edge.root()


@given(st.sets(st.integers(0, 9_000), max_size=60), st.integers(1, 9_100), st.randoms())
@settings(deadline=None, max_examples=40)
def test_a_canopy_has_the_root_of_the_plain_tree(
    gone: set[int], size: int, order: random.Random
) -> None:
    leaves = [hashlib.sha256(str(number).encode()).digest() for number in range(size)]
    absent = hashlib.sha256(b"absent").digest()
    canopy, edge = Canopy(), Edge()
    for number, leaf in enumerate(leaves):
        edge.append(absent if number in gone else leaf)
    runs = [
        list(run)
        for there, run in itertools.groupby(range(size), lambda number: number not in gone)
        if there
    ]
    order.shuffle(runs)
    for run in runs:
        canopy.put(run[0], b"".join(leaves[number] for number in run))
    assert canopy.root(size, absent) == edge.root()
    assert all(canopy.has(number) != (number in gone) for number in range(size))
