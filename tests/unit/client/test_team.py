"""A team with runners of paper: what happens when they answer, vanish, or are late."""

from typing import Any

import pytest

from qallow_agent.base.errors import KernelFailed, Malformed, PeerLost, ResultDisagreement
from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.client import team as team_room
from qallow_agent.client.payload import Survey
from qallow_agent.client.points import lay_out
from qallow_agent.client.results import Block
from qallow_agent.client.stream import Gap, Stream
from qallow_agent.client.team import STUCK_S, VERDICT_S, Team
from qallow_agent.jobs.manifest import Manifest
from qallow_agent.jobs.messages import JobOptions, Lease, LeaseLost
from qallow_agent.jobs.parcels import (
    PARCELS,
    ArrayHead,
    LeaseUnknown,
    ResultHead,
    ResultParcel,
    TaskHead,
)
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.testing.freight import raw_frames


class PaperWire:
    """Writes down what it would send."""

    def __init__(self, lease: Lease, now: float) -> None:
        self.lease = lease
        self.label = f"{lease.node_name}/{lease.device}"
        self.dial_until_s: float | None = now + 8.0
        self.silent_s: float | None = None
        self.flights: dict[int, None] = {}
        self.hopeless = ""
        self.sent: list[TaskHead] = []
        self.closed = False

    def send(self, tasks: tuple[TaskHead, ...], buffers: list[Any]) -> None:
        del buffers
        self.sent += tasks
        self.flights.update(dict.fromkeys(task.number for task in tasks))

    def close(self) -> None:
        self.closed = True


