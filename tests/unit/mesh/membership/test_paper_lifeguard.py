"""Lifeguard, sentence by sentence (Dadgar, Phillips, Currey, 2017), and our own evidence."""

import itertools
from typing import Any

import pytest

from qallow_agent.base.machine import Lane
from qallow_agent.mesh.membership.awareness import Awareness
from qallow_agent.mesh.membership.suspicion import remaining_suspicion
from qallow_agent.mesh.wire.facts import LinkRefused, MemberDown
from qallow_agent.mesh.wire.kinds import Ack, Gossip, MemberState, Nack, Probe, ProbeRelay

ALIVE, SUSPECT, DEAD = MemberState.ALIVE, MemberState.SUSPECT, MemberState.DEAD


def suspect(tools: Any, i: int, *accusers: int, refused: tuple[int, ...] = ()) -> Gossip:
    named = tuple(sorted(tools.node_id(a) for a in accusers))
    seen = tuple(sorted(tools.node_id(a) for a in refused))
    return Gossip((tools.record(i, state=SUSPECT, accusers=named, refused=seen),))


def died_after(tools: Any, solo: Any, i: int, limit_s: float = 20.0) -> float:
    began = solo.now
    for when, effect in solo.advance(limit_s):
        if MemberDown(tools.node_id(i), left=False) in tools.facts([effect]):
            return float(when - began)
    raise AssertionError("nobody died")


def test_the_health_score_saturates_at_both_ends() -> None:
    health = Awareness(7)
    health.note(-1)
    assert (health.score, health.stretch) == (0, 1)
    health.note(100)
    assert (health.score, health.stretch) == (7, 8)


def test_a_failed_probe_without_nacks_makes_us_doubt_ourselves(tools: Any) -> None:
    solo = tools.Solo(5)
    solo.probed()
    solo.advance(0.95)
    assert solo.machine.health() == 3, "three relays said nothing"


def test_nacks_show_that_we_are_well(tools: Any) -> None:
    solo = tools.Solo(5)
    _, seq, box = solo.probed()
    asked = [s.to for s in tools.sent(solo.advance(0.6), ProbeRelay)]
    for i in range(1, 6):
        if tools.node_id(i) in asked and i != box:
            solo.hear(i, Nack(seq, tools.node_id(box)))
    solo.advance(0.31)
    assert solo.believe(box).state is SUSPECT
    assert solo.machine.health() == 0


def test_an_answered_probe_restores_health(tools: Any) -> None:
    solo = tools.Solo(5)
    solo.probed()
    solo.advance(0.95)
    before = solo.machine.health()
    _, seq, box = solo.probed()
    solo.hear(box, Ack(seq))
    assert solo.machine.health() == before - 1


def test_having_to_refute_costs_health(tools: Any) -> None:
    solo = tools.Solo(2)
    solo.hear(1, suspect(tools, 0, 1))
    assert solo.machine.health() == 1


def test_bad_health_stretches_the_period_and_its_timeouts(tools: Any) -> None:
    solo = tools.Solo(2)
    solo.hear(1, suspect(tools, 0, 1))
    first, seq, box = solo.probed()
    trace = solo.advance(1.7)
    asked = next(when for when, e in trace if tools.sent([e], ProbeRelay))
    assert asked - first == pytest.approx(1.0, abs=0.02)
    assert solo.believe(box).state is ALIVE, "the verdict waits for 1.8 s"
    solo.hear(box, Ack(seq))
    second, _, _ = solo.probed()
    assert second - first == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize(
    ("confirmations", "left"), [(0, 10.0), (1, 6.25), (2, 4.056), (3, 2.5), (9, 2.5)]
)
def test_suspicion_shrinks_with_the_logarithm_of_confirmations(
    confirmations: int, left: float
) -> None:
    assert remaining_suspicion(confirmations, 3, 0.0, 2.5, 10.0) == pytest.approx(left, abs=0.01)


def test_suspicion_nobody_can_confirm_lasts_the_shortest_time() -> None:
    assert remaining_suspicion(0, 0, 1.0, 2.5, 10.0) == 1.5


def test_each_distinct_accuser_brings_the_end_nearer(tools: Any) -> None:
    waits = []
    for accusers in (1, 2, 3, 4):
        solo = tools.Solo(9, probe_period_s=1000.0)
        solo.hear(1, suspect(tools, 9, *range(1, accusers + 1)))
        waits.append(died_after(tools, solo, 9))
    assert waits == pytest.approx([10.0, 6.25, 4.056, 2.5], abs=0.01)


