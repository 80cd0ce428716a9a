"""Beliefs are a join-semilattice, so that gossip converges in any order, with any repetition."""

import functools
import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId
from qallow_agent.mesh.membership.gossip import GossipQueue, room_for_gossip
from qallow_agent.mesh.membership.state import (
    COUNTER_LIMIT,
    EPOCH_LIMIT,
    MAX_ACCUSERS,
    MAX_REFUSED,
    merge,
    normal,
    plausible,
    precedence,
    successor,
)
from qallow_agent.mesh.wire.kinds import (
    Ack,
    Gossip,
    Incarnation,
    MemberRecord,
    MemberState,
    Probe,
)

NODES = st.sampled_from([NodeId(c * 26) for c in "abcdefgh"])
LISTS = st.lists(NODES, max_size=6).map(tuple)
INCARNATIONS = st.builds(Incarnation, st.integers(0, 2), st.integers(0, 2))


def records(node: str = "z") -> st.SearchStrategy[MemberRecord]:
    """Records of one member from so small a world that ties are common."""
    return st.builds(
        MemberRecord,
        node=st.just(NodeId(node * 26)),
        state=st.sampled_from(MemberState),
        incarnation=INCARNATIONS,
        name=st.sampled_from(["a", "b"]),
        contact=st.builds(
            Contact, st.just(("10.0.0.1",)), st.integers(1, 2), st.just(1), st.just(1)
        ),
        curve_key=st.sampled_from([b"k" * 32, b"l" * 32]),
        accusers=LISTS,
        advert=st.integers(0, 3),
        refused=LISTS,
    ).map(normal)


@given(records(), records())
@settings(deadline=None)
def test_merging_is_commutative(a: MemberRecord, b: MemberRecord) -> None:
    assert merge(a, b) == merge(b, a)


@given(records(), records(), records())
@settings(deadline=None, max_examples=300)
def test_merging_is_associative(a: MemberRecord, b: MemberRecord, c: MemberRecord) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(records(), records())
@settings(deadline=None)
def test_merging_is_idempotent(a: MemberRecord, b: MemberRecord) -> None:
    assert merge(a, a) == a
    assert merge(merge(a, b), b) == merge(a, b)


@given(records(), records())
@settings(deadline=None)
def test_merging_never_goes_back(a: MemberRecord, b: MemberRecord) -> None:
    both = merge(a, b)
    assert precedence(both) == max(precedence(a), precedence(b))
    assert both.incarnation == max(a.incarnation, b.incarnation)
    for one in (a, b):
        if one.incarnation.epoch == both.incarnation.epoch:
            assert both.advert >= one.advert


@given(records(), records())
@settings(deadline=None)
def test_what_is_merged_stays_in_normal_form(a: MemberRecord, b: MemberRecord) -> None:
    both = merge(a, b)
    assert normal(both) == both
    assert len(both.accusers) <= MAX_ACCUSERS
    assert len(both.refused) <= MAX_REFUSED


@given(st.lists(records(), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_order_with_any_repetition_gives_one_belief(
    claims: list[MemberRecord], rng: random.Random
) -> None:
    wanted = functools.reduce(merge, claims)
    again = [*claims, *rng.choices(claims, k=4)]
    rng.shuffle(again)
    assert functools.reduce(merge, again) == wanted


@given(records())
@settings(deadline=None)
def test_a_member_can_always_outbid_what_is_said_of_it(claim: MemberRecord) -> None:
    raised = msgspec.structs.replace(
        normal(msgspec.structs.replace(claim, state=MemberState.ALIVE)),
        incarnation=successor(claim.incarnation),
    )
    assert merge(claim, raised).state is MemberState.ALIVE


@given(st.integers(0, EPOCH_LIMIT - 2), st.integers(0, COUNTER_LIMIT - 1))
@settings(deadline=None)
def test_the_next_incarnation_is_greater_and_never_wraps(epoch: int, counter: int) -> None:
    before = Incarnation(epoch, counter)
    after = successor(before)
    assert after > before
    assert 0 <= after.counter < COUNTER_LIMIT


@given(
    st.lists(st.tuples(st.integers(0, 60), st.text(max_size=20), st.integers(1, 6)), max_size=60),
    st.sampled_from([Probe(2**31 - 1), Ack(2**31 - 1), Gossip(())]),
    st.integers(600, 1500),
)
@settings(deadline=None, max_examples=50)
def test_whatever_is_queued_a_datagram_fits(
    queued: list[tuple[int, str, int]], message: Probe | Ack | Gossip, limit_bytes: int
) -> None:
    queue = GossipQueue()
    for i, name, hosts in queued:
        contact = Contact(tuple(f"2001:db8::{h}" for h in range(hosts)), 65535, 65535, 65535)
        state = MemberState.SUSPECT if i % 2 else MemberState.ALIVE
        record = MemberRecord(
            NodeId(f"{i:026}"), state, Incarnation(2**40, i), name, contact, b"\xff" * 32
        )
        if plausible(record):
            queue.offer(record)
    chosen = queue.draw(room_for_gossip(message, limit_bytes), 8)
    field = "records" if isinstance(message, Gossip) else "gossip"
    loaded = msgspec.structs.replace(message, **{field: chosen})
    assert len(msgspec.msgpack.encode(loaded)) <= limit_bytes - 200
    assert len({record.node for record in chosen}) == len(chosen)
