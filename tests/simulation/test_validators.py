"""Validators in a mesh: honest decisions are assented to, and lies end their own leases."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.message import Report
from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.records import RECORD_BYTES, job_hash, pack, unpack
from qallow_agent.ledger.credence import Trust, examine
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.receiptfile import parse_receipt
from qallow_agent.node.clerk import read_decisions
from qallow_agent.node.commands import GetReceipt, GetStatus
from qallow_agent.testing.box import Box
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Simulation

START_BYTES = 8


def mesh(tools: SimpleNamespace, names: str = "abcd", **changes: Any) -> Simulation:
    """Return members whose sensors are read every second, and who have compared views."""
    craft = Craft(idle_w=5.0, margin_c=40.0)
    simulation: Simulation = tools.small(names, craft=craft, **changes)
    simulation.run(15.0)
    return simulation


def counts(box: Box) -> dict[str, Any]:
    return box.node.governance.validators.document()


def objections(box: Box) -> int:
    log = box.node.rooms.ledger
    leaves = (parse_leaf(log.entry(index)) for index in range(log.size))
    return sum(leaf.kind is LeafKind.OBJECTION for leaf in leaves)


# --- ways of lying --------------------------------------------------------------------------------


def lie_about_the_score(box: Box) -> None:
    """Log a component that is one thousandth less than the evidence gives."""
    log = box.node.rooms.ledger
    write = log.write

    def bent(kind: LeafKind, body: bytes, now: Instant, **how: Any) -> list[Effect]:
        if kind is LeafKind.DECISIONS:
            first = unpack(body[START_BYTES : START_BYTES + RECORD_BYTES])
            rest = body[START_BYTES + RECORD_BYTES :]
            body = body[:START_BYTES] + pack(structs.replace(first, c=first.c - 1)) + rest
        return write(kind, body, now, **how)

    log.write = bent  # type: ignore[method-assign]


def claim(box: Box, signal: str, value: int) -> None:
    """Replace what was measured by something else, before it is scored."""
    gathering = box.node.governance.gathering
    honest = gathering.of

    def bent(*about: Any, **how: Any) -> Evidence:
        evidence = honest(*about, **how)
        lie = tuple(
            structs.replace(each, value=value) if each.signal == signal else each
            for each in evidence.items
        )
        return structs.replace(evidence, items=lie)

    gathering.of = bent  # type: ignore[method-assign]


def claim_an_impossible_die(box: Box) -> None:
    claim(box, "s.temperature", 200_000_000)


def claim_a_clock_that_is_right(box: Box) -> None:
    claim(box, "h1", 0)
    box.clocks.step(2.0)


def show_old_evidence(box: Box) -> None:
    """Decide by what was known a minute ago, as if it were the newest."""
    clerk = box.node.governance._clerk
    honest = clerk.note

    def bent(evidence: Evidence, *rest: Any) -> list[Effect]:
        return honest(structs.replace(evidence, at_ms=evidence.at_ms - 60_000), *rest)

    clerk.note = bent  # type: ignore[method-assign]


class Lax:
    """A law that asks less than the mesh's."""

    def __init__(self, law: Any) -> None:
        self.digest = law.digest
        self._law = law

    def effective(self, now: Instant) -> Policy:
        policy: Policy = self._law.effective(now)
        return structs.replace(policy, threshold=policy.threshold - 100)


def judge_by_a_laxer_policy(box: Box) -> None:
    governance = box.node.governance
    governance.law = Lax(governance.law)


# --- honest nodes ---------------------------------------------------------------------------------


