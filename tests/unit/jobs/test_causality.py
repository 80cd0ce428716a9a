"""The causal graph of a job: what led to what."""

from itertools import pairwise

from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import JobId, LeaseId
from qallow_agent.jobs.causality import Graph, causes, document, folded, graph_of
from qallow_agent.jobs.messages import JobOptions, JobState, JobStep
from qallow_agent.jobs.model import JobRecord
from qallow_agent.jobs.story import Chronicle, Judged, abridged

BEGAN_S = 1_700_000_000.0
CHOSEN = (Judged("worker/cpu0", 1.0, "the fastest", slots=1),)


def tell(
    chronicle: Chronicle,
    at_s: float,
    what: str,
    lease: str,
    attempt: int,
    epoch: int,
    *digests: str,
) -> None:
    digest, previous = (each * 16 for each in digests)
    chronicle.step(
        at_s,
        JobStep(
            JobId("job-a"), what, LeaseId(lease), 0, attempt, epoch, epoch * 1000, digest,
            previous, 1600,
        ),
    )  # fmt: skip


def moved_run() -> JobRecord:
    """Return a run that was refused once, lost its machine, and went on from epoch 25."""
    chronicle = Chronicle(BEGAN_S)
    chronicle.decided(0.0, 1, CHOSEN)
    chronicle.note(0.1, "refused", "n2/cpu0", "all leased")
    chronicle.decided(0.15, 2, CHOSEN)
    chronicle.note(0.2, "granted", "n1/cpu0", lease="lease-a")
    tell(chronicle, 1.0, "checkpoint", "lease-a", 1, 10, "a", "")
    tell(chronicle, 2.0, "checkpoint", "lease-a", 1, 25, "b", "a")
    chronicle.note(3.5, "lost", "n1/cpu0", "node worker is down", "lease-a")
    chronicle.decided(3.8, 1, CHOSEN)
    chronicle.note(4.0, "granted", "n3/cpu0", lease="lease-b")
    tell(chronicle, 4.1, "resumed", "lease-b", 2, 25, "b", "a")
    tell(chronicle, 5.0, "checkpoint", "lease-b", 2, 60, "c", "b")
    return JobRecord(
        JobId("job-a"), "harmonic", "h" * 64, 1, JobOptions(), "f", JobState.SUCCEEDED, BEGAN_S,
        BEGAN_S + 7, story=chronicle.story(),
    )  # fmt: skip


def edges(graph: Graph) -> set[tuple[str, str]]:
    """Return the edges by label."""
    labels = {node.id: node.label for node in graph.nodes}
    return {(labels[parent], labels[child]) for parent, child in graph.edges}


def test_a_run_that_moved_shows_every_cause() -> None:
    graph = causes(moved_run(), {"n1/cpu0": "worker/cpu0"})
    assert edges(graph) == {
        ("submit harmonic", "1 runner wanted"),
        ("1 runner wanted", "refused n2/cpu0"),
        ("refused n2/cpu0", "2 runners wanted"),
        ("2 runners wanted", "granted worker/cpu0"),
        ("granted worker/cpu0", "attempt 1"),
        ("attempt 1", "epoch 10, tick 10,000"),
        ("epoch 10, tick 10,000", "epoch 25, tick 25,000"),
        ("epoch 25, tick 25,000", "lost worker/cpu0"),
        ("lost worker/cpu0", "1 runner wanted"),
        ("1 runner wanted", "granted n3/cpu0"),
        ("granted n3/cpu0", "resumed from epoch 25"),
        ("lost worker/cpu0", "resumed from epoch 25"),
        ("epoch 25, tick 25,000", "resumed from epoch 25"),
        ("resumed from epoch 25", "epoch 60, tick 60,000"),
        ("epoch 60, tick 60,000", "succeeded"),
    }


def test_no_effect_is_older_than_its_cause() -> None:
    graph = causes(moved_run())
    stamps = {node.id: node.stamp for node in graph.nodes}
    assert list(stamps.values()) == sorted(stamps.values())
    assert all(stamps[parent] <= stamps[child] for parent, child in graph.edges)


