from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.mesh.sync.offset import Interval, PeerClock, agree
from qallow_agent.mesh.sync.pacing import harmonic_mean, mesh_tick

DRIFT = 500e-6
delays_s = st.floats(0, 0.5)
exchanges = st.lists(
    st.tuples(st.floats(0.001, 2.0), delays_s, delays_s, delays_s, st.floats(0, 0.1)),
    min_size=1,
    max_size=40,
)


@given(st.floats(-1000, 1000), st.floats(-DRIFT, DRIFT), exchanges)
@settings(deadline=None, max_examples=150)
def test_the_interval_always_contains_the_truth(
    ahead_s: float, drift: float, steps: list[tuple[float, float, float, float, float]]
) -> None:
    """However unequal the two ways, however late anybody stamps: true time is our clock."""
    clock = PeerClock(DRIFT)
    now_s = 0.0

    def ours(true_s: float) -> int:
        return round(true_s * 1e9)

    def theirs(true_s: float) -> int:
        return 10**18 + round((true_s * (1 + drift) + ahead_s) * 1e9)

    for pause_s, there_s, held_s, back_s, late_s in steps:
        now_s += pause_s
        t1, t2 = ours(now_s) + 10**18, theirs(now_s + there_s)
        left_s = now_s + there_s + held_s
        arrived_s = left_s + back_s
        t4 = ours(arrived_s + late_s) + 10**18
        clock.exchange(t1, t2, theirs(left_s), t4, arrived_s + late_s)
        now_s = arrived_s + late_s
        interval = clock.at(now_s)
        assert interval is not None
        truth_s = now_s * drift + ahead_s
        assert interval.low_s - 2e-9 <= truth_s <= interval.high_s + 2e-9


@given(
    st.floats(-10, 10),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=12),
    st.data(),
)
@settings(deadline=None, max_examples=150)
def test_liars_below_a_third_cannot_pull_the_hull_off_the_truth(
    truth_s: float, honest: list[tuple[float, float]], data: st.DataObject
) -> None:
    intervals = [Interval(truth_s - low, truth_s + high) for low, high in honest]
    liars = data.draw(st.integers(0, (len(intervals) - 1) // 2))
    for _ in range(liars):
        low = data.draw(st.floats(-1e6, 1e6))
        intervals.append(Interval(low, low + data.draw(st.floats(0, 1e6))))
    if liars > (len(intervals) - 1) // 3:
        return
    together = agree(data.draw(st.permutations(intervals)))
    assert together is not None
    assert together.spread_s == 0.0
    assert together.hull.low_s <= truth_s <= together.hull.high_s


@given(
    st.lists(
        st.tuples(st.integers(-50, 50), st.integers(0, 20)).map(
            lambda pair: Interval(float(pair[0]), float(pair[0] + pair[1]))
        ),
        min_size=1,
        max_size=9,
    )
)
@settings(deadline=None, max_examples=150)
def test_the_hull_is_what_a_dumb_search_over_all_points_finds(intervals: list[Interval]) -> None:
    needed = len(intervals) - (len(intervals) - 1) // 3
    points = sorted({end for interval in intervals for end in interval})
    covered = [
        point for point in points if sum(i.low_s <= point <= i.high_s for i in intervals) >= needed
    ]
    together = agree(intervals)
    assert together is not None
    if covered:
        assert together == (Interval(covered[0], covered[-1]), 0.0)
    else:
        assert together.spread_s > 0
        widened = [i.widened(together.spread_s) for i in intervals]
        for end in together.hull:
            assert sum(i.low_s - 1e-9 <= end <= i.high_s + 1e-9 for i in widened) >= needed


@given(st.lists(st.floats(1e-6, 60), min_size=1, max_size=40))
@settings(deadline=None, max_examples=100)
def test_the_mean_lies_among_the_cycles_that_were_kept(cycles: list[float]) -> None:
    trim = (len(cycles) - 1) // 3
    kept = sorted(cycles)[trim : len(cycles) - trim]
    mean_s = harmonic_mean(cycles)
    exact = len(kept) / sum(1 / Fraction(cycle_s) for cycle_s in kept)
    assert abs(mean_s - float(exact)) <= 1e-9 * mean_s
    assert 0.1 <= mesh_tick(mean_s, 0.1, 1.0) <= 1.0
