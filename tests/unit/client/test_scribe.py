"""A scribe between paper runners and a paper desk: what is kept, told, brought and doubted."""

from collections.abc import Callable
from typing import Any

import pytest

from qallow_agent.base.errors import CheckpointCorrupt
from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.message import Done, Failure, Message
from qallow_agent.client import team as team_room
from qallow_agent.client.arguments import Arguments
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.jury import Jury
from qallow_agent.client.keeper import Keeping
from qallow_agent.client.payload import Singles
from qallow_agent.client.scribe import Scribe
from qallow_agent.client.team import Team
from qallow_agent.jobs.manifest import Manifest
from qallow_agent.jobs.messages import JobOptions, JobStep, KeepEpoch, Lease, LeaseLost
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.panel import Panel
from qallow_agent.jobs.parcels import (
    PARCELS,
    STATE,
    ArrayHead,
    Fault,
    ResultHead,
    ResultParcel,
    Snapshot,
    TaskHead,
)
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.vault import PART_BYTES
from qallow_agent.kernels.state import Checkpoint, Section, blob_digest, encode_checkpoint
from qallow_agent.testing.freight import raw_frames

HASH = "ab" * 32
SCALARS = {"ticks": 10_000}


def state(epoch: int, previous: bytes = b"", size: int = 8) -> bytes:
    before = blob_digest(previous) if previous else ""
    section = Section("e", "u1", (size,), bytes(size))
    return encode_checkpoint(Checkpoint(HASH, epoch * 100, before, (section,), epoch, (), SCALARS))


class PaperDesk:
    """Writes down what it is told, and answers when asked to."""

    timeout_s = 10.0

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.parts: list[KeepEpoch] = []
        self._answers: list[Callable[[Message], None]] = []

    def tell(self, message: Message) -> None:
        if isinstance(message, JobStep):
            self.steps.append((message.what, message.epoch))

    def post(self, message: Message, answer: Callable[[Message], None]) -> int:
        assert isinstance(message, KeepEpoch)
        self.parts.append(message)
        self._answers.append(answer)
        return 1

    def answer(self, message: Message) -> None:
        self._answers.pop(0)(message)


class PaperWire:
    """Writes down what it would send."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.label = f"{lease.node_name}/{lease.device}"
        self.dial_until_s: float | None = None
        self.silent_s: float | None = None
        self.flights: dict[int, int] = {}
        self.hopeless = ""
        self.every = 0
        self.sent: list[tuple[TaskHead, list[Any]]] = []

    def send(self, tasks: tuple[TaskHead, ...], buffers: list[Any]) -> None:
        self.sent += [(task, buffers) for task in tasks]

    def close(self) -> None:
        pass


class Case:
    """One long evaluation, its team, and the desk it tells."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, retain: bool = False) -> None:
        monkeypatch.setattr(team_room.time, "monotonic", lambda: 100.0)
        self.desk: Any = PaperDesk()
        options = JobOptions(retain=retain, checkpoint_every=100)
        self.scribe = Scribe(self.desk, lambda: JobId("job-a"), options)
        self.team = Team(
            self,  # type: ignore[arg-type]  # dials on paper
            Singles(),
            settings=DispatchSettings(),
            options=options,
            jury=Jury({}),
            keeping=Keeping(scribe=self.scribe),
            report=lambda _lease, _why: None,
            touch=lambda: None,
        )
        self.future = JobFuture("k", Arguments(SCALARS), options, None, self)  # type: ignore[arg-type]
        self.scribe.added(self.future)
        self.future.piece = self.team.dispatcher.add(self.future)

    def dial(self, lease: Lease, *_: object) -> PaperWire:
        return PaperWire(lease)

    def meet(self, name: str) -> Any:
        lease = Lease(
            LeaseId(name), JobId("job-a"), NodeId("n"), "box", "cpu0", RunnerId("r"), "k", HASH,
            10, 10.0, 0.0, ("127.0.0.1",), 1, b"", b"", b"", PARCELS,
        )  # fmt: skip
        self.team.grant(lease, 100.0)
        wire = self.team.wires[lease.id]
        self.team.wire_up(wire)
        self.team.send(100.0)
        return wire

    def snap(self, wire: Any, blob: bytes, attempt: int = 1) -> None:
        header = Snapshot(wire.lease.id, 0, attempt, ArrayHead(STATE, "u1", (len(blob),)))
        parts = Manifest(header).parts(raw_frames(header, [blob]), lambda _: b"")
        self.team.wire_parcel(wire, header, parts)

    def lose(self, wire: Any) -> None:
        lost = LeaseLost(wire.lease.id, LeaseEnd.CRASHED, "it died")
        self.team.lose(lost, 100.0)

    def fail(self, wire: Any, attempt: int) -> None:
        fault = Fault(
            CheckpointCorrupt.code, "the checkpoint at tick 200 is no state of this kernel"
        )
        parcel = ResultParcel(wire.lease.id, (ResultHead(0, attempt, 0.0, (), fault),))
        self.team.wire_parcel(wire, parcel, Manifest(parcel).parts([], lambda _: b""))
        self.team.send(100.0)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(monkeypatch)


