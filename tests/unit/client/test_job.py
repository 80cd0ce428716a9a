"""A job's conversation with the desk, without runners: a paper desk writes down what it is told."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from qallow_agent.base.errors import (
    AgentUnreachable,
    BadParameter,
    DeadlineExceeded,
    JobCancelled,
    JobNotFound,
    NoDevice,
    StorageCorrupt,
)
from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Done, Failure, Message
from qallow_agent.client.arguments import Arguments
from qallow_agent.client.arrays import archive_of
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.job import IDLE_S, Job
from qallow_agent.client.payload import Singles, Survey
from qallow_agent.client.phase import Phase
from qallow_agent.client.points import lay_out
from qallow_agent.client.results import Block
from qallow_agent.client.stream import End, Gap, Stream
from qallow_agent.jobs.messages import (
    Deposit,
    Fetch,
    Fingerprint,
    JobAccepted,
    JobEnded,
    JobOptions,
    JobProgress,
    JobState,
    JobStopped,
    LeaseStarved,
    SubmitJob,
)
from qallow_agent.jobs.parcels import ArrayHead

ID = JobId("job-1")


class PaperDesk:
    """What a job says, and a way to answer it."""

    timeout_s = 10.0

    def __init__(self) -> None:
        self.said: list[Message] = []
        self.readers: dict[int, Callable[[Message], None]] = {}

    def post(self, message: Message, answer: Callable[[Message], None] | None = None) -> int:
        self.said.append(message)
        channel = len(self.said)
        if answer is not None:
            self.readers[channel] = answer
        return channel

    def tell(self, message: Message) -> None:
        self.said.append(message)

    def listen(self, channel: int, reader: Callable[[Message], None]) -> None:
        self.readers[channel] = reader

    def deafen(self, channel: int) -> None:
        self.readers.pop(channel, None)

    def last(self, kind: type[Message]) -> Message:
        return next(message for message in reversed(self.said) if isinstance(message, kind))

    def answer(self, kind: type[Message], message: Message) -> None:
        """Answer the last request of a kind on its channel."""
        channel = max(i + 1 for i, said in enumerate(self.said) if isinstance(said, kind))
        self.readers[channel](message)


class Paper:
    """A connection that nobody asks anything."""

    def find_job(self, future: JobFuture) -> str:
        return "" if future.work is None else future.work.id

    def give_up(self, future: JobFuture) -> None:
        future.confirm_cancelled()


class Case:
    """A job, its desk and its clock."""

    def __init__(self, options: JobOptions | None = None, points: int = 0) -> None:
        self.desk = PaperDesk()
        self.stream = Stream()
        self.now = time.monotonic()
        options = options or JobOptions()
        order = SubmitJob("k", points, {"n": 1}, 1, options)
        laid_out = lay_out(None, {"n": list(range(points))}, {}) if points else None
        payload = (
            Singles(hashed=options.fingerprint)
            if laid_out is None
            else Survey(laid_out, self.stream)
        )
        self.job = Job(order, payload, self.desk, None, guess_s=0.0, touch=lambda _: None)
        if points:
            self.job.account.add_sweep(points, 8)
            self.job.retiring = True
        self.job.begin(self.now)

    def add(self) -> JobFuture:
        future = JobFuture("k", Arguments({"n": 1}), self.job.order.options, None, Paper())
        self.job.account.add(future)
        return future

    def accept(self, *, known: bool = False) -> None:
        self.hear(JobAccepted(ID, JobState.SUBMITTED, "hash", known))

    def hear(self, message: Message) -> None:
        self.desk.answer(SubmitJob, message)

    def run(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.job.tick(self.now)
        self.job.turn(self.now)

    def drain(self) -> list[object]:
        items = []
        while (item := self.stream.get(0.0)) is not None:
            items.append(item)
        return items


def test_its_end_tells_the_hashes_of_what_went_in_and_came_out() -> None:
    ended = []
    for hashed in (True, True, False):
        case = Case(JobOptions(fingerprint=hashed))
        case.accept()
        case.add()
        case.job.give_up(JobCancelled("enough"))
        ended.append(case.desk.last(JobEnded).fingerprint)
    assert ended[0] == ended[1] != ended[2] == Fingerprint()
    assert len(ended[0].inputs) == len(ended[0].outputs) == 32
    assert ended[0].columns == ()


def test_its_name_is_known_once_it_is_accepted() -> None:
    case = Case()
    assert not case.job.named.is_set()
    case.accept()
    assert (case.job.id, case.job.phase, case.job.named.is_set()) == (ID, Phase.OPEN, True)


def test_a_refusal_fails_every_evaluation_with_its_own_error() -> None:
    case = Case()
    futures = [case.add(), case.add()]
    case.hear(Failure("bad-parameter", "n is wrong", "make it right"))
    errors = [future.exception(0) for future in futures]
    assert all(isinstance(error, BadParameter) for error in errors)
    assert errors[0] is not errors[1]
    assert case.job.phase is Phase.OVER
    assert not case.job.accepting


def test_an_agent_that_does_not_answer_is_given_up() -> None:
    case = Case()
    future = case.add()
    case.run(10.1)
    assert isinstance(future.exception(0), AgentUnreachable)
    assert case.job.phase is Phase.OVER


def test_a_job_that_the_desk_stops_says_why() -> None:
    case = Case()
    future = case.add()
    case.accept()
    case.hear(JobStopped(ID, JobState.FAILED, "no-device", "no runner within 60 s: busy", "wait"))
    error = future.exception(0)
    assert isinstance(error, NoDevice)
    assert (error.message, error.hint) == ("no runner within 60 s: busy", "wait")


def test_a_pool_that_rests_ends_after_a_moment_and_takes_no_more() -> None:
    case = Case()
    future = case.add()
    case.accept()
    case.job.account.drop(future, case.now)
    future.cancel()
    case.run()
    assert case.job.accepting
    case.run(IDLE_S + 0.1)
    ended = case.desk.last(JobEnded)
    assert (ended.job, ended.state) == (ID, JobState.CANCELLED)
    assert not case.job.accepting
    case.desk.answer(JobEnded, Done())
    assert case.job.phase is Phase.OVER
    assert case.job.due() is None


def test_a_pool_makes_room_for_others_when_it_rests_and_only_then() -> None:
    case = Case()
    future = case.add()
    case.accept()
    case.job.make_room()
    assert case.job.phase is Phase.OPEN
    case.job.account.drop(future, case.now)
    case.job.make_room()
    assert case.job.phase is Phase.ENDING


def test_starvation_is_explained_should_the_desk_forget_to_end_it() -> None:
    case = Case(JobOptions(start_s=1.0))
    future = case.add()
    case.accept()
    case.hear(LeaseStarved(ID, "a/cpu0 is busy", "add nodes"))
    case.run()
    assert not case.job.hungry(case.now)
    case.run(0.2)
    assert case.job.hungry(case.now)
    case.run(6.0)
    error = future.exception(0)
    assert isinstance(error, NoDevice)
    assert "no runner within 1 s: a/cpu0 is busy" in error.message
    assert case.desk.last(JobEnded).state == JobState.FAILED


def test_its_deadline_holds_even_if_the_desk_forgets_it() -> None:
    case = Case(JobOptions(deadline_s=1.0), points=3)
    case.accept()
    case.run(6.1)
    assert case.desk.last(JobEnded).state == JobState.EXPIRED
    gap, end = case.drain()[-2:]
    assert isinstance(gap, Gap)
    assert isinstance(end, End)
    assert isinstance(end.error, DeadlineExceeded)


def test_progress_is_told_to_the_desk_and_to_the_reader() -> None:
    case = Case(points=3)
    case.accept()
    case.run(0.3)
    assert case.desk.last(JobProgress) == JobProgress(ID, 0, 0, 0)
    assert case.drain() == [JobProgress(ID, 0, 0, 0)]
    said = len(case.desk.said)
    for _ in range(20):
        case.run(0.3)
    assert len(case.desk.said) == said
    case.run(10.0)
    assert len(case.desk.said) == said + 1


def test_giving_up_before_it_is_accepted_ends_it_once_it_is() -> None:
    case = Case()
    future = case.add()
    case.job.give_up(JobCancelled("enough"))
    assert isinstance(future.exception(0), JobCancelled)
    assert not case.job.accepting
    case.accept()
    assert case.desk.last(JobEnded).state == JobState.CANCELLED


def test_giving_up_twice_is_once() -> None:
    case = Case(points=2)
    case.accept()
    case.job.give_up(JobCancelled("enough"))
    case.job.give_up(JobCancelled("enough"))
    assert sum(isinstance(item, End) for item in case.drain()) == 1
    assert sum(isinstance(said, JobEnded) for said in case.desk.said) == 1


def test_a_lost_agent_fails_everything_at_once() -> None:
    case = Case(points=2)
    case.accept()
    case.job.abort(AgentUnreachable("gone"))
    case.job.abort(AgentUnreachable("gone"))
    *_, end = case.drain()
    assert isinstance(end.error, AgentUnreachable)


def archive(*values: float) -> bytes:
    frame = np.array(values, dtype="<f4").tobytes()
    block = Block([ArrayHead("x", "f4", (len(values),))], [frame], points=len(values))
    return archive_of([block])


def finished(case: Case) -> None:
    """Say that the key names a job that is over."""
    case.hear(JobAccepted(ID, JobState.SUCCEEDED, "hash", known=True))
    case.hear(JobStopped(ID, JobState.SUCCEEDED, "", ""))


def test_a_finished_job_of_the_same_key_is_fetched_in_parts() -> None:
    case = Case(JobOptions(idempotency_key="k", retain=True), points=3)
    finished(case)
    assert case.desk.last(Fetch) == Fetch(ID)
    data = archive(1.0, 2.0, 3.0)
    case.desk.answer(Fetch, Deposit(ID, 0, data[:10]))
    case.desk.answer(Fetch, Deposit(ID, 1, data[10:], last=True))
    block, end = case.drain()
    assert block.arrays()["x"].tolist() == [1.0, 2.0, 3.0]
    assert end == End()
    assert case.job.phase is Phase.OVER


def test_a_result_that_was_not_retained_is_an_error() -> None:
    case = Case(JobOptions(idempotency_key="k", retain=True), points=3)
    finished(case)
    case.desk.answer(Fetch, Failure("job-not-found", "not kept"))
    assert isinstance(case.drain()[-1].error, JobNotFound)


@pytest.mark.parametrize("data", [b"nonsense", archive(1.0)])
def test_a_retained_result_that_does_not_fit_is_corrupt(data: bytes) -> None:
    case = Case(JobOptions(idempotency_key="k", retain=True), points=3)
    finished(case)
    case.desk.answer(Fetch, Deposit(ID, 0, data, last=True))
    assert isinstance(case.drain()[-1].error, StorageCorrupt)


def test_a_desk_that_stops_sending_parts_is_given_up() -> None:
    case = Case(JobOptions(idempotency_key="k", retain=True), points=3)
    finished(case)
    case.run(11.0)
    assert isinstance(case.drain()[-1].error, AgentUnreachable)


def test_a_watched_job_is_neither_reported_nor_ended_by_us() -> None:
    case = Case(JobOptions(idempotency_key="k", retain=True), points=3)
    case.accept(known=True)
    case.run(120.0)
    case.run(20.0)
    assert case.job.phase is Phase.OPEN
    assert [type(said) for said in case.desk.said] == [SubmitJob]
    case.job.give_up(JobCancelled("enough"))
    assert [type(said) for said in case.desk.said] == [SubmitJob]


def test_what_a_person_should_know_is_said_before_the_first_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    case = Case()
    warning = "coupling 0.02 is unstable for 8 pockets (stable up to 0.00832813)"
    case.hear(JobAccepted(ID, JobState.SUBMITTED, "hash", warnings=(warning,)))
    assert [record.getMessage() for record in caplog.records] == [f"warning: {warning}"]
