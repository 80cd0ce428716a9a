"""Which checkpoints stay: recent ones close together, old ones far apart, the ends always."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.jobs.thinning import surplus


@given(st.lists(st.integers(0, 10**9), unique=True, min_size=1).map(sorted), st.integers(1, 20))
def test_just_enough_go_and_the_last_stays(ticks: list[int], most: int) -> None:
    gone = surplus(ticks, most)
    assert len(ticks) - len(gone) == min(len(ticks), most)
    assert len(ticks) - 1 not in gone
    if most > 1:
        assert 0 not in gone


@pytest.mark.parametrize("most", [8, 16])
def test_old_ones_lie_farther_apart_than_new_ones(most: int) -> None:
    kept: list[int] = []
    for tick in range(1, 2_000):
        kept.append(tick)
        for place in reversed(surplus(kept, most)):
            del kept[place]
    gaps = [after - before for before, after in pairwise(kept)]
    assert kept[0] == 1
    assert gaps[0] > 20 * gaps[-1]
