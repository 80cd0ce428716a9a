import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.base.hlc import MAX_DRIFT_MS, HybridClock, Stamp

MS = 1_000_000


def test_stamps_follow_the_wall_clock() -> None:
    clock = HybridClock()
    assert clock.stamp(5 * MS) == Stamp(5, 0)
    assert clock.stamp(9 * MS) == Stamp(9, 0)


def test_stamps_within_one_millisecond_count_up() -> None:
    clock = HybridClock()
    assert [clock.stamp(5 * MS) for _ in range(3)] == [Stamp(5, 0), Stamp(5, 1), Stamp(5, 2)]


def test_stamps_grow_although_the_wall_clock_jumps_back() -> None:
    clock = HybridClock()
    clock.stamp(9 * MS)
    assert clock.stamp(5 * MS) == Stamp(9, 1)


def test_a_wall_clock_that_was_far_ahead_does_not_mute_us_once_it_is_right_again() -> None:
    clock, peer = HybridClock(), HybridClock()
    hour_ms = 3_600_000
    clock.stamp((hour_ms + 7) * MS)
    stamp = clock.stamp(7 * MS)
    assert stamp == Stamp(7, 0)
    assert peer.observe(stamp, 7 * MS) == Stamp(7, 1)


def test_stamps_never_go_back_by_less_than_what_others_accept() -> None:
    clock = HybridClock()
    before = clock.stamp((MAX_DRIFT_MS + 5) * MS)
    assert clock.stamp(5 * MS) > before


def test_a_receipt_is_later_than_what_was_sent() -> None:
    clock = HybridClock()
    assert clock.observe(Stamp(20, 3), 5 * MS) == Stamp(20, 4)
    assert clock.last == Stamp(20, 4)


def test_a_receipt_in_the_same_millisecond_exceeds_both_sides() -> None:
    clock = HybridClock()
    clock.observe(Stamp(5, 8), 5 * MS)
    assert clock.observe(Stamp(5, 3), 5 * MS) == Stamp(5, 10)


def test_a_full_counter_carries_into_the_millisecond() -> None:
    clock = HybridClock()
    assert clock.observe(Stamp(5, 0xFFFF), 5 * MS) == Stamp(6, 0)


@pytest.mark.parametrize("stamp", [Stamp(-1, 0), Stamp(1, -1), Stamp(1, 0x10000)])
def test_an_impossible_stamp_is_refused_and_changes_nothing(stamp: Stamp) -> None:
    clock = HybridClock()
    clock.stamp(5 * MS)
    with pytest.raises(Malformed):
        clock.observe(stamp, 5 * MS)
    assert clock.last == Stamp(5, 0)


def test_a_stamp_too_far_ahead_cannot_drag_us_along() -> None:
    clock = HybridClock()
    clock.observe(Stamp(MAX_DRIFT_MS, 0), 0)
    with pytest.raises(Malformed, match="ahead of this node's wall clock"):
        clock.observe(Stamp(MAX_DRIFT_MS + 1, 0), 0)
    assert clock.last == Stamp(MAX_DRIFT_MS, 1)
