"""Whatever the book says, the router stays within it and can explain itself."""

import math
import random
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import given, settings

from qallow_agent.placement.cost import Peers, gather
from qallow_agent.placement.experience import Experience
from qallow_agent.placement.forecast import forecast, judge
from qallow_agent.placement.limits import refusal
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.router import choose
from qallow_agent.placement.score import cost
from qallow_agent.placement.settings import PlacementSettings

SETTINGS = PlacementSettings()
HASH = "a" * 64
nodes = st.sampled_from(["a", "b", "c", "d"])
candidates = st.lists(
    st.builds(
        Candidate,
        node=nodes,
        node_name=st.just("name"),
        device=st.sampled_from(["cpu0", "cpu1", "gpu0"]),
        kind=st.sampled_from(["cpu", "cuda"]),
        state=st.sampled_from(["ok", "hot", "warming", "lost", "quarantined", "??"]),
        slots=st.one_of(st.integers(-1, 6), st.just(2**40)),
        busy=st.integers(-1, 6),
        memory_bytes=st.integers(0, 2**50),
        kernels=st.sampled_from([{}, {"k": HASH}, {"k": "b"}]),
        rate=st.one_of(st.none(), st.floats()),
        rtt_s=st.floats(0, 10),
        tried=st.booleans(),
        bandwidth_bytes=st.one_of(st.none(), st.floats()),
        start_s=st.one_of(st.none(), st.floats()),
        warm=st.integers(-1, 6),
        waiting=st.one_of(st.integers(-1, 6), st.just(2**52)),
        reserved_bytes=st.integers(0, 2**50),
        available_bytes=st.one_of(st.none(), st.floats()),
        model=st.sampled_from(["", "A", "B"]),
        joules_per_op=st.one_of(st.none(), st.floats()),
        simulated=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda each: each.key,
)
requests = st.builds(
    Request,
    kernel=st.just("k"),
    kernel_hash=st.just(HASH),
    slots=st.integers(1, 20),
    points=st.integers(0, 10**6),
    ops=st.floats(0, 1e15),
    memory_bytes=st.integers(0, 2**40),
    transfer_bytes=st.integers(0, 2**40),
    device=st.sampled_from(["any", "cpu", "gpu", "name/cpu0", "x/y"]),
    prefer=st.sampled_from(["latency", "throughput", "energy"]),
    avoid=st.sampled_from([(), ("a/cpu0", "b/gpu0")]),
)


@settings(deadline=None)
@given(requests, candidates, st.integers(0, 2**32))
def test_choices_are_fit_free_and_no_more_than_wanted(
    request: Request, book: list[Candidate], seed: int
) -> None:
    decision = choose(request, book, SETTINGS, random.Random(seed))
    by_key = {each.key: each for each in book}
    fit = [each for each in book if refusal(request, each, SETTINGS) is None]
    free = [each for each in fit if each.free > 0]
    for choice in decision.choices:
        chosen = by_key[f"{choice.node}/{choice.device}"]
        assert chosen in fit
        assert 1 <= choice.slots <= (chosen.free if free else 1)
        assert choice.why
    dealt = sum(choice.slots for choice in decision.choices)
    assert dealt == min(request.slots, sum(each.free for each in free)) if free else dealt <= 1
    assert bool(decision.choices) == bool(fit) != bool(decision.reason)
    assert len(decision.explanation) == len(book)
    assert not (decision.never and fit)


@settings(deadline=None)
@given(requests, candidates, st.integers(0, 2**32))
def test_the_answer_does_not_depend_on_the_order_of_the_book(
    request: Request, book: list[Candidate], seed: int
) -> None:
    one = choose(request, book, SETTINGS, random.Random(seed))
    other = choose(request, book[::-1], SETTINGS, random.Random(seed))
    assert one == other


@settings(deadline=None)
@given(requests, candidates)
def test_no_cost_is_negative_endless_or_no_number(request: Request, book: list[Candidate]) -> None:
    peers = gather(book)
    for each in book:
        for taken in range(3):
            price = cost(request, each, taken, peers, SETTINGS)
            assert 0 <= price < math.inf


sound = st.builds(
    Candidate,
    node=st.just("a"),
    node_name=st.just("a"),
    device=st.just("cpu0"),
    kind=st.just("cpu"),
    state=st.sampled_from(["ok", "hot", "warming"]),
    slots=st.integers(1, 64),
    busy=st.integers(0, 70),
    memory_bytes=st.just(0),
    kernels=st.just({"k": HASH}),
    rate=st.floats(1, 1e15),
    rtt_s=st.floats(1e-6, 10),
    bandwidth_bytes=st.floats(1, 1e12),
    start_s=st.floats(1e-6, 100),
    warm=st.integers(0, 5),
    waiting=st.integers(0, 5),
    joules_per_op=st.floats(1e-15, 1e-3),
)


@settings(deadline=None)
@given(requests, sound, st.floats(1, 1e6), st.integers(0, 10))
def test_what_is_worse_never_costs_less(
    request: Request, one: Candidate, factor: float, more: int
) -> None:
    price = cost(request, one, 0, Peers(), SETTINGS)
    worse = {
        "rate": max(1e-6, (one.rate or 1) / factor),
        "rtt_s": one.rtt_s * factor,
        "bandwidth_bytes": (one.bandwidth_bytes or 1) / factor,
        "start_s": min(3_599.0, (one.start_s or 1) * factor),
        "busy": one.busy + more,
        "waiting": one.waiting + more,
        "warm": max(0, one.warm - more),
        "joules_per_op": (one.joules_per_op or 1) * factor,
    }
    for name, value in worse.items():
        assert cost(request, replace(one, **{name: value}), 0, Peers(), SETTINGS) >= price, name
    assert cost(request, one, 1, Peers(), SETTINGS) >= price
    heavier = replace(request, ops=request.ops * factor)
    assert cost(heavier, one, 0, Peers(), SETTINGS) >= price


@settings(deadline=None)
@given(requests, candidates, st.floats())
def test_a_deadline_is_refused_only_when_the_hopeful_forecast_misses_it(
    request: Request, book: list[Candidate], deadline_s: float
) -> None:
    found = forecast(request, book, SETTINGS)
    said = judge(request, deadline_s, found)
    assert not (said.why and said.doubt)
    if said.why:
        assert found is not None
        assert found.hopeful_s > deadline_s > 0
        assert said.hint
        assert found.points_by(deadline_s) <= request.points
    if found is not None:
        assert 0 <= found.hopeful_s <= found.needs_s * (1 + 1e-9) + 1e-9
        assert found.points_by(found.needs_s * (1 + 1e-9)) >= request.points


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60))
def test_a_device_at_the_brink_of_heat_does_not_flap(steps: list[tuple[float, bool]]) -> None:
    seen, now, changes, before = Experience(30.0), 0.0, 0, False
    for wait_s, seen_hot in steps:
        now += wait_s
        hot = seen.hot("a", now, seen_hot=seen_hot)
        changes += hot and not before
        before = hot
    assert changes <= 1 + now / 30.0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.lists(st.booleans(), min_size=1, max_size=40))
def test_work_does_not_swing_between_two_equal_devices(seed: int, warmth: list[bool]) -> None:
    """Whichever was chosen last runs hot at the brink: the choice changes once a rest, not more."""
    rng, seen, now = random.Random(seed), Experience(30.0), 0.0
    chosen: list[str] = []
    for is_hot in warmth:
        now += 1.0
        book = []
        for name in ("a", "b"):
            hot = seen.hot(name, now, seen_hot=is_hot and chosen[-1:] == [name])
            book.append(
                Candidate(name, name, "cpu0", "cpu", "hot" if hot else "ok", 4, 0, 0, {"k": HASH},
                          rate=1e9, warm=4)
            )  # fmt: skip
        wanted = Request("k", HASH, 1, points=1000, ops=1e6)
        decision = choose(wanted, book, SETTINGS, rng)
        chosen.append(decision.choices[0].node)
        cool = [each.node for each in book if each.state == "ok"]
        assert not cool or chosen[-1] in cool
