"""Logs that others keep: whole, proved and durable before anybody vouches for them."""

from dataclasses import replace
from random import Random

import pytest

from qallow_agent.base.machine import Send
from qallow_agent.base.message import Report
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.log import Log
from qallow_agent.ledger.mirror import PIECE_BYTES, mirrors_of
from qallow_agent.ledger.mirror_kinds import CopyKept, EntriesSent
from qallow_agent.ledger.note import parse_note
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.ledger.tiles import MAX_ENTRY_BYTES, pack_entries
from qallow_agent.node.commands import GetStatus
from qallow_agent.testing.box import Box
from qallow_agent.testing.chaos import Chaos
from qallow_agent.testing.logbook import VirtualLogbook
from qallow_agent.testing.premises import default_rooms
from qallow_agent.testing.simulation import Plan, Simulation

BIG = MAX_ENTRY_BYTES - 96


def mesh(seed: int, names: str, mirrors: int = 3) -> Simulation:
    ledger = LedgerSettings(lattice_s=0.0, mirrors=mirrors, mirror_s=2.0)
    simulation = Simulation(Plan(seed=seed, rooms=replace(default_rooms(), ledger=ledger)))
    simulation.mesh(list(names))
    return simulation


def write(box: Box, *bodies: bytes) -> None:
    log: Log = box.node.rooms.ledger
    for body in bodies:
        effects = log.write(LeafKind.RECEIPT, body, box.clocks.read())
        box.running().shell.say(effects)


def copy_at(simulation: Simulation, keeper: str, owner: str) -> VirtualLogbook:
    box = simulation.boxes[keeper]
    return box.disk.mirror(box.node.me.mesh, simulation.boxes[owner].id)


def test_a_log_is_kept_whole_by_its_mirrors() -> None:
    simulation = mesh(1, "abc")
    a = simulation.boxes["a"]
    write(a, *(b"%d" % number for number in range(700)))
    simulation.run(15.0)
    own = a.disk.logbook(a.node.me.mesh)
    assert own.size > 700
    for keeper in "bc":
        kept = copy_at(simulation, keeper, "a")
        assert kept.entries == own.entries
        assert kept.head == own.head
        assert simulation.boxes[keeper].node.rooms.mirror.kept[a.id] == own.size


def test_entries_larger_than_a_message_are_kept_too() -> None:
    simulation = mesh(2, "ab")
    a = simulation.boxes["a"]
    write(a, bytes(BIG), b"small", b"x" * BIG, b"y" * PIECE_BYTES)
    simulation.run(20.0)
    assert copy_at(simulation, "b", "a").entries == a.disk.logbook(a.node.me.mesh).entries


def test_a_mirror_goes_on_after_kills_of_either_side() -> None:
    simulation = mesh(3, "ab")
    a, b = simulation.boxes["a"], simulation.boxes["b"]
    for round_number in range(4):
        write(a, *(b"%d" % number for number in range(300)))
        simulation.run(3.1)
        simulation.faults.kill("ab"[round_number % 2])
        simulation.run(1.0)
        simulation.faults.restart("ab"[round_number % 2])
        simulation.run(5.0)
    simulation.run(20.0)
    own, kept = a.disk.logbook(a.node.me.mesh), copy_at(simulation, "b", "a")
    assert kept.entries == own.entries
    assert own.size > 1_000
    assert b.up


def test_a_mirror_with_a_full_disk_catches_up_when_there_is_room() -> None:
    simulation = mesh(4, "ab")
    a = simulation.boxes["a"]
    simulation.run(5.0)
    simulation.faults.set_disk("b", full=True)
    write(a, *(b"%d" % number for number in range(300)))
    simulation.run(10.0)
    assert copy_at(simulation, "b", "a").size < 300
    simulation.faults.set_disk("b", full=False)
    simulation.run(10.0)
    assert copy_at(simulation, "b", "a").entries == a.disk.logbook(a.node.me.mesh).entries


