"""SWIM, sentence by sentence (Das, Gupta, Motivala, DSN 2002)."""

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from qallow_agent.base.machine import Lane
from qallow_agent.mesh.membership.gossip import transmissions
from qallow_agent.mesh.wire.facts import MemberDown, MemberSuspect, MemberUp
from qallow_agent.mesh.wire.kinds import (
    Ack,
    Gossip,
    Incarnation,
    MemberState,
    Nack,
    Probe,
    ProbeRelay,
)

ALIVE, SUSPECT, DEAD = MemberState.ALIVE, MemberState.SUSPECT, MemberState.DEAD


def claim(tools: Any, i: int, state: MemberState, counter: int = 0, **changes: Any) -> Gossip:
    return Gossip((tools.record(i, state=state, counter=counter, **changes),))


def test_every_period_one_member_is_probed(tools: Any) -> None:
    solo = tools.Solo(5)
    first, seq, box = solo.probed()
    solo.hear(box, Ack(seq))
    second, seq, box = solo.probed()
    solo.hear(box, Ack(seq))
    third, _, _ = solo.probed()
    assert second - first == pytest.approx(1.0)
    assert third - second == pytest.approx(1.0)


def test_a_probe_is_answered_with_an_ack_of_its_number(tools: Any) -> None:
    solo = tools.Solo(2)
    acks = tools.sent(solo.hear(1, Probe(77)), Ack)
    assert [(ack.to, ack.message.seq, ack.lane) for ack in acks] == [
        (tools.node_id(1), 77, Lane.DATAGRAM)
    ]


def test_a_member_that_acks_is_not_asked_about_through_others(tools: Any) -> None:
    solo = tools.Solo(5)
    _, seq, box = solo.probed()
    solo.hear(box, Ack(seq))
    assert tools.sent(solo.advance(0.99), ProbeRelay) == []


def test_a_silent_member_is_probed_through_k_others(tools: Any) -> None:
    solo = tools.Solo(6)
    began, seq, box = solo.probed()
    trace = solo.advance(0.6)
    relays = [
        (when, e) for when, e in trace if tools.sent([e], ProbeRelay) and e.to != tools.node_id(box)
    ]
    assert len({e.to for _, e in relays}) == 3
    for when, e in relays:
        assert when - began == pytest.approx(0.5, abs=0.01)
        assert (e.message.seq, e.message.target) == (seq, tools.node_id(box))


def test_the_warm_link_is_tried_when_datagrams_are_not_answered(tools: Any) -> None:
    solo = tools.Solo(3)
    _, seq, box = solo.probed()
    direct = [s for s in tools.sent(solo.advance(0.6), ProbeRelay) if s.to == tools.node_id(box)]
    assert [(s.lane, s.message.target) for s in direct] == [(Lane.STREAM, tools.node_id(box))]
    solo.hear(box, Ack(seq, tools.node_id(box)))
    solo.advance(0.39)
    assert solo.believe(box).state is ALIVE


def test_asked_over_the_link_about_ourselves_we_answer_over_the_link(tools: Any) -> None:
    solo = tools.Solo(2)
    effects = solo.hear(1, ProbeRelay(5, tools.node_id(0)))
    assert [(s.lane, s.message) for s in tools.sent(effects, Ack)] == [
        (Lane.STREAM, Ack(5, tools.node_id(0)))
    ]


def test_a_relay_probes_the_target_and_forwards_its_ack(tools: Any) -> None:
    solo = tools.Solo(3)
    effects = solo.hear(1, ProbeRelay(9, tools.node_id(2)))
    probe = tools.sent(effects, Probe)[0]
    assert probe.to == tools.node_id(2)
    forwarded = tools.sent(solo.hear(2, Ack(probe.message.seq)), Ack)
    assert [(s.to, s.message.seq, s.message.target) for s in forwarded] == [
        (tools.node_id(1), 9, tools.node_id(2))
    ]


def test_an_ack_through_any_relay_saves_the_member(tools: Any) -> None:
    solo = tools.Solo(5)
    _, seq, box = solo.probed()
    relay = next(
        s.to for s in tools.sent(solo.advance(0.6), ProbeRelay) if s.to != tools.node_id(box)
    )
    i = next(i for i in range(6) if tools.node_id(i) == relay)
    solo.hear(i, Ack(seq, tools.node_id(box)))
    solo.advance(0.3)
    assert solo.believe(box).state is ALIVE