def given_state(task: tuple[TaskHead, list[Any]]) -> bytes:
    """Return the state that came with a task; empty when none did."""
    head, buffers = task
    return buffers[0].tobytes() if [each.name for each in head.arrays] == [STATE] else b""


def test_a_lost_run_goes_on_from_its_newest_state(case: Case) -> None:
    wire = case.meet("one")
    assert wire.every == 100
    first = state(1)
    second = state(2, first)
    case.snap(wire, first)
    case.snap(wire, second)
    case.lose(wire)
    again = case.meet("two")
    assert given_state(again.sent[0]) == second
    assert case.desk.steps == [("checkpoint", 1), ("checkpoint", 2), ("resumed", 2)]
    assert case.future.epochs == (1, 2)


def test_a_piece_whose_answers_are_compared_begins_at_the_beginning(case: Case) -> None:
    wire = case.meet("one")
    case.snap(wire, state(1))
    assert case.future.piece is not None
    case.future.piece.panel = Panel(2)
    case.lose(wire)
    assert given_state(case.meet("two").sent[0]) == b""


def test_nobody_is_heard_who_is_not_at_that_attempt(case: Case) -> None:
    wire = case.meet("one")
    case.snap(wire, state(1), attempt=7)
    case.lose(wire)
    case.snap(wire, state(1))
    assert case.desk.steps == []
    assert given_state(case.meet("two").sent[0]) == b""


def test_a_corrupt_state_is_told_by_name_and_the_older_one_is_used(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    wire = case.meet("one")
    first = state(1)
    case.snap(wire, first)
    case.snap(wire, state(3, state(2)))
    case.snap(wire, b"junk")
    assert "epoch 3 at tick 300 follows from none that is known" in caplog.text
    assert [what for what, _ in case.desk.steps] == ["checkpoint", "corrupt", "corrupt"]
    case.lose(wire)
    assert given_state(case.meet("two").sent[0]) == first


def test_a_state_that_a_runner_refuses_gives_way_to_an_older_one_and_then_to_none(
    case: Case,
) -> None:
    wire = case.meet("one")
    first = state(1)
    case.snap(wire, first)
    case.snap(wire, state(2, first))
    case.lose(wire)
    again = case.meet("two")
    case.fail(again, 2)
    assert given_state(again.sent[1]) == first
    assert case.desk.steps[-2:] == [("corrupt", 2), ("resumed", 1)]
    case.fail(again, 3)
    assert given_state(again.sent[-1]) == b""
    assert not case.future.done()


def test_states_of_a_retained_job_are_brought_part_by_part_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(monkeypatch, retain=True)
    wire = case.meet("one")
    large = state(1, size=PART_BYTES)
    case.snap(wire, large)
    case.snap(wire, state(2, large))
    assert [(each.epoch, each.part, each.last) for each in case.desk.parts] == [(1, 0, False)]
    for _ in range(3):
        case.desk.answer(Done())
    found = [(each.epoch, each.part, each.last) for each in case.desk.parts]
    assert found == [(1, 0, False), (1, 1, True), (2, 0, True)]
    assert b"".join(each.data for each in case.desk.parts[:2]) == large


def test_a_desk_that_keeps_nothing_is_said_once_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case(monkeypatch, retain=True)
    wire = case.meet("one")
    before = b""
    for epoch in (1, 2):
        before = state(epoch, before)
        case.snap(wire, before)
        case.desk.answer(Failure("storage-full", "No space left on device"))
    assert caplog.text.count("are not kept by the agent: No space left on device") == 1
    assert [each.epoch for each in case.desk.parts] == [1, 2]


def test_the_state_that_the_desk_kept_for_a_client_before_is_used(case: Case) -> None:
    blob = state(5, state(4))
    case.scribe.accepted(HASH)
    case.scribe.recall(KeepEpoch(JobId("job-a"), 5, 0, blob[:10]))
    case.scribe.recall(KeepEpoch(JobId("job-a"), 5, 1, blob[10:], last=True))
    wire = case.meet("one")
    assert given_state(wire.sent[0]) == blob
    case.snap(wire, state(6, blob))
    assert case.future.epochs == (5, 6)


def test_a_kept_state_that_is_damaged_starts_the_run_anew(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.scribe.accepted(HASH)
    case.scribe.recall(KeepEpoch(JobId("job-a"), 5, 0, state(5)[:-1], last=True))
    assert "the run starts anew" in caplog.text
    assert given_state(case.meet("one").sent[0]) == b""
