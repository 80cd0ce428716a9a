"""Receipts in a mesh: written when joules are known, certified by the others, kept over a crash."""

from types import SimpleNamespace

import pytest

from qallow_agent.base.errors import DeadlineExceeded, JobNotFound
from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Report
from qallow_agent.jobs.messages import JobOptions, JobState
from qallow_agent.ledger.credence import Finding, Trust, examine
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.receipt import pack_admission
from qallow_agent.ledger.receiptfile import parse_receipt
from qallow_agent.node.commands import GetReceipt
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.effort import Order
from qallow_agent.testing.receipts import ADMISSION
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Simulation


def metered(tools: SimpleNamespace, names: str, seed: int = 0) -> Simulation:
    simulation = Simulation(tools.plan(seed))
    for name in names:
        simulation.add(name, craft=Craft(idle_w=20.0, busy_w=15.0))
    simulation.mesh(list(names))
    simulation.settle()
    simulation.run(8.0)
    return simulation


def finished(simulation: Simulation, points: int = 2_000, **options: object) -> VirtualClient:
    order = Order(points=points, slots=6, options=JobOptions(start_s=60.0, **options))  # type: ignore[arg-type]
    client = simulation.submit("a", order)
    simulation.until(lambda: client.over, 300.0)
    return client


def receipt(simulation: Simulation, job: JobId | None, **wish: object) -> tuple[Finding, Report]:
    assert job is not None
    simulation.run(8.0)  # the last word on its joules may take six seconds
    answer = simulation.ask("a", GetReceipt(job, **wish))  # type: ignore[arg-type]
    assert isinstance(answer, Report)
    node = simulation.boxes["a"].node
    return (
        examine(parse_receipt(answer.document["file"].encode()), Trust(node=node.me.node)),
        answer,
    )


def receipts_in_log(simulation: Simulation) -> list[int]:
    log = simulation.boxes["a"].node.rooms.ledger
    leaves = [parse_leaf(log.entry(index)) for index in range(log.size)]
    return [place for place, leaf in enumerate(leaves) if leaf.kind is LeafKind.RECEIPT]


def test_a_receipt_says_who_did_what_and_how_many_joules_that_took(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "abc")
    client = finished(simulation)
    found, _ = receipt(simulation, client.job)
    told = found.receipt
    assert (told.job, told.end, told.points, told.done) == (client.job, "succeeded", 2_000, 2_000)
    assert sum(each.points for each in told.executors) == 2_000
    assert {each.place for each in told.executors} <= {"a/cpu0", "b/cpu0", "c/cpu0"}
    assert told.energy.provenance == "measured"
    assert told.energy.gross_uj == pytest.approx(
        sum(each.energy.gross_uj for each in told.executors), abs=3
    )
    assert told.energy.gross_uj > 0
    assert all(each.ops > 0 and each.busy_us > 0 for each in told.executors if each.points)
    assert told.ended_ms - told.submitted_ms > 0
    assert 0 <= told.bound_ms < 1_000
    assert found.trusted


def test_a_receipt_is_certified_by_a_quorum_for_whoever_waits(tools: SimpleNamespace) -> None:
    simulation = metered(tools, "abcd")
    client = finished(simulation)
    found, answer = receipt(simulation, client.job, certified=True)
    assert answer.document["certified"], answer.document["standing"]
    assert (len(found.certified_by), found.members) >= (3, 4)
    assert answer.document["standing"].startswith("certified by ")
    file = parse_receipt(answer.document["file"].encode())
    assert examine(file, Trust(mesh=found.mesh)).trusted


