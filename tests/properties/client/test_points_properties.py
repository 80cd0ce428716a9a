import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.client.arrays import archive_of, block_of
from qallow_agent.client.points import lay_out
from qallow_agent.client.results import Block, Result
from qallow_agent.client.stream import End, Gap
from qallow_agent.client.sweep import Shelf
from qallow_agent.jobs.parcels import ArrayHead

AXES = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


@given(AXES, st.data())
@settings(deadline=None, max_examples=60)
def test_every_cut_of_a_grid_is_that_part_of_the_product(axes: dict, data: st.DataObject) -> None:
    points = lay_out(None, axes, {})
    assert points is not None
    whole = list(itertools.product(*axes.values()))
    assert points.count == len(whole)
    start = data.draw(st.integers(0, points.count - 1))
    count = data.draw(st.integers(1, points.count - start))
    heads, columns = points.columns(start, count)
    assert [head.name for head in heads] == list(axes)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    assert rows == whole[start : start + count]


@st.composite
def deliveries(draw: st.DrawFn) -> list[Block | Gap]:
    """Return consecutive slices, some of them without a result, in any order."""
    items: list[Block | Gap] = []
    start = 0
    for size in draw(st.lists(st.integers(1, 4), max_size=8)):
        if draw(st.integers(0, 9)) == 0:
            items.append(Gap(start, size, ValueError(str(start))))
        else:
            values = np.arange(start, start + size, dtype="<i8")
            head = ArrayHead("x", "i8", (size,))
            items.append(Block([head], [values.tobytes()], start=start, points=size))
        start += size
    return draw(st.permutations(items))


def read(shelf: Shelf) -> tuple[list[Result], BaseException | None]:
    found = []
    while True:
        result, _ = shelf.take()
        if result is None:
            return found, shelf.verdict()
        found.append(result)


@given(deliveries(), st.booleans())
@settings(deadline=None, max_examples=100)
def test_every_result_is_delivered_once_whatever_the_order_of_arrival(
    items: list[Block | Gap],
    ordered: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    shelf = Shelf(ordered=ordered)
    results: list[Result] = []
    for item in items:
        shelf.add(item)
        results += read(shelf)[0]
    shelf.add(End())
    rest, verdict = read(shelf)
    results += rest
    gaps = [item for item in items if isinstance(item, Gap)]
    wanted = {
        index
        for item in items
        if isinstance(item, Block)
        for index in range(item.start, item.start + item.points)
    }
    if ordered and gaps:
        wanted = {index for index in wanted if index < min(each.start for each in gaps)}
    indices = [result.index for result in results]
    assert set(indices) == wanted
    assert len(indices) == len(wanted)
    assert all(int(result.x) == result.index for result in results)
    assert not ordered or indices == sorted(indices)
    assert isinstance(verdict, ValueError if gaps else StopIteration)


@given(st.lists(st.lists(st.floats(width=32), min_size=1, max_size=4), min_size=1, max_size=5))
@settings(deadline=None, max_examples=40)
def test_a_retained_sweep_is_what_was_computed_bit_by_bit(slices: list[list[float]]) -> None:
    blocks, start = [], 0
    for values in slices:
        frame = np.array(values, dtype="<f4").tobytes()
        head = ArrayHead("x", "f4", (len(values),))
        blocks.append(Block([head], [frame], start=start, points=len(values)))
        start += len(values)
    back = block_of(archive_of(list(reversed(blocks))), start).arrays()["x"]
    flat = np.array([value for values in slices for value in values], dtype="<f4")
    assert back.tobytes() == flat.tobytes()