def test_the_same_accuser_twice_confirms_nothing(tools: Any) -> None:
    solo = tools.Solo(9, probe_period_s=1000.0)
    for teller in (1, 2, 3):
        solo.hear(teller, suspect(tools, 9, 1))
    assert died_after(tools, solo, 9) == pytest.approx(10.0)


def test_news_of_another_accuser_travels_on(tools: Any) -> None:
    solo = tools.Solo(9, probe_period_s=1000.0)
    solo.hear(1, suspect(tools, 9, 1))
    solo.advance(3.0)
    solo.hear(2, suspect(tools, 9, 2))
    records = [r for s in tools.sent(solo.advance(1.0), Gossip) for r in s.message.records]
    told = {r.accusers for r in records if r.node == tools.node_id(9)}
    assert told == {tuple(sorted((tools.node_id(1), tools.node_id(2))))}


def test_a_relay_that_hears_nothing_is_named_as_a_witness(tools: Any) -> None:
    solo = tools.Solo(5)
    _, seq, box = solo.probed()
    asked = {s.to for s in tools.sent(solo.advance(0.6), ProbeRelay)} - {tools.node_id(box)}
    for i in range(1, 6):
        if tools.node_id(i) in asked:
            solo.hear(i, Nack(seq, tools.node_id(box)))
    solo.advance(0.31)
    assert set(solo.believe(box).accusers) == asked | {tools.node_id(0)}


def test_a_relay_says_so_when_it_hears_nothing(tools: Any) -> None:
    solo = tools.Solo(3)
    solo.hear(1, ProbeRelay(4, tools.node_id(2)))
    nacks = tools.sent(solo.advance(0.31), Nack)
    assert [(s.to, s.message) for s in nacks] == [(tools.node_id(1), Nack(4, tools.node_id(2)))]


def test_a_relay_serves_a_bounded_number_of_probes(tools: Any) -> None:
    solo = tools.Solo(3)
    for seq in range(100):
        solo.hear(1, ProbeRelay(seq, tools.node_id(2)))
    assert len(tools.sent(solo.advance(0.31), Nack)) == 64


def test_a_probe_of_a_suspect_tells_it_so(tools: Any) -> None:
    solo = tools.Solo(2, suspicion_shortest_s=30.0, suspicion_longest_s=30.0)
    solo.hear(1, suspect(tools, 2, 1))
    probes = [s for s in tools.sent(solo.advance(8.0), Probe) if s.to == tools.node_id(2)]
    assert probes
    for probe in probes:
        assert (probe.message.gossip[0].node, probe.message.gossip[0].state) == (probe.to, SUSPECT)


def test_a_suspect_is_told_at_once_on_both_lanes(tools: Any) -> None:
    solo = tools.Solo(3)
    told = tools.sent(solo.hear(1, suspect(tools, 2, 1)), Gossip)
    assert {(s.to, s.lane) for s in told} == {
        (tools.node_id(2), Lane.DATAGRAM),
        (tools.node_id(2), Lane.STREAM),
    }


def test_an_ack_to_a_member_we_believe_dead_tells_it_so(tools: Any) -> None:
    solo = tools.Solo(3, rumour_window_s=0.0)
    solo.hear(1, suspect(tools, 2, 1))
    solo.hear(1, Gossip((tools.record(2, state=DEAD),)))
    ack = tools.sent(solo.hear(2, Probe(3)), Ack)[0]
    assert ack.message.gossip[0].state is DEAD


def test_a_refused_link_is_probed_at_once(tools: Any) -> None:
    solo = tools.Solo(5)
    effects = solo.fact(LinkRefused(tools.node_id(3)))
    assert [s.to for s in tools.sent(effects, Probe)] == [tools.node_id(3)]
    assert len(tools.sent(effects, ProbeRelay)) == 4
    assert tools.sent(solo.fact(LinkRefused(tools.node_id(3))), Probe) == []


def test_a_refused_link_counts_under_the_name_of_its_peer_only(tools: Any) -> None:
    solo = tools.Solo(5)
    assert tools.sent(solo.hear(2, LinkRefused(tools.node_id(3))), Probe) == []
    assert tools.sent(solo.hear(3, LinkRefused(tools.node_id(3))), Probe)