def test_every_end_has_a_receipt(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    failed = finished(simulation, 50, device="gpu")
    assert failed.state is not JobState.SUCCEEDED
    found, _ = receipt(simulation, failed.job)
    assert found.receipt.end == "failed"
    assert found.receipt.executors == ()
    order = Order(points=10**7, slots=6, options=JobOptions(start_s=60.0))
    client = simulation.submit("a", order)
    simulation.run(3.0)
    client.cancel()
    simulation.until(lambda: client.over, 60.0)
    found, _ = receipt(simulation, client.job)
    assert found.receipt.end == "cancelled"
    assert 0 < found.receipt.done < 10**7


def test_who_asks_too_early_waits_and_then_hears_why_there_is_none(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    client = simulation.submit("a", Order(points=10**7, slots=2))
    simulation.until(lambda: client.job is not None, 10.0)
    with pytest.raises(DeadlineExceeded, match="is not over"):
        receipt(simulation, client.job, patience_s=2.0)
    with pytest.raises(JobNotFound):
        receipt(simulation, JobId("job-unknown"))


def test_an_executor_that_died_is_named_as_one_that_did_not_tell_all(
    tools: SimpleNamespace,
) -> None:
    simulation = metered(tools, "abc")
    client = simulation.submit("a", Order(points=20_000, slots=6))
    simulation.run(4.0)
    simulation.boxes["c"].kill()
    simulation.until(lambda: client.over, 300.0)
    found, _ = receipt(simulation, client.job)
    lost = {each.place: each for each in found.receipt.executors}["c/cpu0"]
    assert lost.energy.provenance == "unknown"
    assert "has not told all" in lost.energy.why
    assert found.receipt.rerun > 0
    assert found.receipt.done == 20_000


def test_a_full_disk_delays_a_receipt_and_says_so(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    box = simulation.boxes["a"]
    client = simulation.submit("a", Order(points=500, slots=2))
    simulation.until(lambda: client.job is not None, 10.0)
    box.disk.full = True
    simulation.until(lambda: client.over, 60.0)
    with pytest.raises(DeadlineExceeded, match="No space left"):
        receipt(simulation, client.job, patience_s=1.0)
    box.disk.full = False
    simulation.run(12.0)
    found, _ = receipt(simulation, client.job)
    assert found.receipt.done == 500
    assert receipts_in_log(simulation) == [found.index]


def test_a_log_that_was_begun_anew_hands_out_nothing_else(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    client = finished(simulation, 50)
    receipt(simulation, client.job)
    box = simulation.boxes["a"]
    box.kill()
    box.disk.forget_logs()
    box.boot()
    simulation.run(5.0)
    other = finished(simulation, 60)
    found, _ = receipt(simulation, other.job)
    assert found.receipt.job == other.job
    with pytest.raises(JobNotFound, match="has no receipt"):
        receipt(simulation, client.job)


def test_a_crash_brings_every_job_its_receipt_once(tools: SimpleNamespace) -> None:
    simulation = tools.small("ab")
    done = finished(simulation, 50)
    first, _ = receipt(simulation, done.job)
    before = receipts_in_log(simulation)
    box = simulation.boxes["a"]
    running = simulation.submit("a", Order(points=10**7, slots=2))
    simulation.until(lambda: running.job is not None, 10.0)
    simulation.run(2.0)
    box.kill()
    simulation.run(1.0)
    box.boot()
    simulation.run(20.0)
    again, _ = receipt(simulation, done.job)
    assert again.index == first.index
    assert again.receipt == first.receipt
    lost, _ = receipt(simulation, running.job)
    assert lost.receipt.end == "failed"
    assert receipts_in_log(simulation) == [*before, lost.index]


def test_the_score_of_an_executor_travels_with_its_lease_into_the_receipt(
    tools: SimpleNamespace,
) -> None:
    simulation = tools.small("ab")
    told = pack_admission(ADMISSION)
    for box in simulation.boxes.values():
        box.node.rooms.bench.scores["cpu0"] = told
        box.node.governance.validators._tell = lambda *_: []  # type: ignore[method-assign]
    client = finished(simulation, 500)
    found, _ = receipt(simulation, client.job)
    assert found.receipt.executors
    assert all(each.admission == ADMISSION for each in found.receipt.executors)