def test_a_stamp_of_the_submitter_moves_the_clock_and_a_mad_one_does_not() -> None:
    chronicle = Chronicle(BEGAN_S)
    for ahead_ms in (500, 10**9):
        stamp = Stamp(int(BEGAN_S * 1000) + ahead_ms, 7)
        step = JobStep(JobId("j"), "checkpoint", LeaseId("l"), 0, 1, 1, 1, "d", "", 1, "", stamp)
        chronicle.step(0.0, step)
    first, second = chronicle.story().steps
    assert first.stamp == Stamp(int(BEGAN_S * 1000) + 500, 9)
    assert first.stamp < second.stamp < Stamp(first.stamp.wall_ms + 1, 0)


def test_a_graph_survives_its_document() -> None:
    graph = causes(moved_run())
    assert graph_of(document(graph)) == graph


def test_what_was_forgotten_leaves_no_edge_into_nothing() -> None:
    chronicle = Chronicle(BEGAN_S)
    for epoch in range(1, 200):
        tell(chronicle, float(epoch), "checkpoint", "lease-a", 1, epoch, "b", "a")
    tell(chronicle, 300.0, "corrupt", "lease-a", 1, 0, "", "")
    record = moved_run()
    steps = abridged(chronicle.story()).steps
    assert len(steps) == 32
    assert steps[-1].what == "corrupt"
    graph = causes(
        JobRecord(record.id, "k", "h", 1, record.options, "f", JobState.RUNNING, BEGAN_S,
                  story=chronicle.story())
    )  # fmt: skip
    known = {node.id for node in graph.nodes}
    assert all({parent, child} <= known for parent, child in graph.edges)
    assert "end" not in known


def chain_of(epochs: range) -> JobRecord:
    """Return a run that kept many states, of which the desk thinned out some."""
    chronicle = Chronicle(BEGAN_S)
    chronicle.note(0.1, "granted", "n1/cpu0", lease="lease-a")
    before = ""
    for epoch in epochs:
        digest = f"{epoch:016d}"
        step = JobStep(JobId("job-a"), "checkpoint", LeaseId("lease-a"), 0, 1, epoch, epoch, digest,
                       before, 1)  # fmt: skip
        chronicle.step(float(epoch), step)
        before = digest
    story = chronicle.story()
    return JobRecord(JobId("job-a"), "k", "h", 1, JobOptions(), "f", JobState.SUCCEEDED, BEGAN_S,
                     BEGAN_S + 999, story=story)  # fmt: skip


def test_states_whose_forerunner_was_thinned_out_follow_from_the_one_before() -> None:
    graph = causes(chain_of(range(1, 300)))
    kept = [node for node in graph.nodes if node.kind == "checkpoint"]
    assert len(kept) == 64
    for before, after in pairwise(kept):
        assert (before.id, after.id) in graph.edges
    assert len(graph.edges) == len(graph.nodes) - 1


def test_a_long_chain_is_drawn_by_its_ends() -> None:
    graph = folded(causes(chain_of(range(1, 20))))
    labels = [node.label for node in graph.nodes if node.kind == "checkpoint"]
    assert labels == [
        "epoch 1, tick 1", "epoch 2, tick 2", "15 checkpoints", "epoch 18, tick 18",
        "epoch 19, tick 19",
    ]  # fmt: skip
    assert len(graph.edges) == len(graph.nodes) - 1
    short = causes(chain_of(range(1, 6)))
    assert folded(short) == short


def test_a_repeated_decision_does_not_hide_what_made_it_necessary() -> None:
    chronicle = Chronicle(BEGAN_S)
    chronicle.decided(0.0, 1, CHOSEN)
    chronicle.note(0.2, "granted", "n1/cpu0", lease="lease-a")
    chronicle.note(1.0, "lost", "n1/cpu0", "killed", "lease-a")
    chronicle.decided(1.1, 1, CHOSEN)
    chronicle.note(1.2, "granted", "n1/cpu0", lease="lease-b")
    record = JobRecord(JobId("j"), "k", "h", 1, JobOptions(), "f", JobState.RUNNING, BEGAN_S,
                       story=chronicle.story())  # fmt: skip
    assert ("lost n1/cpu0", "granted n1/cpu0") in edges(causes(record))
