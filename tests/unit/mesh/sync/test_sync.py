import random

import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Effect, Instant, Lane, Send
from qallow_agent.base.notice import Notice
from qallow_agent.mesh.sync.settings import SyncSettings
from qallow_agent.mesh.sync.sync import Sync
from qallow_agent.mesh.wire.facts import MemberDown, MemberUp, NtpAnswer
from qallow_agent.mesh.wire.kinds import Incarnation, MemberRecord, MemberState, Pulse, PulseEcho

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
WALL_S = 1_700_000_000
LATER_S = 0.0004
"""One way of the pretended network."""


def at(mono_s: float, ahead_s: float = 0.0) -> Instant:
    return Instant(mono_s, WALL_S * 10**9 + round((mono_s + ahead_s) * 1e9))


def up(node: NodeId) -> MemberUp:
    contact = Contact(("127.0.0.1",), 1, 2)
    return MemberUp(MemberRecord(node, MemberState.ALIVE, Incarnation(1), node, contact, b"c"))


def machine(me: NodeId = A, *peers: NodeId, settings: SyncSettings | None = None) -> Sync:
    sync = Sync(me=me, settings=settings or SyncSettings(), rng=random.Random(1))
    for peer in peers:
        sync.receive(me, up(peer), at(0))
    return sync


def pulses(effects: list[Effect]) -> list[tuple[NodeId, Pulse]]:
    return [
        (e.to, e.message) for e in effects if isinstance(e, Send) if isinstance(e.message, Pulse)
    ]


def events(effects: list[Effect]) -> list[str]:
    return [e.event for e in effects if isinstance(e, Notice)]


def next_tick(sync: Sync) -> float:
    due_s = sync.next_deadline()
    assert due_s is not None
    return due_s


def exchange(sync: Sync, peer: NodeId, ahead_s: float = 0.0, cycle_s: float = 0.1) -> list[Effect]:
    """Tick when due and answer the pulse to ``peer`` as one whose clock is ahead of ours."""
    due_s = next_tick(sync)
    told = sync.tick(at(due_s))
    answers: list[Effect] = []
    for to, pulse in pulses(told):
        if to == peer:
            there = at(due_s + LATER_S, ahead_s).wall_ns
            echo = PulseEcho(pulse.seq, pulse.t1_ns, there, there, cycle_s)
            answers = sync.receive(peer, echo, at(due_s + 2 * LATER_S))
    return told + answers


def test_nobody_to_pulse_means_no_wake_ups() -> None:
    sync = machine()
    assert sync.next_deadline() is None
    assert sync.tick(at(5)) == []


def test_a_live_peer_is_pulsed_every_tick_by_datagram() -> None:
    sync = machine(A, B)
    first_s = next_tick(sync)
    assert 0 < first_s <= 0.1
    told = sync.tick(at(first_s))
    assert [e.lane for e in told if isinstance(e, Send)] == [Lane.DATAGRAM]
    assert [to for to, _ in pulses(told)] == [B]
    assert next_tick(sync) == pytest.approx(first_s + 0.1)


def test_members_pulse_at_different_places_of_the_tick() -> None:
    starts = {next_tick(machine(NodeId(f"node{i}"), B)) for i in range(20)}
    assert len(starts) == 20


def test_a_pulse_is_echoed_with_its_arrival() -> None:
    sync = machine(A, B)
    echoes = sync.receive(B, Pulse(7, 123, 0.1), at(1))
    wall_ns = at(1).wall_ns
    assert echoes == [Send(B, PulseEcho(7, 123, wall_ns, wall_ns, 0.1), Lane.DATAGRAM)]


def test_strangers_get_no_echo() -> None:
    assert machine(A, B).receive(C, Pulse(7, 123, 0.1), at(1)) == []


def test_a_flood_of_pulses_is_answered_only_at_a_bounded_rate() -> None:
    sync = machine(A, B)
    answered = sum(len(sync.receive(B, Pulse(i, 1, 0.1), at(1 + i / 10_000))) for i in range(5000))
    assert answered <= 20 + 50 * 0.5 + 1


def test_the_offset_contains_the_truth_and_its_bound_is_half_a_round_trip() -> None:
    sync = machine(A, B)
    exchange(sync, B, ahead_s=0.25)
    offset = sync.peer_offset(B)
    assert offset is not None
    assert abs(offset.offset_s - 0.25) <= offset.bound_s
    assert offset.bound_s == pytest.approx(LATER_S, rel=0.01)
    assert offset.rtt_s == pytest.approx(2 * LATER_S, rel=0.01)