def test_a_mirror_vouches_for_what_it_keeps() -> None:
    simulation = mesh(5, "abcd")
    simulation.run(30.0)
    a = simulation.boxes["a"]
    write(a, b"receipt")
    simulation.run(10.0)
    size = a.disk.logbook(a.node.me.mesh).size
    others = {simulation.boxes[name].id: size for name in "bcd"}
    assert a.node.rooms.mirror.vouched == others
    document = simulation.ask("a", GetStatus())
    assert isinstance(document, Report)
    assert document.document["ledger"]["mirrored_by"] == others


def test_a_mirror_that_lies_is_not_believed() -> None:
    simulation = mesh(9, "ab")
    simulation.run(30.0)
    a, b = simulation.boxes["a"], simulation.boxes["b"]
    before = a.node.rooms.mirror.vouched
    manifest = a.node.rooms.council.committee.manifest
    assert manifest is not None
    lie = CopyKept(manifest.version, 9_999, bytes(32), "\u2014 x AAAAAAAA\n")
    b.running().shell.say([Send(a.id, lie)])
    simulation.run(1.0)
    assert a.node.rooms.mirror.vouched == before


def test_an_owner_that_hands_out_another_history_is_found_out() -> None:
    simulation = mesh(10, "ab")
    a, b = simulation.boxes["a"], simulation.boxes["b"]
    write(a, b"one")
    simulation.run(10.0)
    kept = copy_at(simulation, "b", "a")
    before = list(kept.entries)
    head = a.node.rooms.ledger.head
    assert head is not None
    forged = EntriesSent(
        a.node.rooms.council.card, kept.size, 0, pack_entries([before[-1]]), kept.size + 1, (),
        head.encode(),
    )  # fmt: skip
    a.running().shell.say([Send(b.id, forged)])
    simulation.run(2.0)
    assert kept.entries == before
    assert "message.refused" in {told.notice.event for told in simulation.record.story}


def test_nobody_keeps_a_log_when_there_shall_be_no_mirrors() -> None:
    simulation = mesh(6, "ab", mirrors=0)
    write(simulation.boxes["a"], b"receipt")
    simulation.run(20.0)
    assert copy_at(simulation, "b", "a").size == 0
    assert simulation.boxes["b"].node.rooms.mirror.next_deadline() is None


def test_mirrors_are_spread_and_few_move_when_one_goes() -> None:
    simulation = mesh(7, "abcdef", mirrors=2)
    simulation.run(5.0)
    members = simulation.boxes["a"].node.rooms.observer.members()
    for owner in members:
        chosen = mirrors_of(owner, members, 2)
        assert len(set(chosen)) == 2
        assert owner not in chosen
        gone = next(node for node in members if node not in {owner, *chosen})
        left = tuple(node for node in members if node != gone)
        assert mirrors_of(owner, left, 2) == chosen


def test_a_copy_is_read_like_the_log_itself() -> None:
    simulation = mesh(8, "ab")
    a = simulation.boxes["a"]
    write(a, b"receipt")
    simulation.run(10.0)
    kept = copy_at(simulation, "b", "a")
    assert b"receipt" in {parse_leaf(entry).body for entry in kept.entries}
    assert parse_note(kept.head).text == parse_note(a.disk.logbook(a.node.me.mesh).head).text


@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_under_random_faults_a_copy_is_always_a_beginning_of_its_log(seed: int) -> None:
    simulation = mesh(seed, "abc")
    chaos = Chaos(simulation, Random(seed))
    for number in range(6):
        for name in "abc":
            if simulation.boxes[name].up:
                write(simulation.boxes[name], *(b"%d" % number,) * 40)
        chaos.torment(10.0)
        for owner in "abc":
            own = simulation.boxes[owner].disk.logbook(simulation.boxes["a"].node.me.mesh).entries
            for keeper in "abc".replace(owner, ""):
                kept = copy_at(simulation, keeper, owner).entries
                assert kept == own[: len(kept)]
    simulation.run(60.0)
    own = simulation.boxes["a"].disk.logbook(simulation.boxes["a"].node.me.mesh)
    assert copy_at(simulation, "b", "a").entries == own.entries
