"""Logs of complete nodes: through kills, full and failing disks, whatever was told stays true."""

from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.log import RETRY_S, Log
from qallow_agent.ledger.note import parse_note, verified
from qallow_agent.testing.simulation import Plan, Simulation


def log_of(simulation: Simulation, name: str) -> Log:
    return simulation.boxes[name].node.rooms.ledger


def write(simulation: Simulation, name: str, body: bytes, *, at_once: bool = False) -> None:
    box = simulation.boxes[name]
    effects = box.node.rooms.ledger.write(
        LeafKind.RECEIPT, body, box.clocks.read(), at_once=at_once
    )
    box.running().shell._step(effects, "test", "")


def head_size(simulation: Simulation, name: str) -> int:
    head = log_of(simulation, name).head
    return parse_checkpoint(head.text).size if head else 0


def pair(seed: int) -> Simulation:
    """Return two nodes that have logged which committee certifies, and rest."""
    simulation = Simulation(Plan(seed=seed))
    simulation.mesh(["a", "b"])
    simulation.run(10.0)
    return simulation


def test_a_node_signs_what_it_wrote_within_an_epoch_and_nothing_else() -> None:
    simulation = pair(5)
    first, other = head_size(simulation, "a"), head_size(simulation, "b")
    simulation.run(5.0)
    assert head_size(simulation, "a") == first
    write(simulation, "a", b"receipt")
    simulation.run(1.5)
    log = log_of(simulation, "a")
    assert (head_size(simulation, "a"), head_size(simulation, "b")) == (first + 2, other)
    assert parse_leaf(log.entry(first + 1)).kind is LeafKind.EPOCH
    leaf = parse_leaf(log.entry(first))
    assert (leaf.node, leaf.body) == (simulation.boxes["a"].id, b"receipt")
    assert log.origin == f"qallow-agent/{simulation.boxes['a'].node.me.mesh}/{leaf.node}"
    assert leaf.latest_us - leaf.earliest_us < 1_000_000  # b's clock was heard


def test_a_log_outlives_its_agent() -> None:
    simulation = pair(6)
    write(simulation, "a", b"one")
    simulation.run(2.0)
    before = log_of(simulation, "a").head
    assert before is not None
    write(simulation, "a", b"never durable")
    simulation.faults.kill("a")
    simulation.faults.restart("a")
    simulation.run(2.0)
    log = log_of(simulation, "a")
    size = parse_checkpoint(before.text).size
    assert log.size >= size
    later = [log.entry(index) for index in range(size, log.size)]
    assert not any(entry.endswith(b"never durable") for entry in later)
    size = log.size
    write(simulation, "a", b"denial", at_once=True)
    simulation.faults.kill("a")
    simulation.faults.restart("a")
    simulation.run(1.0)
    assert log_of(simulation, "a").entry(size).endswith(b"denial")
    assert log_of(simulation, "a").consistency(size, head_size(simulation, "a"))


def test_a_full_disk_delays_the_log_and_loses_nothing() -> None:
    simulation = pair(7)
    first = head_size(simulation, "a")
    simulation.faults.set_disk("a", full=True)
    write(simulation, "a", b"one")
    simulation.run(2.0)
    assert "No space left" in log_of(simulation, "a").trouble
    assert "ledger.failed" in {told.notice.event for told in simulation.record.story}
    simulation.faults.set_disk("a", full=False)
    simulation.run(RETRY_S + 1.0)
    assert (log_of(simulation, "a").trouble, head_size(simulation, "a") > first) == ("", True)
    assert log_of(simulation, "a").entry(first).endswith(b"one")


def test_a_failing_disk_ends_the_signing_but_not_the_agent() -> None:
    simulation = pair(8)
    write(simulation, "a", b"one")
    simulation.run(2.0)
    first = head_size(simulation, "a")
    box = simulation.boxes["a"]
    box.disk.lossy = True
    write(simulation, "a", b"lost", at_once=True)
    box.disk.lossy = False
    simulation.run(20.0)
    log = log_of(simulation, "a")
    assert (log.stopped, head_size(simulation, "a"), box.up) == (True, first, True)
    simulation.faults.kill("a")
    simulation.faults.restart("a")
    write(simulation, "a", b"two")
    simulation.run(2.0)
    head = log_of(simulation, "a").head
    assert head is not None
    assert verified(parse_note(head.encode()), log.keys)
    assert head_size(simulation, "a") >= first + 2