def test_a_refused_link_to_a_member_that_answers_means_nothing(tools: Any) -> None:
    solo = tools.Solo(5)
    probe = tools.sent(solo.fact(LinkRefused(tools.node_id(3))), Probe)[0]
    solo.hear(3, Ack(probe.message.seq))
    solo.advance(0.6)
    assert solo.believe(3).state is ALIVE


def test_two_refused_witnesses_leave_half_a_second(tools: Any) -> None:
    solo = tools.Solo(9, probe_period_s=1000.0)
    solo.hear(1, suspect(tools, 9, 1, refused=(1,)))
    solo.advance(1.0)
    solo.hear(2, suspect(tools, 9, 2, refused=(2,)))
    assert died_after(tools, solo, 9) == pytest.approx(0.5)


def test_one_refused_witness_alone_shortens_nothing_in_a_larger_mesh(tools: Any) -> None:
    solo = tools.Solo(9, probe_period_s=1000.0)
    solo.hear(1, suspect(tools, 9, 1, refused=(1,)))
    assert died_after(tools, solo, 9) == pytest.approx(10.0)


def test_a_death_by_rumour_leaves_a_reachable_member_time_to_refute(tools: Any) -> None:
    solo = tools.Solo(5, probe_period_s=1000.0)
    effects = solo.hear(1, Gossip((tools.record(2, state=DEAD),)))
    assert solo.believe(2).state is SUSPECT
    assert {s.to for s in tools.sent(effects, Gossip)} == {tools.node_id(2)}
    solo.hear(2, Gossip((tools.record(2, counter=1),)))
    solo.advance(5.0)
    assert solo.believe(2).state is ALIVE


def test_a_death_by_rumour_is_believed_when_nobody_refutes(tools: Any) -> None:
    solo = tools.Solo(5, probe_period_s=1000.0)
    solo.hear(1, Gossip((tools.record(2, state=DEAD),)))
    assert died_after(tools, solo, 2) == pytest.approx(0.5)


def test_a_death_of_one_we_suspected_long_enough_is_believed_at_once(tools: Any) -> None:
    solo = tools.Solo(5, probe_period_s=1000.0)
    solo.hear(1, suspect(tools, 2, 1))
    solo.advance(1.0)
    solo.hear(1, Gossip((tools.record(2, state=DEAD),)))
    assert solo.believe(2).state is DEAD


def test_who_was_frozen_gives_suspects_their_time_back(tools: Any) -> None:
    solo = tools.Solo(5, probe_period_s=1000.0)
    solo.hear(1, suspect(tools, 2, 1, 3, 4, 5))
    solo.advance(2.0)
    solo.now += 30.0
    solo.machine.tick(tools.at(solo.now))
    assert solo.believe(2).state is SUSPECT
    assert died_after(tools, solo, 2) == pytest.approx(0.9, abs=0.01)


def test_who_was_frozen_drops_its_probes(tools: Any) -> None:
    solo = tools.Solo(5)
    _, _, box = solo.probed()
    solo.now += 3.0
    solo.machine.tick(tools.at(solo.now))
    assert solo.believe(box).state is ALIVE


def test_dead_members_are_tried_again_ever_more_rarely_for_ever(tools: Any) -> None:
    solo = tools.Solo(2)
    solo.hear(1, suspect(tools, 2, 1))
    solo.advance(15.0)
    assert solo.believe(2).state is DEAD
    tries = [
        when
        for when, e in solo.advance(4000.0)
        for s in tools.sent([e], Gossip)
        if s.to == tools.node_id(2) and s.lane is Lane.DATAGRAM
    ]
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert gaps[0] <= 1.3
    assert 20.0 <= gaps[-1] <= 37.0
    assert max(gaps) <= 37.0


def test_tombstones_are_forgotten_after_a_day(tools: Any) -> None:
    solo = tools.Solo(2, tombstone_s=60.0)
    solo.hear(1, suspect(tools, 2, 1))
    solo.advance(15.0)
    solo.advance(70.0)
    assert solo.machine.record_of(tools.node_id(2)) is None
    solo.hear(1, Gossip((tools.record(2, state=DEAD),)))
    assert solo.machine.record_of(tools.node_id(2)) is None, "a tombstone never comes back"
