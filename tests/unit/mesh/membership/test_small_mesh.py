"""Whole meshes of Membership machines on a virtual network."""

import itertools
from typing import Any

import pytest

from qallow_agent.mesh.wire.kinds import MemberState

DEAD, LEFT, ALIVE = MemberState.DEAD, MemberState.LEFT, MemberState.ALIVE


def test_a_mesh_of_one_has_nothing_to_do(tools: Any) -> None:
    mesh = tools.SmallMesh(1)
    box = mesh[0]
    assert box.machine.next_deadline() is None
    assert box.machine.alive() == (tools.node_id(0),)
    mesh.run(1000.0)
    assert mesh.sent == dict.fromkeys(mesh.sent, 0)


@pytest.mark.parametrize("count", [2, 3, 10, 20])
def test_members_that_met_agree_at_once_and_stay_agreed(tools: Any, count: int) -> None:
    mesh = tools.SmallMesh(count)
    assert mesh.run(5.0, mesh.converged) < 0.1
    mesh.run(60.0)
    assert mesh.converged()
    assert mesh.false_deaths() == []


def test_a_newcomer_that_knows_one_is_soon_known_to_all(tools: Any) -> None:
    mesh = tools.SmallMesh(20)
    mesh.run(5.0)
    mesh.boot(20)
    mesh.introduce(20, 7)
    assert mesh.run(10.0, mesh.converged) <= 0.5


@pytest.mark.parametrize("count", [2, 3, 12])
def test_a_crash_seen_by_refused_links_is_known_within_two_seconds(tools: Any, count: int) -> None:
    times = []
    for seed in range(2):
        mesh = tools.SmallMesh(count, seed=seed)
        mesh.run(3.0)
        mesh.crash(0, refused=True)
        times.append(mesh.run(20.0, lambda mesh=mesh: mesh.all_see(0, DEAD)))
    assert max(times) <= 2.0, times


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_a_pulled_cable_is_known_within_seven_seconds(tools: Any, count: int) -> None:
    times = []
    for seed in range(3):
        mesh = tools.SmallMesh(count, seed=seed)
        mesh.run(3.0)
        mesh.crash(0)
        times.append(mesh.run(30.0, lambda mesh=mesh: mesh.all_see(0, DEAD)))
        assert mesh.false_deaths() == []
    times.sort()
    assert times[1] <= 4.5, times
    assert times[-1] <= 7.0, times


def test_half_the_mesh_may_crash_at_once(tools: Any) -> None:
    mesh = tools.SmallMesh(10, seed=3)
    mesh.run(3.0)
    for i in range(5):
        mesh.crash(i)
    mesh.run(60.0, mesh.converged)
    assert mesh.converged()
    assert mesh.false_deaths() == []


@pytest.mark.parametrize(("count", "loss"), [(2, 0.25), (5, 0.25), (10, 0.1), (15, 0.25)])
def test_loss_alone_kills_nobody(tools: Any, count: int, loss: float) -> None:
    mesh = tools.SmallMesh(count, seed=11, loss=loss)
    mesh.run(60.0)
    assert mesh.false_deaths() == []
    mesh.loss = 0.0
    mesh.run(40.0, mesh.converged)
    assert mesh.converged()


def test_loss_does_not_hide_a_crash(tools: Any) -> None:
    mesh = tools.SmallMesh(10, seed=5, loss=0.25)
    mesh.run(10.0)
    mesh.crash(4)
    assert mesh.run(60.0, lambda: mesh.all_see(4, DEAD)) <= 12.0
    assert mesh.false_deaths() == []


def test_a_cable_between_two_is_bridged_by_the_others(tools: Any) -> None:
    mesh = tools.SmallMesh(5, seed=2)
    mesh.cut = lambda a, b: {a, b} == {0, 1}
    mesh.run(120.0)
    assert mesh.false_deaths() == []


def test_a_link_deaf_in_one_direction_kills_nobody(tools: Any) -> None:
    mesh = tools.SmallMesh(5, seed=2)
    mesh.cut = lambda a, b: (a, b) == (0, 1)
    mesh.run(120.0)
    assert mesh.false_deaths() == []


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_member_frozen_for_three_seconds_is_not_declared_dead(tools: Any, count: int) -> None:
    for seed in range(5):
        mesh = tools.SmallMesh(count, seed=seed)
        mesh.run(2.0 + seed * 0.23)
        mesh[0].frozen = True
        mesh.run(3.0)
        mesh.thaw(0)
        mesh.run(20.0)
        assert mesh.false_deaths() == []
        assert mesh.converged()


def test_a_member_frozen_for_long_blames_nobody_when_it_wakes(tools: Any) -> None:
    mesh = tools.SmallMesh(5, seed=1)
    mesh.run(3.0)
    mesh[0].frozen = True
    mesh.run(60.0)
    mesh.thaw(0)
    mesh.run(20.0, mesh.converged)
    assert mesh.converged()
    assert mesh[0].downs() == []