def test_three_peers_assent_to_an_honest_decision_and_the_receipt_names_them(
    tools: SimpleNamespace,
) -> None:
    simulation = mesh(tools)
    client = simulation.submit("a", tools.order())
    simulation.until(lambda: client.over, 120)
    simulation.run(10.0)
    for box in simulation.boxes.values():
        assert counts(box)["objections"] == 0
        assert counts(box)["assents"] == 3 * counts(box)["validated"]
        assert objections(box) == 0
    answer = simulation.ask("a", GetReceipt(client.job))  # type: ignore[arg-type]
    assert isinstance(answer, Report)
    file = parse_receipt(answer.document["file"].encode())
    receipt = examine(file, Trust(node=simulation.boxes["a"].id)).receipt
    assert len(receipt.validators) >= 3
    for executor in receipt.executors:
        admitted = executor.admission
        assert admitted is not None
        box = simulation.boxes[executor.place.partition("/")[0]]
        leaf = parse_leaf(box.node.rooms.ledger.entry(admitted.index))
        _, (record,) = read_decisions(leaf.body)
        assert record.job == job_hash(str(client.job))
        assert (record.s, record.c, record.h) == (admitted.s, admitted.c, admitted.h)
        assert (leaf.policy, box.node.rooms.ledger.origin) == (admitted.policy, admitted.origin)


def test_an_owner_who_is_stricter_or_overrides_for_a_while_is_honest_too(
    tools: SimpleNamespace,
) -> None:
    simulation = mesh(tools)
    owner = simulation.boxes["d"].node.rooms.charter.owner
    box = simulation.boxes["d"]
    shell, now = box.running().shell, box.clocks.read()
    shell.say(owner.override("c3", 600.0, "a test", now))
    simulation.run(2.0)
    client = simulation.submit("a", tools.order())
    simulation.until(lambda: client.over, 120)
    simulation.run(5.0)
    assert counts(box)["validated"]
    assert counts(box)["objections"] == 0


def test_a_node_alone_validates_nothing_and_works(tools: SimpleNamespace) -> None:
    simulation = mesh(tools, "a")
    client = simulation.submit("a", tools.order(points=200))
    simulation.until(lambda: client.over, 120)
    client.check()
    assert counts(simulation.boxes["a"])["validated"] == 0


# --- liars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "named"),
    [
        (lie_about_the_score, "C is "),
        (claim_an_impossible_die, "s.temperature: is 200, above 150"),
        (claim_a_clock_that_is_right, "h1: claims "),
        (show_old_evidence, "decision: the evidence is 6"),
        (judge_by_a_laxer_policy, "h3: threshold 2800 is below the mesh's 2900"),
    ],
)
def test_a_lie_is_objected_to_by_its_signal_and_ends_the_lease(
    tools: SimpleNamespace, lie: Callable[[Box], None], named: str
) -> None:
    simulation = mesh(tools)
    liar = simulation.boxes["d"]
    lie(liar)
    simulation.run(1.5)
    client = simulation.submit("a", tools.order())
    simulation.until(lambda: bool(counts(liar)["revoked"]), 60)
    assert named in counts(liar)["last_objection"]
    assert not liar.node.rooms.bench.leases()
    assert objections(liar) >= 2
    simulation.until(lambda: client.over, 300)
    client.check()
    assert all(not counts(simulation.boxes[name])["revoked"] for name in "abc")
    shown = simulation.ask("d", GetStatus())
    assert isinstance(shown, Report)
    assert shown.document["validators"]["objected"] >= 1


def test_one_validator_alone_is_shown_and_ends_nothing(tools: SimpleNamespace) -> None:
    simulation = mesh(tools)
    faulty = simulation.boxes["b"]
    judge = faulty.node.governance.validators.judges
    told = judge._observations

    def mistaken(*about: Any) -> Any:
        return structs.replace(told(*about), forked=True)

    judge._observations = mistaken  # type: ignore[method-assign]
    client = simulation.submit("a", tools.order())
    simulation.until(lambda: client.over, 120)
    simulation.run(5.0)
    others = [counts(simulation.boxes[name]) for name in "acd"]
    assert sum(each["objected"] for each in others)
    assert sum(each["revoked"] for each in others) == 0


# --- what status says -----------------------------------------------------------------------------


def test_status_says_how_coherent_the_mesh_is(tools: SimpleNamespace) -> None:
    simulation = mesh(tools)
    shown = simulation.ask("a", GetStatus())
    assert isinstance(shown, Report)
    found = shown.document["coherence"]
    assert found["text"] == "not enough evidence: 0 of 1,000 audits"
    assert (found["mesh_entropy"], found["enough"]) == (None, False)
    assert (found["coherence"], found["decoherence"]) == (1_000_000, 0)
    assert shown.document["ledger"]["committee"] == 4
