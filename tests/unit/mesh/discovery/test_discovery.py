"""Discovery finds, answers, remembers and never gives up."""

import itertools
from typing import Any

import msgspec
import pytest

from qallow_agent.base.errors import ConfigError, StorageCorrupt
from qallow_agent.base.ids import MeshId
from qallow_agent.base.machine import Announce, Broadcast, Persist
from qallow_agent.base.notice import Notice
from qallow_agent.base.settings import check_bounds
from qallow_agent.mesh.discovery.book import BOOK_FILE
from qallow_agent.mesh.discovery.settings import DiscoverySettings
from qallow_agent.mesh.wire.facts import MemberDown, MemberHeardOf
from qallow_agent.mesh.wire.kinds import Beacon


def saved(trace: list[Any]) -> list[bytes]:
    return [e.data for _, e in trace if isinstance(e, Persist) and e.name == BOOK_FILE]


def test_the_defaults_are_within_their_own_bounds() -> None:
    check_bounds(DiscoverySettings(), "mesh.discovery")


def test_the_first_beacon_leaves_at_birth(tools: Any) -> None:
    scout = tools.Scout()
    assert (scout.machine.next_deadline() or 0.0) <= scout.now
    first = tools.shouts(scout.advance(0.0))
    assert [(e.message, e.targets) for _, e in first] == [(tools.beacon(0), ())]