@pytest.mark.parametrize(("cut_s", "target_s"), [(15.0, 1.0), (75.0, 3.0)])
def test_a_mesh_cut_in_half_heals(tools: Any, cut_s: float, target_s: float) -> None:
    mesh = tools.SmallMesh(10, seed=4)
    mesh.run(3.0)
    mesh.cut = lambda a, b: (a < 5) != (b < 5)
    mesh.run(cut_s)
    halves = ({0, 1, 2, 3, 4}, {5, 6, 7, 8, 9})
    for half in halves:
        for i in half:
            assert mesh[i].machine.alive() == tuple(sorted(map(tools.node_id, half)))
    mesh.cut = lambda _a, _b: False
    healed = mesh.now
    assert mesh.run(60.0, mesh.converged) <= target_s
    mesh.run(30.0)
    assert mesh.converged()
    late = [death for death in mesh.false_deaths() if death[0] > healed]
    assert late == [], "the rumours of the other half killed a member on its own side"


def test_a_farewell_is_never_read_as_a_failure(tools: Any) -> None:
    mesh = tools.SmallMesh(10, seed=6, loss=0.25)
    mesh.run(3.0)
    leaver = mesh[3]
    mesh._carry(leaver, leaver.machine.leave(tools.at(mesh.now)))
    leaver.crashed = True
    mesh.run(30.0)
    assert mesh.states(3) == {LEFT}
    left = [fact.left for box in mesh.living() for _, fact in box.facts if hasattr(fact, "left")]
    assert left == [True] * 9


def test_a_member_that_restarts_is_first_down_then_up(tools: Any) -> None:
    mesh = tools.SmallMesh(3)
    mesh.run(3.0)
    mesh.boot(0, epoch=2, port=9000)
    mesh.introduce(0, 1)
    mesh.run(5.0)
    assert mesh.converged()
    for i in (1, 2):
        told = [type(f).__name__ for t, f in mesh[i].facts if t >= 103 and f.__class__.__name__ in
                ("MemberUp", "MemberDown")]  # fmt: skip
        assert told == ["MemberDown", "MemberUp"]
        assert mesh[i].machine.record_of(tools.node_id(0)).contact.stream == 9000


def test_a_member_restored_from_an_old_image_catches_up_with_its_own_past(tools: Any) -> None:
    mesh = tools.SmallMesh(3)
    mesh.run(3.0)
    mesh.crash(0, refused=True)
    mesh.run(5.0)
    mesh.boot(0, epoch=0)
    mesh.introduce(0, 1)
    mesh.introduce(0, 2)
    mesh.run(10.0, mesh.converged)
    assert mesh.converged()
    assert mesh[0].machine.record_of(tools.node_id(0)).incarnation.epoch == 1


def test_every_datagram_fits_its_budget(tools: Any) -> None:
    mesh = tools.SmallMesh(20, seed=8, loss=0.3)
    mesh.run(5.0)
    mesh.crash(3)
    mesh.crash(4, refused=True)
    for i in range(20):
        mesh[i].machine.set_advert(i + 1)
    mesh.run(15.0)
    assert 1000 < mesh.largest <= 1300


def test_an_idle_mesh_is_quiet(tools: Any) -> None:
    mesh = tools.SmallMesh(3)
    mesh.run(30.0)
    before, mesh.bytes = dict(mesh.sent), 0
    mesh.run(60.0)
    per_node = mesh.bytes / 3 / 60
    assert per_node <= 400, per_node
    assert mesh.sent[next(iter(mesh.sent))] - before[next(iter(before))] <= 3 * 60 * 2.2


def test_the_same_seed_gives_the_same_run(tools: Any) -> None:
    def trace() -> list[Any]:
        mesh = tools.SmallMesh(5, seed=9, loss=0.2)
        mesh.run(5.0)
        mesh.crash(2)
        mesh.run(10.0)
        return [(box.facts, box.machine.members()) for box in mesh.boxes.values()]

    assert trace() == trace()


def test_an_advert_version_reaches_everybody(tools: Any) -> None:
    mesh = tools.SmallMesh(10)
    mesh.run(3.0)
    mesh[4].machine.set_advert(7)
    versions = lambda: {b.machine.record_of(tools.node_id(4)).advert for b in mesh.living()}  # noqa: E731
    assert mesh.run(10.0, lambda: versions() == {7}) <= 1.5


def test_two_processes_with_one_identity_are_named(tools: Any) -> None:
    mesh = tools.SmallMesh(3)
    mesh.run(2.0)
    clone = tools.record(0, counter=0, port=9999)
    for i in (1, 2):
        mesh._receive(mesh[i], "@trust", tools.met(clone))
    mesh.run(3.0)
    named = [n for _, n in mesh[0].notices if n.event == "membership.clone"]
    assert len(named) == 1
    assert "9999" in named[0].facts["theirs"]
    assert "7946" in named[0].facts["ours"]


def test_who_meets_in_pairs_still_becomes_one_mesh(tools: Any) -> None:
    mesh = tools.SmallMesh(8, met_at_start=False)
    for a, b in itertools.pairwise(range(8)):
        mesh.introduce(a, b)
    assert mesh.run(30.0, mesh.converged) <= 2.0
