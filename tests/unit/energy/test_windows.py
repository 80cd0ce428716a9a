"""Windows: what a device drew in a second or more, and who was busy in it."""

import pytest

from qallow_agent.base.ids import LeaseId
from qallow_agent.energy.windows import HOLD_S, LONGEST_S, Use, Window, Windows

ONE, TWO = LeaseId("lease-1"), LeaseId("lease-2")


def read(windows: Windows, *shown: float | None, every_s: float = 1.0) -> list[Window]:
    """Show a counter once a second from second 0 on; return what is settled in the end."""
    settled: list[Window] = []
    for step, joules in enumerate(shown):
        windows.sample(joules, step * every_s)
        settled += windows.settle(step * every_s)
    return settled + list(windows.settle(1e9))


def test_a_window_is_as_long_as_two_readings_are_apart_and_at_least_a_second() -> None:
    windows = read(Windows(), 0, 10, 20, 30, 40, every_s=0.6)
    assert [(window.begin_s, window.joules) for window in windows] == [(0, 20), (1.2, 20)]
    assert all(window.length_s == pytest.approx(1.2) for window in windows)


def test_a_missing_value_makes_a_longer_window_and_loses_nothing() -> None:
    (first, second) = read(Windows(), 0, 10, None, None, 40)
    assert (first.joules, second.joules, second.length_s) == (10, 30, 3)


def test_a_counter_that_stands_still_is_waited_for_but_not_for_ever() -> None:
    (first, second) = read(Windows(), 0, 10, 10, 10, 25, every_s=2.0)
    assert (first.joules, second.joules, second.length_s) == (10, 15, 6)
    still = read(Windows(), *[7.0] * 10)
    assert [(window.joules, window.length_s) for window in still] == [(0, LONGEST_S)]


def test_a_counter_that_falls_makes_the_window_unknown_and_the_next_one_counts_again() -> None:
    windows = read(Windows(), 100, 110, 2, 12)
    assert [window.joules for window in windows] == [10, None, 10]


def test_nothing_is_settled_before_every_runner_could_tell_of_it() -> None:
    windows = Windows()
    windows.sample(0, 0.0)
    windows.sample(10, 1.0)
    assert not list(windows.settle(1.0 + HOLD_S - 0.1))
    assert len(list(windows.settle(1.0 + HOLD_S))) == 1


def test_work_is_spread_over_the_windows_it_lasted() -> None:
    windows = Windows()
    windows.sample(0, 0.0)
    windows.worked(ONE, 0.5, 2.5, Use(busy_s=1.0, ops=100.0))
    windows.worked(TWO, 1.0, 2.0, Use(busy_s=1.0, ops=7.0))
    first, second, third = read(windows, 0, 10, 20, 30)
    assert first.uses == {ONE: Use(0.25, 25.0)}
    assert second.uses == {ONE: Use(0.5, 50.0), TWO: Use(1.0, 7.0)}
    assert third.uses == {ONE: Use(0.25, 25.0)}


def test_a_long_task_holds_up_no_window_and_is_not_counted_twice_when_it_ends() -> None:
    windows = Windows()
    settled: list[Window] = []
    for quarter in range(41):
        now = quarter / 4
        if now <= 8.0:
            windows.working(ONE, 0.5, now)
        if now == 9.0:
            assert not windows.told(ONE)
            windows.worked(ONE, 0.5, 8.0, Use(7.5, 300.0))
        if now % 1 == 0:
            windows.sample(10 * now, now)
            settled += windows.settle(now)
    settled += windows.settle(1e9)
    assert windows.told(ONE)
    busy = [window.uses.get(ONE, Use()).busy_s for window in settled]
    assert busy == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1, 0, 0])
    assert sum(window.uses.get(ONE, Use()).ops for window in settled) == pytest.approx(300)


def test_work_told_of_too_late_goes_to_the_oldest_window_that_is_open() -> None:
    windows = Windows()
    assert len(read(windows, 0, 10, 20)) == 2
    windows.worked(ONE, 0.2, 0.8, Use(0.6, 6.0))
    windows.sample(30, 3.0)
    (window,) = windows.settle(9.0)
    assert window.uses == {ONE: Use(0.6, 6.0)}


def test_what_is_left_of_a_lease_can_be_dropped() -> None:
    windows = Windows()
    windows.sample(0, 0.0)
    windows.worked(ONE, 0.1, 0.9, Use(0.8))
    windows.working(ONE, 0.9, 1.0)
    assert windows.waiting(ONE)
    windows.forget(ONE)
    assert not windows.waiting(ONE)
    (window,) = read(windows, 0, 10)
    assert window.uses == {}
