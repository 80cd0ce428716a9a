"""Who waits for a device gets a turn: by rank, within its memory, and never never."""

import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings

from qallow_agent.jobs.messages import LeaseRequest
from qallow_agent.jobs.model import BenchDevice
from qallow_agent.jobs.workplace import MOST_PRIORITY, Waiting, Workplace

AGING_S = 10.0
MEMORY_BYTES = 100

requests = st.builds(
    LeaseRequest,
    job=st.integers(0, 99).map(str),
    kernel=st.just("k"),
    kernel_hash=st.just("h"),
    device=st.just("cpu0"),
    slots=st.integers(1, 3),
    submitter_key=st.just(b""),
    memory_bytes=st.integers(0, MEMORY_BYTES),
    priority=st.one_of(st.integers(-5, 5), st.integers()),
    waited_s=st.floats(),
)
waits = st.builds(
    Waiting,
    desk=st.sampled_from("abc"),
    request=requests,
    slots=st.just(1),
    since_s=st.floats(0, 50),
)


def place(*queue: Waiting) -> Workplace:
    return Workplace(BenchDevice("cpu0", "cpu", 4, MEMORY_BYTES), queue=list(queue))


@settings(deadline=None)
@given(st.lists(waits, max_size=8), st.floats(50, 100))
def test_the_line_is_everybody_in_order_of_rank(queue: list[Waiting], now: float) -> None:
    device = place(*queue)
    line = device.line_up(now, AGING_S)
    assert sorted(map(id, line)) == sorted(map(id, queue))
    ranks = [device.rank(each, now, AGING_S) for each in line]
    assert ranks == sorted(ranks, reverse=True)


@settings(deadline=None)
@given(waits, st.lists(waits, max_size=8))
def test_whoever_waits_long_enough_is_first_whatever_comes_later(
    old: Waiting, later: list[Waiting]
) -> None:
    """Newcomers may claim an hour of waiting and the highest priority; that is the bound."""
    now = old.since_s + (2 * MOST_PRIORITY + 2) * AGING_S + 3_600.0
    for each in later:
        each.since_s = now
        each.request = msgspec.structs.replace(each.request, job=f"later-{each.request.job}")
    assert place(*later, old).line_up(now, AGING_S)[0] is old


@settings(deadline=None)
@given(st.lists(waits, min_size=1, max_size=8), st.floats(50, 100))
def test_an_empty_device_always_has_somebody_to_serve(queue: list[Waiting], now: float) -> None:
    chosen = place(*queue).next_waiting(now, AGING_S)
    assert chosen is not None
    assert chosen is place(*queue).line_up(now, AGING_S)[0]