def test_the_bound_grows_while_nothing_is_heard() -> None:
    sync = machine(A, B)
    exchange(sync, B)
    before, after = sync.document(at(1)), sync.document(at(11))
    grown_s = after["peers"][B]["bound_s"] - before["peers"][B]["bound_s"]
    assert grown_s == pytest.approx(10 * 500e-6)


def test_an_echo_counts_once_and_only_if_it_answers_a_pulse() -> None:
    sync = machine(A, B)
    due_s = next_tick(sync)
    [(_, pulse)] = pulses(sync.tick(at(due_s)))
    there = at(due_s).wall_ns
    lie = PulseEcho(pulse.seq, pulse.t1_ns + 1, there, there, 0.1)
    honest = PulseEcho(pulse.seq, pulse.t1_ns, there, there, 0.1)
    for echo in (lie, PulseEcho(99, pulse.t1_ns, there, there, 0.1)):
        sync.receive(B, echo, at(due_s + 0.001))
        assert sync.peer_offset(B) is None
    sync.receive(B, honest, at(due_s + 0.001))
    sync.receive(B, honest, at(due_s + 0.002))
    assert sync.document(at(1))["peers"][B]["answered"] == 1
    assert sync.counts["echo of no pulse"] == 3


@pytest.mark.parametrize(("t2", "t3"), [(10, 5), (-1, 5), (5, 2**63), (0, 10**18)])
def test_stamps_that_contradict_each_other_teach_nothing(t2: int, t3: int) -> None:
    sync = machine(A, B)
    due_s = next_tick(sync)
    [(_, pulse)] = pulses(sync.tick(at(due_s)))
    base = at(due_s).wall_ns if t3 == 10**18 else 0
    sync.receive(B, PulseEcho(pulse.seq, pulse.t1_ns, base + t2, base + t3, 0.1), at(due_s + 0.001))
    assert sync.peer_offset(B) is None
    assert sync.counts["impossible stamps"] == 1


def test_a_step_of_a_peers_clock_starts_its_offset_anew_and_is_said() -> None:
    sync = machine(A, B)
    exchange(sync, B, ahead_s=0.0)
    assert "sync.peer-stepped" in events(exchange(sync, B, ahead_s=3.0))
    offset = sync.peer_offset(B)
    assert offset is not None
    assert abs(offset.offset_s - 3.0) <= offset.bound_s


def test_a_jump_of_our_own_clock_discards_every_offset_at_once() -> None:
    sync = machine(A, B)
    exchange(sync, B)
    assert events(sync.tick(at(0.15, ahead_s=5.0))) == ["clock.jump"]
    assert sync.peer_offset(B) is None
    assert sync.mesh_offset(at(0.15)) is None


def test_a_small_step_of_our_own_clock_moves_the_offset_by_just_that() -> None:
    sync = machine(A, B)
    exchange(sync, B, ahead_s=0.25)
    sync.tick(at(0.15, ahead_s=0.005))
    sync.tick(at(0.16, ahead_s=0.005))
    offset = sync.peer_offset(B)
    assert offset is not None
    assert abs(offset.offset_s - 0.245) <= offset.bound_s
    assert offset.bound_s < 0.001


def test_a_member_that_goes_down_is_pulsed_no_more() -> None:
    sync = machine(A, B)
    sync.receive(A, MemberDown(B, left=False), at(1))
    assert sync.next_deadline() is None
    assert sync.peer_offset(B) is None


def test_facts_are_taken_only_from_our_own_node() -> None:
    sync = machine(A, B)
    sync.receive(B, MemberDown(B, left=False), at(1))
    sync.receive(B, up(C), at(1))
    sync.receive(B, NtpAnswer("ntp", 0.0, 0.1), at(1))
    document = sync.document(at(1))
    assert sorted(document["peers"]) == [B]
    assert document["ntp"] == []


def test_at_most_eight_peers_are_pulsed_on_a_tick_and_all_get_their_turn() -> None:
    peers = [NodeId(f"p{i:02}") for i in range(30)]
    sync = machine(A, *peers)
    pulsed: set[NodeId] = set()
    for _ in range(60):
        told = pulses(sync.tick(at(next_tick(sync))))
        assert len(told) == 8
        pulsed.update(to for to, _ in told)
    assert pulsed == set(peers)