def test_an_ack_for_a_member_from_one_who_was_not_asked_proves_nothing(tools: Any) -> None:
    solo = tools.Solo(6)
    _, seq, box = solo.probed()
    asked = {s.to for s in tools.sent(solo.advance(0.6), ProbeRelay)}
    bystander = next(i for i in range(1, 7) if tools.node_id(i) not in asked)
    solo.hear(bystander, Ack(seq, tools.node_id(box)))
    solo.hear(bystander, Ack(seq))
    solo.advance(0.31)
    assert solo.believe(box).state is SUSPECT


def test_silence_to_the_end_of_the_period_makes_a_suspect_not_a_corpse(tools: Any) -> None:
    solo = tools.Solo(5)
    _, _, box = solo.probed()
    trace = solo.advance(0.95)
    assert solo.believe(box).state is SUSPECT
    assert [type(f) for f in tools.facts(trace)] == [MemberSuspect]


def test_a_suspect_stays_a_member_and_is_still_probed(tools: Any) -> None:
    solo = tools.Solo(2)
    solo.hear(1, claim(tools, 2, SUSPECT, accusers=(tools.node_id(1),)))
    _, _, box = solo.probed(2)
    assert box == 2


def test_a_suspect_that_stays_silent_is_declared_dead_and_that_is_told(tools: Any) -> None:
    solo = tools.Solo(3)
    solo.hear(1, claim(tools, 2, SUSPECT, accusers=(tools.node_id(1), tools.node_id(3))))
    trace = solo.advance(11.0)
    assert MemberDown(tools.node_id(2), left=False) in tools.facts(trace)
    told = {r.state for s in tools.sent(trace, Gossip) for r in s.message.records}
    assert DEAD in told


def test_only_a_higher_incarnation_clears_suspicion(tools: Any) -> None:
    solo = tools.Solo(2)
    solo.hear(1, claim(tools, 2, SUSPECT, accusers=(tools.node_id(1),)))
    solo.hear(1, claim(tools, 2, ALIVE))
    assert solo.believe(2).state is SUSPECT
    solo.hear(1, claim(tools, 2, ALIVE, counter=1))
    assert solo.believe(2).state is ALIVE


def test_suspicion_of_an_old_incarnation_is_ignored(tools: Any) -> None:
    solo = tools.Solo(2)
    solo.hear(1, claim(tools, 2, ALIVE, counter=3))
    solo.hear(1, claim(tools, 2, SUSPECT, counter=2))
    assert solo.believe(2).state is ALIVE


def test_a_member_that_hears_it_is_suspected_raises_its_incarnation(tools: Any) -> None:
    solo = tools.Solo(2)
    effects = solo.hear(1, claim(tools, 0, SUSPECT, accusers=(tools.node_id(1),)))
    assert solo.believe(0).incarnation == Incarnation(1, 1)
    answers = tools.sent(effects, Gossip)
    assert {s.to for s in answers} == {tools.node_id(1)}
    assert all(s.message.records[0].incarnation == Incarnation(1, 1) for s in answers)


def test_nobody_raises_the_incarnation_of_another(tools: Any) -> None:
    solo = tools.Solo(3)
    solo.advance(20.0)
    for i in (1, 2, 3):
        assert solo.believe(i).incarnation == Incarnation(1, 0)


def test_death_outranks_life_at_the_same_incarnation(tools: Any) -> None:
    solo = tools.Solo(2, rumour_window_s=0.0)
    solo.hear(1, claim(tools, 2, SUSPECT, accusers=(tools.node_id(1),)))
    solo.hear(1, claim(tools, 2, DEAD))
    solo.hear(1, claim(tools, 2, ALIVE))
    solo.hear(1, claim(tools, 2, SUSPECT))
    assert solo.believe(2).state is DEAD


def test_targets_are_taken_in_turn_so_each_is_probed_once_per_lap(tools: Any) -> None:
    solo = tools.Solo(6)
    laps = []
    for _ in range(3):
        lap = []
        for _ in range(6):
            _, seq, box = solo.probed()
            solo.hear(box, Ack(seq))
            lap.append(box)
        laps.append(lap)
    for lap in laps:
        assert sorted(lap) == [1, 2, 3, 4, 5, 6]
    assert laps[0] != laps[1] or laps[1] != laps[2], "laps are shuffled anew"


