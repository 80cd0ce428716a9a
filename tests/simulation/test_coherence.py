"""Whole meshes certify their logs, through partitions, restarts and a member that lies."""

from types import SimpleNamespace

from qallow_agent.ledger.forks import TELL_S
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.manifest import Manifest
from qallow_agent.node.commands import GetStatus
from qallow_agent.node.quorum import ledger_document
from qallow_agent.testing.box import Box
from qallow_agent.testing.forger import Forger
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Simulation


def write(box: Box, text: str) -> None:
    """Let a node log something, as a room of it would."""
    shell, now = box.running().shell, box.clocks.read()
    shell.say(box.node.rooms.ledger.write(LeafKind.OVERRIDE, text.encode(), now, at_once=True))


def progress(box: Box) -> dict[str, object]:
    return ledger_document(box.node.rooms)


def certified(box: Box, size: int) -> bool:
    return int(str(progress(box)["certified"])) >= size


def all_certified(sim: Simulation, *names: str) -> bool:
    boxes = [sim.boxes[name] for name in names]
    return all(progress(box)["provisional"] == 0 and box.node.rooms.ledger.size for box in boxes)


def manifest(box: Box) -> Manifest:
    held = box.node.rooms.council.committee.manifest
    assert held is not None
    return held


def four(tools: SimpleNamespace, names: str = "abcd") -> Simulation:
    sim: Simulation = tools.small(names)
    sim.until(lambda: all(len(manifest(box).seats) == len(names) for box in sim.boxes.values()), 30)
    sim.until(lambda: all_certified(sim, *names), 30)
    return sim


def test_four_nodes_choose_a_committee_and_certify_each_others_logs(
    tools: SimpleNamespace,
) -> None:
    sim = four(tools)
    for name in "abcd":
        document = progress(sim.boxes[name])
        assert document["committee"] == 4
        assert document["standing"] == "f = 1"
        assert int(str(document["certified_by"])) >= 3
        assert not document["forked"]


def test_an_entry_is_certified_within_two_seconds_of_being_written(tools: SimpleNamespace) -> None:
    sim = four(tools)
    box = sim.boxes["b"]
    write(box, "something")
    size = box.node.rooms.ledger.size
    assert sim.until(lambda: certified(box, size), 10) < 2.0


def test_an_idle_mesh_signs_and_says_nothing_about_logs(tools: SimpleNamespace) -> None:
    sim = four(tools)
    sim.run(10.0)
    before = [box.node.rooms.ledger.size for box in sim.boxes.values()]
    sim.run(60.0)
    assert [box.node.rooms.ledger.size for box in sim.boxes.values()] == before
    assert all(box.node.rooms.council.next_deadline() is None for box in sim.boxes.values())


def test_halves_of_a_mesh_stay_provisional_and_certify_after_one_proof(
    tools: SimpleNamespace,
) -> None:
    sim = four(tools)
    sim.faults.partition(["a", "b"], ["c", "d"])
    sim.run(1.0)
    for name in "abcd":
        write(sim.boxes[name], f"alone {name}")
    sim.run(20.0)
    for name in "abcd":
        document = progress(sim.boxes[name])
        assert int(str(document["provisional"])) > 0
        assert document["version"] == manifest(sim.boxes["a"]).version
    sim.faults.heal()
    sim.until(lambda: all_certified(sim, *"abcd"), 90)
    assert all(not progress(sim.boxes[name])["forked"] for name in "abcd")


def test_a_member_that_restarts_cosigns_again_once_others_remember(tools: SimpleNamespace) -> None:
    sim = four(tools)
    sim.boxes["c"].kill()
    sim.boxes["d"].kill()
    sim.boxes["c"].boot()
    sim.boxes["d"].boot()
    sim.run(5.0)
    write(sim.boxes["a"], "after the restart")
    size = sim.boxes["a"].node.rooms.ledger.size
    sim.until(lambda: certified(sim.boxes["a"], size), 60)


def test_a_member_that_leaves_makes_the_committee_smaller(tools: SimpleNamespace) -> None:
    sim = four(tools, "abcde")
    sim.leave("e")
    others = [sim.boxes[name] for name in "abcd"]
    sim.until(lambda: all(len(manifest(box).seats) == 4 for box in others), 60)
    sim.until(lambda: all_certified(sim, *"abcd"), 30)


def test_a_node_that_signs_two_histories_is_named_by_all_and_wedges_only_itself(
    tools: SimpleNamespace,
) -> None:
    sim = four(tools)
    sim.run(TELL_S)
    liar = sim.boxes["d"]
    council = liar.node.rooms.council
    forger = Forger(council.card, liar.papers.keys(), liar.disk.logbook(liar.node.me.mesh).entries)
    forger.write(b"what never happened")
    victims = [sim.boxes["a"].id, sim.boxes["b"].id]
    liar.running().shell.say(forger.offers(manifest(liar).version, victims))
    sim.run(1.0)
    write(liar, "what happened")
    honest = [sim.boxes[name] for name in "abc"]
    sim.until(lambda: all(progress(box)["forked"] == [liar.id] for box in honest), 30)
    stuck = progress(liar)["certified"]
    for box in honest:
        write(box, "life goes on")
    sim.until(lambda: all_certified(sim, *"abc"), 30)
    assert progress(liar)["certified"] == stuck
    answer = sim.ask("a", GetStatus())
    problems = answer.document["problems"]  # type: ignore[attr-defined]
    assert any(each["node"] == liar.id and "two histories" in each["what"] for each in problems)


