"""Energy: nothing is lost and nothing counted twice, whatever counters and runners do."""

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.base.ids import LeaseId
from qallow_agent.energy.account import Baseline, split
from qallow_agent.energy.counter import Odometer
from qallow_agent.energy.windows import Use, Windows

watts = st.floats(0.0, 500.0)


@given(
    st.integers(10, 1_000),
    st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), max_size=60),
)
def test_an_odometer_counts_like_one_who_saw_every_step(
    span: int, steps: list[tuple[int, bool, bool]]
) -> None:
    """The dumb model adds each unit by itself; restarts lose what came after the last look."""
    wrapping, restarting = Odometer(span), Odometer()
    shown, shown_restarting, counted, counted_restarting, unseen = 0, 0, 0, 0, 0
    wrapping.add(shown)
    restarting.add(shown_restarting)
    for step, looked, restart in steps:
        for _ in range(step):
            shown = (shown + 1) % span
            shown_restarting += 1
            unseen += 1
        if looked or unseen >= span - 10:
            wrapping.add(shown)
            restarting.add(shown_restarting)
            counted += unseen
            counted_restarting += unseen
            unseen = 0
            if restart:
                shown_restarting = 0
                restarting.add(0)
    assert wrapping.total == counted
    assert restarting.total == counted_restarting


@given(st.sampled_from([0.0, 65_536.0]), st.lists(st.floats(0, 1e12), min_size=1, max_size=50))
def test_joules_never_fall_whatever_a_counter_shows(span: float, shown: list[float]) -> None:
    odometer = Odometer(span)
    totals = [odometer.add(count) for count in shown]
    assert totals[0] == 0
    assert totals == sorted(totals)


@given(
    st.floats(0.0, 1e6), st.floats(1.0, 60.0), st.integers(1, 8),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(1e-6, 60.0), max_size=6),
    st.none() | st.tuples(watts, watts, watts),
)  # fmt: skip
def test_shares_and_idle_are_what_was_drawn(
    drawn_j: float,
    length_s: float,
    slots: int,
    busy_s: dict[str, float],
    idle_w: tuple[float, float, float] | None,
) -> None:
    baseline = None
    if idle_w is not None:
        least_w, mean_w, most_w = sorted(idle_w)
        baseline = Baseline(mean_w, least_w, most_w)
    parts = split(drawn_j, length_s, busy_s, slots, baseline)
    assert parts.shares.keys() == busy_s.keys()
    whole_j = sum(share.gross_j for share in parts.shares.values()) + parts.idle_j
    assert whole_j == pytest.approx(drawn_j)
    assert parts.idle_j >= -1e-9 * (1 + drawn_j)
    assert all(share.sound() for share in parts.shares.values())


tasks = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.001, 12.0)), max_size=12)
"""Pauses and tasks of one runner, one after the other."""


@given(st.lists(tasks, min_size=1, max_size=3), st.lists(st.floats(0.3, 3.0), min_size=5))
def test_every_busy_second_and_every_joule_is_settled_once(
    runners: list[list[tuple[float, float]]], pauses: list[float]
) -> None:
    """Runners tell once a second between tasks; the agent sees every quarter what they are at."""
    events: list[tuple[float, int, object]] = []
    truth: dict[LeaseId, float] = {}
    for number, plan in enumerate(runners):
        lease = LeaseId(f"lease-{number}")
        truth[lease] = sum(length for _, length in plan)
        events += _told(lease, plan)
    end_s = max((event[0] for event in events), default=0.0) + 20.0
    reads, now = [0.0], 0.0
    while now < end_s:
        now += pauses[len(reads) % len(pauses)]
        reads.append(now)
    events += [(moment, 1, None) for moment in reads]

    windows, drawn_j = Windows(), 0.0
    settled = []
    for moment, _, event in sorted(events, key=lambda each: each[:2]):
        if event is None:
            drawn_j = moment * 7.0
            windows.sample(drawn_j, moment)
            settled += windows.settle(moment)
        elif event[0] == "at":  # type: ignore[index]
            windows.working(*event[1:], moment)  # type: ignore[index]
        else:
            lease, begin_s, end, busy_s = event[1:]  # type: ignore[index]
            windows.worked(lease, begin_s, end, Use(busy_s, busy_s * 100))
    settled += windows.settle(1e9)

    busy: dict[LeaseId, float] = defaultdict(float)
    ops: dict[LeaseId, float] = defaultdict(float)
    for window in settled:
        assert window.length_s >= 1.0
        for lease, use in window.uses.items():
            busy[lease] += use.busy_s
            ops[lease] += use.ops
    assert dict(busy) == pytest.approx({lease: s for lease, s in truth.items() if s}, abs=1e-6)
    assert dict(ops) == pytest.approx({lease: 100 * s for lease, s in truth.items() if s}, abs=1e-3)
    assert sum(window.joules or 0.0 for window in settled) == pytest.approx(
        (settled[-1].end_s - settled[0].begin_s) * 7.0
    )
    assert all(one.end_s == other.begin_s for one, other in pairwise(settled))


def _told(lease: LeaseId, plan: list[tuple[float, float]]) -> list[tuple[float, int, object]]:
    events: list[tuple[float, int, object]] = []
    now, first_s, busy_s, last_s = 0.0, -1.0, 0.0, 0.0
    for pause_s, length_s in plan:
        if first_s >= 0 and pause_s > 1.0:
            events.append((last_s + 1.0, 0, ("done", lease, first_s, last_s, busy_s)))
            first_s, busy_s = -1.0, 0.0
        now += pause_s
        looks = int(length_s / 0.25)
        events += [(now + 0.25 * look, 0, ("at", lease, now)) for look in range(1, looks + 1)]
        first_s = now if first_s < 0 else first_s
        now += length_s
        busy_s += length_s
        last_s = now
        if now - first_s >= 1.0:
            events.append((now, 0, ("done", lease, first_s, now, busy_s)))
            first_s, busy_s = -1.0, 0.0
    if first_s >= 0:
        events.append((last_s + 1.0, 0, ("done", lease, first_s, last_s, busy_s)))
    return events