def test_beacons_come_fast_at_first_then_slowly(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    scout.fact(tools.up(1))
    times = [when for when, _ in tools.shouts(scout.advance(600.0))]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[0] <= 0.3
    assert len([when for when in times if when < 51.0]) >= 3
    assert 24.0 <= gaps[-1] <= 36.0


def test_alone_we_shout_more_often(tools: Any) -> None:
    scout = tools.Scout()
    times = [when for when, _ in tools.shouts(scout.advance(300.0))]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 6.0


def test_seeds_are_named_in_every_beacon(tools: Any) -> None:
    scout = tools.Scout(seeds=("box.example:9000", "10.1.1.1", "[fe80::1]:7000", "fe80::2"))
    wanted = ("box.example:9000", "10.1.1.1:7946", "[fe80::1]:7000", "[fe80::2]:7946")
    assert scout.machine.seeds() == wanted
    for _, shout in tools.shouts(scout.advance(60.0)):
        assert shout.targets == wanted


@pytest.mark.parametrize(
    "seed", ["", ":7946", "box:", "box:port", "box:0", "box:70000", "[fe80::1", "[::1]x", "box:-1"]
)
def test_a_seed_that_is_no_address_is_named(tools: Any, seed: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        tools.Scout(seeds=(seed,))


def test_a_strangers_beacon_is_announced_for_the_door_and_answered(tools: Any) -> None:
    scout = tools.Scout()
    scout.advance(20.0)
    effects = scout.hear(1, tools.beacon(1))
    assert effects == [Announce(tools.heard(1))]
    answers = tools.shouts(scout.advance(0.11), reply=True)
    assert [e.targets for _, e in answers] == [("10.0.0.2:7946",)]


def test_an_answer_is_not_answered(tools: Any) -> None:
    scout = tools.Scout()
    scout.advance(20.0)
    assert scout.hear(1, tools.beacon(1, reply=True)) == [Announce(tools.heard(1))]
    assert tools.shouts(scout.advance(0.2), reply=True) == []


def test_many_strangers_at_once_get_one_shout(tools: Any) -> None:
    scout = tools.Scout()
    scout.advance(20.0)
    for i in range(1, 6):
        scout.hear(i, tools.beacon(i))
    answers = tools.shouts(scout.advance(0.11), reply=True)
    assert len(answers) == 1
    assert len(answers[0][1].targets) == 5


def test_in_a_large_mesh_only_some_answer(tools: Any) -> None:
    answered = 0
    for seed in range(60):
        scout = tools.Scout(seed=seed)
        for i in range(1, 20):
            scout.fact(tools.up(i))
        scout.hear(30, tools.beacon(30))
        answered += bool(tools.shouts(scout.advance(0.11), reply=True))
    assert 3 <= answered <= 24, "about 4 in 20"


def test_a_known_member_that_is_up_needs_nothing(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    scout.fact(tools.up(1))
    assert scout.hear(1, tools.beacon(1)) == []


def test_a_known_member_at_a_new_address_is_announced(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    scout.fact(tools.up(1))
    assert scout.hear(1, tools.beacon(1, port=9000)) == [Announce(tools.heard(1, 9000))]
    assert scout.machine.book()[0].contact == tools.contact_of(1), "a claim replaces no proof"


def test_beacons_of_other_meshes_and_of_liars_are_ignored(tools: Any) -> None:
    scout = tools.Scout()
    assert scout.hear(1, tools.beacon(1, mesh=MeshId("x" * 26))) == []
    assert scout.hear(1, tools.beacon(2)) == []
    replace = msgspec.structs.replace
    good = tools.beacon(1)
    assert scout.hear(1, replace(good, curve_key=b"")) == []
    assert scout.hear(1, replace(good, contact=replace(good.contact, hosts=()))) == []
    assert scout.hear(1, replace(good, contact=replace(good.contact, hosts=("h" * 254,)))) == []
    assert scout.hear(1, replace(good, contact=replace(good.contact, door=2**16))) == []
    assert scout.machine.ignored == 6
    assert scout.known() == []


def test_our_own_echo_is_ignored(tools: Any) -> None:
    scout = tools.Scout()
    assert scout.hear(0, tools.beacon(0)) == []


def test_a_clone_of_ourselves_is_named_once_with_both_addresses(tools: Any) -> None:
    scout = tools.Scout()
    notice = scout.hear(0, tools.beacon(0, port=9000))[0]
    assert isinstance(notice, Notice)
    assert (notice.event, notice.level) == ("discovery.clone", "error")
    assert notice.facts == {"ours": "10.0.0.1:7946", "theirs": "10.0.0.1:9000"}
    assert scout.hear(0, tools.beacon(0, port=9000)) == []


def test_a_dead_member_is_tried_for_ever_and_a_live_one_is_not(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    scout.fact(tools.up(1))
    assert tools.tried(scout.advance(100.0), 1) == []
    scout.fact(MemberDown(tools.node_id(1), left=False))
    began = scout.now
    times = tools.tried(scout.advance(2000.0), 1)
    assert times[0] - began <= 1.3
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert 24.0 <= gaps[-1] <= 36.0
    scout.fact(tools.up(1))
    assert tools.tried(scout.advance(100.0), 1) == []


def test_who_is_tried_is_shouted_at_too(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    targets = {t for _, e in tools.shouts(scout.advance(5.0)) for t in e.targets}
    assert targets == {"10.0.0.2:7946"}


def test_who_has_no_datagram_lane_is_not_shouted_at(tools: Any) -> None:
    scout = tools.Scout()
    replace = msgspec.structs.replace
    fact = tools.heard(1)
    scout.fact(replace(fact, contact=replace(fact.contact, datagram=0)))
    trace = scout.advance(5.0)
    assert tools.tried(trace, 1)
    assert all(e.targets == () for _, e in tools.shouts(trace))


def test_losing_a_member_makes_us_shout_soon(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.up(1))
    scout.fact(tools.up(2))
    scout.advance(300.0)
    scout.fact(MemberDown(tools.node_id(1), left=False))
    assert tools.shouts(scout.advance(0.3))


def test_who_left_is_not_tried_and_forgotten_after_a_day(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    scout.fact(tools.up(1))
    scout.fact(MemberDown(tools.node_id(1), left=True))
    assert tools.tried(scout.advance(3600.0), 1) == []
    assert scout.known() == [tools.node_id(1)]
    scout.now += 86_400.0
    scout.advance(60.0)
    assert scout.known() == []


def test_who_left_and_came_back_is_a_member_again(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    scout.fact(MemberDown(tools.node_id(1), left=True))
    scout.fact(tools.met(1, 9000))
    assert tools.tried(scout.advance(3.0), 1)
    assert scout.machine.book()[0].left_s is None


def test_whoever_was_met_is_found_again_after_a_restart(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    scout.fact(tools.met(2))
    scout.fact(tools.heard(3))
    scout.fact(MemberDown(tools.node_id(2), left=True))
    pages = saved(scout.advance(1.1))
    assert len(pages) == 1, "many changes cost one write"
    again = tools.Scout(kept={BOOK_FILE: pages[0]})
    assert set(again.known()) == {tools.node_id(1), tools.node_id(2)}
    trace = again.advance(0.2)
    assert tools.tried(trace, 1)
    assert not tools.tried(trace, 2)


def test_a_large_book_is_not_tried_all_at_once(tools: Any) -> None:
    scout = tools.Scout()
    for i in range(1, 200):
        scout.fact(tools.met(i))
    again = tools.Scout(kept={BOOK_FILE: saved(scout.advance(1.5))[-1]})
    sizes = [
        sum(when == t for i in range(1, 200) for t in tools.tried([(when, e)], i))
        for when, e in again.advance(0.5)
    ]
    assert sum(sizes) < 100


def test_nothing_new_is_not_written_again(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    assert len(saved(scout.advance(2.0))) == 1
    scout.fact(tools.met(1))
    scout.fact(tools.up(1))
    assert saved(scout.advance(60.0)) == []


def test_a_revoked_member_is_forgotten_at_once(tools: Any) -> None:
    scout = tools.Scout()
    scout.fact(tools.met(1))
    scout.machine.forget(tools.node_id(1), scout.instant())
    assert scout.known() == []
    assert tools.tried(scout.advance(60.0), 1) == []


def test_the_book_is_bounded_and_keeps_who_was_seen_last(tools: Any) -> None:
    scout = tools.Scout(book_limit=3, unmet_limit=2)
    for i in range(1, 7):
        scout.fact(tools.met(i))
        scout.fact(tools.heard(i + 50))
        scout.now += 10.0
    kept = {tools.node_id(i) for i in (4, 5, 6, 55, 56)}
    assert set(scout.known()) == kept
    scout.advance(40.0)


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\xff" * 100])
def test_a_corrupt_book_is_named(tools: Any, junk: bytes) -> None:
    with pytest.raises(StorageCorrupt, match=BOOK_FILE):
        tools.Scout(kept={BOOK_FILE: junk})


def test_a_book_of_a_newer_release_is_refused_with_the_side_to_upgrade(tools: Any) -> None:
    data = msgspec.msgpack.encode({"version": 2, "entries": []})
    with pytest.raises(StorageCorrupt, match="version 2") as caught:
        tools.Scout(kept={BOOK_FILE: data})
    assert "upgrade" in caught.value.hint


def test_two_boxes_hear_of_each_other_within_a_second(tools: Any) -> None:
    for delay in (0.0, 0.4, 7.0):
        old, new = tools.Scout(seed=1), tools.Scout(seed=2)
        old.advance(delay + 3.0)
        new.now = old.now
        trace = new.advance(1.0)
        shout = next(e for _, e in trace if isinstance(e, Broadcast))
        assert isinstance(shout.message, Beacon)
        heard = msgspec.structs.replace(shout.message, node=tools.node_id(1))
        facts = [e.message for e in old.hear(1, heard) if isinstance(e, Announce)]
        assert [type(fact) for fact in facts] == [MemberHeardOf]
