"""The parts that need no clock: settings, roster, gossip queue, table, our own word."""

import random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from qallow_agent.base.errors import ConfigError, InvariantBroken, StorageCorrupt
from qallow_agent.base.machine import Persist
from qallow_agent.base.settings import check_bounds
from qallow_agent.mesh.membership.chance import jitter, sample
from qallow_agent.mesh.membership.gossip import PAGE_BYTES, GossipQueue, pages, room_for_gossip
from qallow_agent.mesh.membership.oneself import INCARNATION_FILE, first_record
from qallow_agent.mesh.membership.recontact import Recontact
from qallow_agent.mesh.membership.roster import Roster
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.membership.spread import push_pull_scale
from qallow_agent.mesh.membership.state import COUNTER_LIMIT, encoded_bytes, merge, successor
from qallow_agent.mesh.membership.swim import Membership
from qallow_agent.mesh.membership.table import MemberTable
from qallow_agent.mesh.wire.kinds import Gossip, Incarnation, MemberState, Probe, PushPull


def test_the_defaults_are_within_their_own_bounds() -> None:
    check_bounds(MembershipSettings(), "mesh.membership")


def test_the_defaults_leave_every_stage_of_a_probe_its_time() -> None:
    it = MembershipSettings()
    assert it.probe_copies * it.copy_gap_s < it.relay_after_s < it.verdict_after_s
    assert it.verdict_after_s < it.probe_period_s
    assert it.relay_patience_s < it.verdict_after_s - it.relay_after_s
    assert it.relay_patience_s < it.refused_verdict_s


def test_a_sample_has_no_doubles_and_is_as_large_as_it_can_be() -> None:
    rng = random.Random(1)
    assert sorted(sample(rng, "abc", 9)) == ["a", "b", "c"]
    assert len(set(sample(rng, range(100), 5))) == 5
    assert sample(rng, (), 3) == []


def test_jitter_stays_within_a_fifth() -> None:
    rng = random.Random(1)
    assert all(0.8 <= jitter(rng, 1.0) <= 1.2 for _ in range(200))


def test_a_lap_visits_everybody_once(tools: Any) -> None:
    roster = Roster(random.Random(1))
    members = tuple(tools.node_id(i) for i in range(7))
    for _ in range(4):
        assert {roster.next(members) for _ in range(7)} == set(members)


def test_who_is_gone_is_dropped_from_the_lap(tools: Any) -> None:
    roster = Roster(random.Random(1))
    members = tuple(tools.node_id(i) for i in range(7))
    roster.next(members)
    assert {roster.next(members[:2]) for _ in range(10)} == set(members[:2])
    assert roster.next(()) is None


def test_a_newer_belief_replaces_the_older_in_the_queue(tools: Any) -> None:
    queue = GossipQueue()
    queue.offer(tools.record(1))
    queue.offer(tools.record(1, counter=5))
    assert queue.draw(1000, 4) == (tools.record(1, counter=5),)