def test_a_newcomer_is_probed_within_the_running_lap(tools: Any) -> None:
    solo = tools.Solo(4)
    _, seq, box = solo.probed()
    solo.hear(box, Ack(seq))
    solo.fact(tools.met(tools.record(5)))
    seen = []
    for _ in range(4):
        _, seq, box = solo.probed()
        solo.hear(box, Ack(seq))
        seen.append(box)
    assert 5 in seen


def test_news_ride_on_probes_and_acks(tools: Any) -> None:
    solo = tools.Solo(2, gossip_period_s=1000.0)
    solo.advance(5.0)
    solo.hear(1, claim(tools, 2, ALIVE, counter=1))
    ack = tools.sent(solo.hear(1, Probe(1)), Ack)[0]
    assert solo.believe(2) in ack.message.gossip
    solo.hear(1, claim(tools, 2, ALIVE, counter=2))
    probes = tools.sent(solo.advance(2.0), Probe)
    assert any(solo.believe(2) in probe.message.gossip for probe in probes)


def test_a_piece_of_news_is_told_lambda_log_n_times(tools: Any) -> None:
    solo = tools.Solo(9, probe_period_s=1000.0)
    solo.advance(30.0)
    solo.hear(1, claim(tools, 2, ALIVE, counter=1))
    trace = solo.advance(10.0)
    told = Counter(r.node for s in tools.sent(trace, Gossip) for r in s.message.records)
    assert told[tools.node_id(2)] == transmissions(10, 4) == 8


@pytest.mark.parametrize(("members", "times"), [(1, 4), (9, 4), (10, 8), (99, 8), (100, 12)])
def test_the_number_of_tellings_grows_with_the_logarithm(members: int, times: int) -> None:
    assert transmissions(members, 4) == times


def test_less_told_news_go_first(tools: Any) -> None:
    solo = tools.Solo(9, gossip_fanout=1, probe_period_s=1000.0)
    solo.advance(30.0)
    for i in range(2, 9):
        solo.hear(1, claim(tools, i, ALIVE, counter=1, name="x" * 64))
    told = Counter(
        r.node for s in tools.sent(solo.advance(0.61), Gossip) for r in s.message.records
    )
    assert len(told) == 7
    assert max(told.values()) - min(told.values()) <= 1


def test_a_stranger_is_not_heard(tools: Any) -> None:
    solo = tools.Solo(1)
    assert solo.hear(7, Probe(1, (tools.record(8),))) == []
    assert solo.machine.record_of(tools.node_id(8)) is None
    assert solo.machine.dropped == 1


def test_a_member_known_from_gossip_is_announced_for_the_door_and_not_probed(tools: Any) -> None:
    solo = tools.Solo(1)
    facts = tools.facts(solo.hear(1, Gossip((tools.record(2),))))
    assert [type(f).__name__ for f in facts] == ["MemberHeardOf"]
    assert tools.node_id(2) not in solo.machine.alive()
    assert all(s.to != tools.node_id(2) for s in tools.sent(solo.advance(10.0), Probe))
    facts = tools.facts(solo.fact(tools.met(tools.record(2))))
    assert facts == [MemberUp(tools.record(2))]


def test_a_nack_for_another_probe_names_nobody(tools: Any) -> None:
    solo = tools.Solo(5)
    _, seq, box = solo.probed()
    solo.advance(0.6)
    for i in range(1, 6):
        solo.hear(i, Nack(seq + 1, tools.node_id(box)))
        solo.hear(i, Nack(seq, tools.node_id(0)))
    solo.advance(0.31)
    assert solo.believe(box).accusers == (tools.node_id(0),)


def test_a_claim_out_of_bounds_is_not_heard(tools: Any) -> None:
    solo = tools.Solo(1)
    good = tools.record(2)
    wrong = [
        replace(good, incarnation=Incarnation(-1)),
        replace(good, incarnation=Incarnation(2**44)),
        replace(good, incarnation=Incarnation(1, 2**20)),
        replace(good, curve_key=b"short"),
        replace(good, name="x" * 65),
        replace(good, node="@trust"),
        replace(good, contact=replace(good.contact, hosts=())),
        replace(good, contact=replace(good.contact, hosts=("h" * 1000,))),
        replace(good, contact=replace(good.contact, stream=65536)),
        replace(good, accusers=("a",) * 17),
        replace(good, advert=-1),
    ]
    for bad in wrong:
        assert solo.hear(1, Gossip((bad,))) == []
    assert solo.machine.dropped == len(wrong)
    assert len(solo.machine.members()) == 2
