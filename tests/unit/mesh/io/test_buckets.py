from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.mesh.io.buckets import Buckets


def test_a_burst_passes_and_the_next_one_waits() -> None:
    buckets: Buckets[str] = Buckets(rate_hz=2.0, burst=3, sources_limit=10)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert not buckets.take("a", 0.4)
    assert buckets.take("a", 0.5)


def test_sources_do_not_share_a_bucket() -> None:
    buckets: Buckets[str] = Buckets(rate_hz=1.0, burst=1, sources_limit=10)
    assert buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)
    assert not buckets.take("a", 0.0)
    buckets.forget("a")
    assert buckets.take("a", 0.0)


def test_a_crowd_of_sources_is_forgotten_oldest_first() -> None:
    buckets: Buckets[int] = Buckets(rate_hz=0.1, burst=1, sources_limit=3)
    for source in range(100):
        assert buckets.take(source, 0.0)
    assert len(buckets._levels) == 3
    assert not buckets.take(99, 0.0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 10))
def test_no_more_passes_than_burst_plus_rate(pauses: list[float], burst: int) -> None:
    buckets: Buckets[str] = Buckets(rate_hz=3.0, burst=burst, sources_limit=1)
    now, passed = 0.0, 0
    for pause in pauses:
        now += pause
        passed += buckets.take("a", now)
    assert passed <= burst + 3.0 * now + 1e-6


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    buckets: Buckets[str] = Buckets(rate_hz=1.0, burst=1, sources_limit=1)
    assert buckets.take("a", 100.0)
    assert not buckets.take("a", 0.0)