def test_a_belief_rests_after_its_tellings(tools: Any) -> None:
    queue = GossipQueue()
    queue.offer(tools.record(1))
    assert [len(queue.draw(1000, 3)) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert len(queue) == 0


def test_a_drawn_belief_is_not_named_twice_in_one_datagram(tools: Any) -> None:
    queue = GossipQueue()
    queue.offer(tools.record(1))
    assert queue.draw(1000, 3, (tools.record(1),)) == (tools.record(1),)


def test_a_belief_too_large_for_the_room_waits(tools: Any) -> None:
    queue = GossipQueue()
    queue.offer(tools.record(1))
    assert queue.draw(20, 3) == ()
    assert len(queue) == 1


def test_a_withdrawn_belief_is_not_told(tools: Any) -> None:
    queue = GossipQueue()
    queue.offer(tools.record(1))
    queue.withdraw(tools.node_id(1))
    queue.withdraw(tools.node_id(2))
    assert queue.draw(1000, 3) == ()


def test_the_room_is_what_the_message_leaves(tools: Any) -> None:
    room = room_for_gossip(Probe(2**31), 1300)
    queue = GossipQueue()
    for i in range(40):
        queue.offer(tools.record(i))
    records = queue.draw(room, 8)
    assert len(records) >= 4
    assert len(msgspec.msgpack.encode(Probe(2**31, records))) <= 1100


def test_pages_hold_everything_once_within_the_wires_cap(tools: Any) -> None:
    records = tuple(tools.record(i) for i in range(1000))
    parts = pages(records)
    assert tuple(record for part in parts for record in part) == records
    assert all(len(msgspec.msgpack.encode(PushPull(part))) <= PAGE_BYTES + 100 for part in parts)
    assert pages(()) == [()]


def test_a_large_mesh_is_compared_in_pages_and_only_the_last_asks_back(tools: Any) -> None:
    solo = tools.Solo(1, probe_period_s=1e6)
    for start in range(2, 602, 100):
        solo.hear(1, Gossip(tuple(tools.record(i) for i in range(start, start + 100))))
    answers = tools.sent(solo.hear(1, PushPull(())), PushPull)
    assert len(answers) > 1
    assert all(s.message.answer for s in answers)
    asked = [s.message.answer for _, e in solo.advance(400.0) for s in tools.sent([e], PushPull)]
    assert asked[: len(answers)] == [True] * (len(answers) - 1) + [False]


@pytest.mark.parametrize(("members", "scale"), [(2, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_large_meshes_compare_more_rarely(members: int, scale: int) -> None:
    assert push_pull_scale(members) == scale


def test_no_more_members_are_taken_in_than_allowed(tools: Any) -> None:
    solo = tools.Solo(1, max_members=5)
    solo.hear(1, Gossip(tuple(tools.record(i) for i in range(2, 20))))
    assert len(solo.machine.members()) == 5


def test_the_table_knows_with_which_key_a_member_was_met(tools: Any) -> None:
    table = MemberTable(tools.record(0), 10)
    one = tools.record(1)
    table.put(one)
    assert not table.is_linked(one.node)
    table.meet(one.node, one.curve_key, one.contact)
    assert table.linked() == table.alive() == (one.node,)
    table.put(replace(one, curve_key=b"k" * 32))
    assert table.linked() == ()
    table.put(replace(one, state=MemberState.DEAD))
    assert table.dead() == (one.node,)
    table.forget(one.node)
    assert (len(table), table.dead(), table.has_met(one.node)) == (1, (), False)


def test_records_of_two_members_do_not_merge(tools: Any) -> None:
    with pytest.raises(InvariantBroken):
        merge(tools.record(1), tools.record(2))


def test_a_full_counter_carries_into_the_epoch() -> None:
    assert successor(Incarnation(3, 4)) == Incarnation(3, 5)
    assert successor(Incarnation(3, COUNTER_LIMIT - 1)) == Incarnation(4, 0)


def test_an_epoch_beyond_ours_is_outbid_and_kept(tools: Any) -> None:
    solo = tools.Solo(1)
    effects = solo.hear(1, Gossip((tools.record(0, epoch=9, state=MemberState.DEAD),)))
    kept = {e.name: e.data for e in effects if isinstance(e, Persist)}
    assert solo.believe(0).incarnation == Incarnation(9, 1)
    again = Membership(
        me=tools.record(0, epoch=2), settings=solo.settings, rng=random.Random(), kept=kept
    )
    me = again.record_of(tools.node_id(0))
    assert me is not None
    assert me.incarnation == Incarnation(9, 2)


def test_a_refutation_within_our_epoch_costs_no_write(tools: Any) -> None:
    solo = tools.Solo(1)
    effects = solo.hear(1, Gossip((tools.record(0, state=MemberState.DEAD),)))
    assert not [e for e in effects if isinstance(e, Persist)]


def test_an_older_kept_incarnation_changes_nothing(tools: Any) -> None:
    kept = {INCARNATION_FILE: msgspec.msgpack.encode(Incarnation(3, 7))}
    assert first_record(tools.record(0, epoch=4), kept) == tools.record(0, epoch=4)


def test_a_corrupt_kept_incarnation_is_named(tools: Any) -> None:
    with pytest.raises(StorageCorrupt, match=INCARNATION_FILE):
        first_record(tools.record(0), {INCARNATION_FILE: b"\xc1"})


def test_a_record_nobody_would_hear_is_refused_at_the_start(tools: Any) -> None:
    with pytest.raises(ConfigError, match="too much to announce"):
        first_record(tools.record(0, name="n" * 65), {})


def test_an_old_claim_that_we_are_gone_is_corrected(tools: Any) -> None:
    solo = tools.Solo(1)
    solo.hear(1, Gossip((tools.record(0, state=MemberState.SUSPECT),)))
    effects = solo.hear(1, Gossip((tools.record(0, state=MemberState.SUSPECT),)))
    assert [s.message.records[0].incarnation for s in tools.sent(effects, Gossip)] == [
        Incarnation(1, 1)
    ]


def test_after_a_farewell_the_machine_is_silent(tools: Any) -> None:
    solo = tools.Solo(2)
    farewells = tools.sent(solo.machine.leave(tools.at(solo.now)), Gossip)
    assert {s.to for s in farewells} == {tools.node_id(1), tools.node_id(2)}
    assert all(s.message.records[0].state is MemberState.LEFT for s in farewells)
    assert solo.machine.next_deadline() is None
    assert solo.hear(1, Probe(1)) == []
    assert solo.machine.tick(tools.at(solo.now)) == []
    assert solo.machine.alive() == (tools.node_id(1), tools.node_id(2))


def test_tries_grow_with_the_time_since_they_began() -> None:
    tries = Recontact(1.0, 30.0, 1.0, random.Random(1))
    tries.add("n", 0.0)
    now, gaps = 0.0, []
    for _ in range(9):
        due = tries.next_deadline()
        assert due is not None
        gaps.append(due - now)
        now = due
        assert tries.due(now) == ["n"]
    assert gaps[0] <= 1.2
    assert 24.0 <= gaps[-1] <= 36.0
    tries.hasten(now)
    assert (tries.next_deadline() or 0.0) <= now + 1.0
    tries.drop("n")
    assert ("n" in tries, tries.next_deadline()) == (False, None)


def test_a_record_with_every_field_in_use_still_fits_a_datagram(tools: Any) -> None:
    named = tuple(sorted(tools.node_id(i) for i in range(4)))
    full = tools.record(1, name="n" * 64, state=MemberState.SUSPECT, accusers=named)
    full = replace(full, refused=named[:2], advert=2**40)
    hosts = tuple(f"2001:db8:ffff:ffff:ffff:ffff:ffff:{i:04x}" for i in range(8))
    full = replace(full, contact=replace(full.contact, hosts=hosts))
    assert encoded_bytes(full) <= room_for_gossip(Gossip(()), 1300)


def test_in_a_large_mesh_most_greet_a_newcomer_briefly(tools: Any) -> None:
    solo = tools.Solo(1, probe_period_s=1e6)
    solo.hear(1, PushPull(tuple(tools.record(i) for i in range(2, 80))))
    brief = 0
    for i in range(2, 80):
        greeting = tools.sent(solo.fact(tools.met(tools.record(i))), PushPull)[0].message
        nodes = {record.node for record in greeting.records}
        assert {tools.node_id(0), tools.node_id(i)} <= nodes
        brief += len(nodes) == 2 and greeting.answer
    assert 50 <= brief < 78, "about 8 of 78 greet with everything"


def test_a_greeting_is_repeated_until_it_is_answered(tools: Any) -> None:
    solo = tools.Solo(0)
    first = tools.sent(solo.fact(tools.met(tools.record(1))), PushPull)
    assert len(first) == 1
    assert tools.sent(solo.advance(0.7), PushPull)
    solo.hear(1, PushPull((tools.record(1),), answer=True))
    assert not tools.sent(solo.advance(2.0), PushPull)


def test_a_member_met_with_an_implausible_contact_is_not_taken_in(tools: Any) -> None:
    solo = tools.Solo(0)
    fact = tools.met(tools.record(1))
    assert solo.fact(replace(fact, contact=replace(fact.contact, stream=2**16))) == []
    assert solo.machine.dropped == 1


def test_meeting_ourselves_changes_nothing(tools: Any) -> None:
    solo = tools.Solo(0)
    assert solo.fact(tools.met(tools.record(0, port=9))) == []


def test_what_members_never_say_is_ignored(tools: Any) -> None:
    solo = tools.Solo(1)
    assert solo.hear(1, tools.met(tools.record(2))) == []
    assert solo.fact(Probe(1)) == []