def test_one_slow_member_is_marked_and_does_not_stop_the_others() -> None:
    sync = machine(A, B, C)
    told: list[Effect] = []
    for _ in range(30):
        told += exchange(sync, B, cycle_s=0.9)
    assert "sync.slow" in events(told)
    assert sync.slow() == (B,)
    assert 0.1 < sync.tick_s < 0.2
    for _ in range(30):
        told += exchange(sync, B, cycle_s=0.1)
    assert "sync.recovered" in events(told)
    assert sync.slow() == ()


def test_a_node_whose_ticks_come_late_says_so_and_pulses_more_rarely() -> None:
    sync = machine(A, B, C)
    told = [len(pulses(sync.tick(at(next_tick(sync) + 0.5)))) for _ in range(80)]
    assert sync.document(at(99))["cycle_s"] == pytest.approx(0.5)
    assert sync.document(at(99))["slow"]
    assert told[-12:].count(0) > 6


def test_one_long_pause_does_not_make_a_node_slow() -> None:
    sync = machine(A, B)
    for late_s in [0.0] * 30 + [3.0] + [0.0] * 20:
        sync.tick(at(next_tick(sync) + late_s))
    assert not sync.document(at(99))["slow"]
    assert sync.tick_s == 0.1


@pytest.mark.parametrize("claim", [float("nan"), float("inf"), -1.0, 0.0, 1e-6, 1e300])
def test_an_absurd_cycle_neither_collapses_nor_freezes_the_mesh_tick(claim: float) -> None:
    sync = machine(A, B)
    for _ in range(25):
        exchange(sync, B, cycle_s=claim)
        sync.check()
    assert sync.tick_s <= 0.2


def test_unanswered_pulses_are_forgotten_in_time() -> None:
    sync = machine(A, B)
    for _ in range(200):
        sync.tick(at(next_tick(sync)))
        sync.check()


def test_an_ntp_answer_within_the_peers_hull_is_believed() -> None:
    sync = machine(A, B)
    exchange(sync, B, ahead_s=0.0)
    assert sync.receive("@sensors", NtpAnswer("t", 0.001, 0.01), at(0.2)) == []
    [shown] = sync.document(at(0.2))["ntp"]
    assert shown["why"] == ""
    assert shown["offset_s"] == pytest.approx(0.001)


def test_an_ntp_answer_that_contradicts_the_peers_is_shown_but_not_believed() -> None:
    sync = machine(A, B)
    exchange(sync, B, ahead_s=0.0)
    before = sync.mesh_offset(at(0.2))
    assert events(sync.receive("@sensors", NtpAnswer("t", 30.0, 0.01), at(0.2))) == [
        "sync.ntp-refused"
    ]
    [shown] = sync.document(at(0.2))["ntp"]
    assert "away from the clocks" in shown["why"]
    assert sync.mesh_offset(at(0.2)) == before
    assert events(sync.receive("@sensors", NtpAnswer("t", 30.0, 0.01), at(0.3))) == []
    assert events(sync.receive("@sensors", NtpAnswer("t", 0.0, 0.01), at(0.4))) == ["sync.ntp-ok"]


def test_an_ntp_server_that_fails_is_shown_with_the_reason() -> None:
    sync = machine(A)
    sync.receive("@sensors", NtpAnswer("t", None, None, "no answer"), at(1))
    assert sync.document(at(2))["ntp"] == [
        {"server": "t", "offset_s": None, "bound_s": None, "why": "no answer", "age_s": 1.0}
    ]


def test_an_old_ntp_answer_says_nothing_any_more() -> None:
    sync = machine(A)
    sync.receive("@sensors", NtpAnswer("t", 0.5, 0.01), at(1))
    assert sync.mesh_offset(at(2)) is not None
    assert sync.mesh_offset(at(1000)) is None
    assert sync.document(at(1000))["ntp"][0]["why"] == "its last answer is too old"


def test_the_document_is_json_shaped_before_and_after_the_first_echo() -> None:
    sync = machine(A, B)
    assert sync.document(at(0))["offset_s"] is None
    exchange(sync, B)
    sync.receive(B, Pulse(1, 1, 0.1), at(0.5))
    document = sync.document(at(1))
    assert document["bound_s"] is not None
    assert 0 <= document["phase_coherence"] <= 1


def test_check_finds_a_node_that_pulses_itself() -> None:
    sync = machine(A, B)
    sync._peers[A] = sync._peers[B]
    with pytest.raises(InvariantBroken):
        sync.check()