class Case:
    """A team on a sweep of a few points, its exchange, and what it reported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, points: int = 4, verify: int = 1) -> None:
        self.now = 100.0
        self.wires: list[PaperWire] = []
        self.reports: list[tuple[LeaseId, str]] = []
        self.stream = Stream()
        laid_out = lay_out(None, {"n": list(range(points))}, {})
        assert laid_out is not None
        monkeypatch.setattr(team_room.time, "monotonic", lambda: self.now)
        self.team = Team(
            self,
            Survey(laid_out, self.stream),
            settings=DispatchSettings(slice_first_points=1, slice_most_points=1),
            options=JobOptions(retries=1, verify=verify),
            keeper=None,
            report=lambda lease, why: self.reports.append((lease, why)),
            touch=lambda: None,
        )
        self.team.dispatcher.add_sweep(points)

    def dial(self, lease: Lease, listener: Team, now: float) -> PaperWire:
        assert listener is self.team
        self.wires.append(PaperWire(lease, now))
        return self.wires[-1]

    def grant(
        self, name: str = "lease-1", parcels: int = PARCELS, node: str = "n", **more: bool
    ) -> PaperWire:
        lease = Lease(
            LeaseId(name), JobId("j"), NodeId(node), "box", "cpu0", RunnerId("r"), "k", "h",
            10, 10.0, 0.0, ("127.0.0.1",), 1, b"", b"", b"", parcels,
        )  # fmt: skip
        self.team.grant(lease, self.now, **more)
        return self.wires[-1] if self.wires else PaperWire(lease, self.now)

    def meet(self, name: str = "lease-1", node: str = "n", **more: bool) -> PaperWire:
        wire = self.grant(name, node=node, **more)
        wire.dial_until_s = None
        self.team.wire_up(wire)
        self.team.send(self.now)
        return wire

    def answer(self, wire: PaperWire, task: TaskHead, *shape: int, value: int = 0) -> None:
        size = shape or (task.points,)
        head = ArrayHead("x", "u1", size)
        result = ResultHead(task.number, task.attempt, 0.001, (head,))
        parcel = ResultParcel(wire.lease.id, (result,))
        frames = raw_frames(parcel, [bytes([value]) * size[0]])
        parts = Manifest(parcel).parts(frames, lambda _: b"")
        self.team.wire_parcel(wire, parcel, parts)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.team.tick(self.now)
        self.team.send(self.now)

    def items(self) -> list[Any]:
        found = []
        while (item := self.stream.get(0.0)) is not None:
            found.append(item)
        return found


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(monkeypatch)


def test_a_runner_gets_work_once_it_is_connected(case: Case) -> None:
    wire = case.grant()
    case.team.send(case.now)
    assert wire.sent == []
    wire.dial_until_s = None
    case.team.wire_up(wire)
    case.team.send(case.now)
    assert [task.points for task in wire.sent] == [1]


def test_a_lease_granted_twice_is_dialled_once(case: Case) -> None:
    case.grant()
    case.grant()
    assert len(case.wires) == 1


@pytest.mark.parametrize(("parcels", "side"), [(PARCELS - 1, "there"), (PARCELS + 1, "here")])
def test_a_runner_of_another_release_is_not_dialled_and_the_older_side_named(
    case: Case, parcels: int, side: str
) -> None:
    case.grant(parcels=parcels)
    assert case.wires == []
    assert case.team.mismatch is not None
    assert case.reports == [("lease-1", case.team.mismatch.message)]
    assert case.team.mismatch.hint == f"upgrade qallow-agent {side}"


def test_a_runner_that_cannot_be_reached_is_reported(case: Case) -> None:
    wire = case.grant()
    case.pass_time(8.1)
    assert wire.closed
    assert case.reports == [("lease-1", "box/cpu0 cannot be reached in time")]
    wire = case.grant("lease-2")
    case.team.wire_down(wire, "refused")
    assert case.reports[1:] == [("lease-2", "refused")]


def test_answers_become_blocks_with_their_place(case: Case) -> None:
    wire = case.meet()
    case.answer(wire, wire.sent[0])
    (block,) = case.items()
    assert (block.start, block.points, block.where) == (0, 1, "box/cpu0")
    assert not wire.flights


def test_an_answer_of_another_shape_is_an_error_not_a_result(case: Case) -> None:
    wire = case.meet()
    case.answer(wire, wire.sent[0], 3)
    (gap,) = case.items()
    assert isinstance(gap, Gap)
    assert isinstance(gap.error, KernelFailed)


def test_work_of_a_vanished_runner_awaits_the_desks_verdict(case: Case) -> None:
    wire = case.meet()
    case.team.wire_down(wire, "closed")
    other = case.meet("lease-2")
    case.pass_time(VERDICT_S / 2)
    assert case.reports == []
    wire.hopeless = "closed"
    case.pass_time(VERDICT_S)
    assert case.reports == [("lease-1", "box/cpu0: closed")]
    case.answer(other, other.sent[0])
    case.team.send(case.now)
    assert wire.sent[0].number in {task.number for task in other.sent}


def test_the_verdict_names_the_task_that_killed_the_runner(case: Case) -> None:
    for name in ("lease-1", "lease-2"):
        wire = case.meet(name)
        poison = wire.sent[0]
        case.team.wire_down(wire, "closed")
        lost = LeaseLost(LeaseId(name), "device-lost", "SIGSEGV", poison.number, poison.attempt)
        case.team.lose(lost, case.now)
    (gap,) = case.items()
    assert isinstance(gap.error, KernelFailed)
    assert case.reports == []


def test_an_idle_runner_that_vanishes_is_done_without_at_once(case: Case) -> None:
    wire = case.meet()
    for _ in range(4):
        case.answer(wire, wire.sent[-1])
        case.team.send(case.now)
    case.team.wire_down(wire, "closed")
    assert case.reports == []
    case.pass_time(VERDICT_S + 0.1)
    assert len(case.reports) == 1


def test_answers_of_a_lost_lease_are_taken_for_a_moment(case: Case) -> None:
    wire = case.meet()
    case.team.lose(LeaseLost(LeaseId("lease-1"), "preempted", "another job's turn"), case.now)
    case.answer(wire, wire.sent[0])
    assert isinstance(case.items()[0], Block)
    assert not wire.closed
    case.pass_time(2.1)
    assert wire.closed


def test_a_runner_that_does_not_know_its_lease_is_left(case: Case) -> None:
    wire = case.meet()
    case.team.wire_parcel(wire, LeaseUnknown(LeaseId("lease-1")), [])
    assert wire.closed
    assert "does not know" in case.reports[0][1]


def test_a_runner_that_talks_nonsense_is_left(case: Case) -> None:
    wire = case.meet()
    case.team.wire_nonsense(wire, Malformed("bytes"))
    assert "nonsense: bytes" in case.reports[0][1]


def test_work_that_lost_its_runner_too_often_fails(case: Case) -> None:
    for name in ("lease-1", "lease-2"):
        wire = case.meet(name)
        case.team.wire_down(wire, "closed")
        case.pass_time(VERDICT_S + 0.1)
    (gap,) = case.items()
    assert isinstance(gap.error, PeerLost)


def test_a_runner_stuck_at_a_cancelled_task_is_left_if_others_wait(case: Case) -> None:
    piece = case.team.dispatcher.add("single")
    wire = case.meet()
    assert piece.number in wire.flights
    assert case.team.drop(piece, case.now)
    assert not case.team.drop(piece, case.now)
    case.pass_time(STUCK_S + 0.1)
    assert case.reports == [("lease-1", "box/cpu0 is at a cancelled task")]


def test_how_many_runners_are_useful_follows_from_how_long_one_point_takes(case: Case) -> None:
    useful = case.team.useful_slots
    assert useful(1_000, 0.0, 256, case.now) == 1
    assert useful(1_000, 0.1, 256, case.now) == 4
    case.meet()
    assert useful(1_000, 0.0, 256, case.now + 1.0) > 1
    case.team.delivery.point_s = 1e-6
    assert useful(1_000, 1.0, 256, case.now) == 1


def test_closing_hangs_up_on_everybody(case: Case) -> None:
    one, two = case.meet(), case.meet("lease-2")
    case.team.lose(LeaseLost(LeaseId("lease-2"), "preempted", "turn"), case.now)
    case.team.close()
    assert (one.closed, two.closed) == (True, True)


def two_of(case: Case) -> tuple[PaperWire, PaperWire]:
    """Return the runners of two nodes that were asked the same."""
    one, other = case.meet("lease-1", "one"), case.meet("lease-2", "two")
    assert one.sent[0].number == other.sent[0].number
    assert one.sent[0].attempt != other.sent[0].attempt
    return one, other


def test_a_verified_answer_is_held_until_another_device_agrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(monkeypatch, points=1, verify=2)
    one, other = two_of(case)
    case.answer(one, one.sent[0], value=7)
    assert case.items() == []
    case.answer(other, other.sent[0], value=7)
    (block,) = case.items()
    assert (block.start, block.points) == (0, 1)
    (told,) = case.team.jury.take()
    assert (told.places, told.classes) == (("one/cpu0", "two/cpu0"), (0, 0))


def test_answers_that_differ_go_to_a_third_device_and_the_majority_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(monkeypatch, points=1, verify=2)
    one, other = two_of(case)
    case.answer(one, one.sent[0], value=8)
    case.answer(other, other.sent[0], value=7)
    assert case.items() == []
    third = case.meet("lease-3", "three")
    case.answer(third, third.sent[0], value=7)
    (block,) = case.items()
    assert block.arrays()["x"].tolist() == [7]
    (told,) = case.team.jury.take()
    assert told.classes == (0, 1, 1)
    assert told.places == ("one/cpu0", "three/cpu0", "two/cpu0")
    assert len(set(told.digests)) == 2


def test_two_that_differ_and_no_third_are_an_error_that_names_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(monkeypatch, points=1, verify=2)
    one, other = two_of(case)
    case.answer(one, one.sent[0], value=8)
    case.answer(other, other.sent[0], value=7)
    case.pass_time(10.1)
    (gap,) = case.items()
    assert isinstance(gap, Gap)
    assert isinstance(gap.error, ResultDisagreement)
    assert "no third device came" in str(gap.error)
    assert case.team.jury.take()[0].classes == (0, 1)


def test_a_device_on_trial_delivers_nothing(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.team.audit(1.0, 1.0)
    tried = case.meet("lease-9", "tried", shadow=True)
    assert (case.team.workers, tried.sent) == (0, [])
    worker = case.meet("lease-1", "one")
    case.answer(worker, worker.sent[0], value=7)
    case.team.send(case.now)
    (block,) = case.items()
    case.answer(tried, tried.sent[0], value=8)
    assert case.items() == []
    assert block.start == 0
    assert case.team.jury.take() == (), "a third decides"
    case.pass_time(10.1)
    (told,) = case.team.jury.take()
    assert told.shadow
    assert "may be wrong" in caplog.text
