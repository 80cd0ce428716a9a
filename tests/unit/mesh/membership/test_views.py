import random

import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant, Send
from qallow_agent.mesh.membership.views import CALM_S, FRESH_S, MOST_HASHES, TELL_S, Views, alike
from qallow_agent.mesh.wire.facts import MemberDown, MemberUp
from qallow_agent.mesh.wire.kinds import Incarnation, LiveSet, MemberRecord, MemberState

CONTACT = Contact(("127.0.0.1",), 1, 2, 3)


def at(seconds: float) -> Instant:
    return Instant(seconds, int(seconds * 1e9))


def record(node: str) -> MemberRecord:
    return MemberRecord(NodeId(node), MemberState.ALIVE, Incarnation(1), node, CONTACT, b"k" * 32)


def views(me: str, others: str, at_s: float = 0.0) -> Views:
    made = Views(me=NodeId(me), rng=random.Random(1))
    for node in others:
        made.receive(me, MemberUp(record(node)), at(at_s))
    return made


def said(by: Views, at_s: float) -> LiveSet:
    told = [each for each in by.tick(at(at_s)) if isinstance(each, Send)]
    message = told[0].message
    assert isinstance(message, LiveSet)
    return message


def test_a_node_without_peers_tells_nobody_and_knows_no_likeness() -> None:
    alone = views("a", "")
    assert alone.next_deadline() is None
    assert alone.tick(at(100.0)) == []
    assert alone.likeness(100.0) is None


def test_peers_that_hold_the_same_for_alive_are_fully_alike() -> None:
    one, other = views("a", "bc"), views("b", "ac")
    one.receive("b", said(other, 10.0), at(10.0))
    assert one.likeness(10.0) == (1_000_000, 10.0)
    assert one.likeness(10.0 + FRESH_S + 1) is None


def test_a_peer_that_misses_one_of_three_is_less_alike() -> None:
    one, other = views("a", "bc"), views("b", "a")
    one.receive("b", said(other, 10.0), at(10.0))
    assert one.likeness(10.0) == (666_666, 10.0)


def test_a_join_that_not_everybody_has_heard_of_is_no_disagreement() -> None:
    one, other = views("a", "b"), views("b", "a")
    other.receive("b", MemberUp(record("c")), at(10.0))
    one.receive("b", said(other, 10.0 + CALM_S / 2), at(11.0))
    assert one.likeness(11.0) is None
    one.receive("a", MemberUp(record("c")), at(12.0))
    one.receive("b", said(other, 12.0 + TELL_S * 2), at(12.5))
    assert one.likeness(12.5) is None
    one.receive("b", said(other, 12.0 + TELL_S * 4), at(40.0))
    assert one.likeness(40.0) == (1_000_000, 40.0)


def test_what_strangers_and_the_dead_say_does_not_count() -> None:
    one, other = views("a", "b"), views("b", "a")
    word = said(other, 10.0)
    one.receive("x", word, at(10.0))
    one.receive("@sensors", word, at(10.0))
    assert one.likeness(10.0) is None
    one.receive("b", word, at(10.0))
    one.receive("a", MemberDown(NodeId("b"), left=False), at(11.0))
    assert one.likeness(11.0) is None
    one.check()
    assert one.next_deadline() is None


@pytest.mark.parametrize("size", [0, 7, 9, 8 * (MOST_HASHES + 1)])
def test_bytes_that_are_no_set_are_a_peers_fault(size: int) -> None:
    one = views("a", "b")
    with pytest.raises(Malformed):
        one.receive("b", LiveSet(bytes(size), 10.0), at(10.0))


def test_at_most_three_peers_are_told_and_none_of_them_is_oneself() -> None:
    many = views("a", "bcdefg")
    told = [each.to for each in many.tick(at(10.0)) if isinstance(each, Send)]
    assert len(told) == len(set(told)) == 3
    assert "a" not in told


def test_large_sets_are_compared_by_their_least_hashes() -> None:
    ours = [number.to_bytes(8) for number in range(MOST_HASHES)]
    theirs = [number.to_bytes(8) for number in range(MOST_HASHES // 2, 2 * MOST_HASHES)]
    assert alike(ours, theirs) == 500_000