def test_two_histories_meet_even_when_each_is_shown_to_other_members(
    tools: SimpleNamespace,
) -> None:
    sim = four(tools)
    liar = sim.boxes["d"]
    council = liar.node.rooms.council
    entries = liar.disk.logbook(liar.node.me.mesh).entries
    version = manifest(liar).version
    for text, name in ((b"one", "a"), (b"other", "b")):
        forger = Forger(council.card, liar.papers.keys(), entries)
        forger.write(text)
        liar.running().shell.say(forger.offers(version, [sim.boxes[name].id]))
    honest = [sim.boxes[name] for name in "abc"]
    sim.until(lambda: all(progress(box)["forked"] == [liar.id] for box in honest), 120)


def test_work_is_not_placed_on_a_node_whose_log_forked(tools: SimpleNamespace) -> None:
    sim = four(tools)
    liar, other = sim.boxes["d"], sim.boxes["a"]
    council = liar.node.rooms.council
    entries = liar.disk.logbook(liar.node.me.mesh).entries
    for text in (b"one", b"other"):
        forger = Forger(council.card, liar.papers.keys(), entries)
        forger.write(text)
        liar.running().shell.say(forger.offers(manifest(liar).version, [other.id]))
        sim.run(1.0)
    assert other.node.rooms.council.forks.forked(liar.id)
    client = sim.submit("a", tools.order())
    while not client.over:
        sim.run(0.1)
        assert not liar.node.rooms.bench.leases()


def test_work_moves_away_from_a_node_as_soon_as_its_log_forks(tools: SimpleNamespace) -> None:
    sim = four(tools)
    client = sim.submit("a", tools.order())
    liar, other = sim.boxes["d"], sim.boxes["a"]
    sim.until(lambda: bool(liar.node.rooms.bench.leases()), 60)
    council = liar.node.rooms.council
    entries = liar.disk.logbook(liar.node.me.mesh).entries
    for text in (b"one", b"other"):
        forger = Forger(council.card, liar.papers.keys(), entries)
        forger.write(text)
        liar.running().shell.say(forger.offers(manifest(liar).version, [other.id]))
        sim.run(0.5)
    assert other.node.rooms.council.forks.forked(liar.id)
    sim.until(lambda: client.over, 300)
    client.check()


def test_a_node_whose_log_others_refuse_says_so_itself(tools: SimpleNamespace) -> None:
    sim = four(tools)
    liar = sim.boxes["d"]
    council = liar.node.rooms.council
    entries = liar.disk.logbook(liar.node.me.mesh).entries
    forger = Forger(council.card, liar.papers.keys(), entries)
    forger.write(b"what never happened")
    victims = [sim.boxes[name].id for name in "abc"]
    liar.running().shell.say(forger.offers(manifest(liar).version, victims))
    sim.run(1.0)
    write(liar, "what happened")
    sim.until(lambda: council.certifier.refused_by > 0, 15)
    stops = [each.score.stops for each in liar.node.governance.judged.values()]
    assert stops == [("h5",)], "it is judged in that very step, not at its next reading"
    sim.run(15.0)
    problems = sim.ask("d", GetStatus()).document["problems"]  # type: ignore[attr-defined]
    assert any("refuse this node's log" in each["what"] for each in problems)
    sim.run(15.0)
    judged = liar.node.governance.judged.values()
    assert judged
    assert all(each.score.h == 0 and "h5" in each.score.stops for each in judged)
    for name in "abc":
        for each in sim.boxes[name].node.governance.judged.values():
            assert "h5" not in each.score.stops


# --- validators -----------------------------------------------------------------------------------


def metered(tools: SimpleNamespace) -> Simulation:
    """Return four members whose sensors are read every second, as real ones are."""
    sim: Simulation = tools.small("abcd", craft=Craft(idle_w=5.0))
    sim.until(lambda: all_certified(sim, *"abcd"), 60)
    return sim


def bodies(box: Box, kind: LeafKind) -> list[bytes]:
    log = box.node.rooms.ledger
    leaves = (parse_leaf(log.entry(index)) for index in range(log.size))
    return [leaf.body for leaf in leaves if leaf.kind is kind]


def test_decisions_about_a_job_are_judged_again_and_nobody_objects(tools: SimpleNamespace) -> None:
    sim = metered(tools)
    client = sim.submit("a", tools.order())
    sim.until(lambda: client.over, 120)
    sim.run(15.0)
    assert any(bodies(box, LeafKind.DECISIONS) for box in sim.boxes.values())
    assert not any(bodies(box, LeafKind.OBJECTION) for box in sim.boxes.values())
