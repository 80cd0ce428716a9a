"""Whatever the book says, the router stays within it and can explain itself."""

import random

import hypothesis.strategies as st
from hypothesis import given, settings

from qallow_agent.placement.limits import refusal
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.router import choose
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
        joules_per_op=st.one_of(st.none(), st.floats(0, 1)),
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
