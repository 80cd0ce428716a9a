from collections.abc import Callable

from qallow_agent.base.errors import JobNotFound
from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Done, Failure, Message
from qallow_agent.client import keeper
from qallow_agent.client.arrays import block_of
from qallow_agent.client.keeper import PART_BYTES, Keeper, revived
from qallow_agent.client.results import Block
from qallow_agent.jobs.messages import Deposit
from qallow_agent.jobs.parcels import ArrayHead

ID = JobId("job-1")


class PaperDesk:
    """Answers every deposit with what a test decides, after it was written down."""

    def __init__(self, answers: Callable[[Deposit], Message]) -> None:
        self.parts: list[Deposit] = []
        self._answers = answers

    def post(self, message: Message, answer: Callable[[Message], None] | None = None) -> int:
        assert isinstance(message, Deposit)
        assert answer is not None
        self.parts.append(message)
        answer(self._answers(message))
        return len(self.parts)


def block(start: int, size: int) -> Block:
    head = ArrayHead("x", "u1", (1, size))
    return Block([head], [bytes(size)], start=start, points=1)


def test_a_large_result_travels_in_parts_of_which_the_last_says_so() -> None:
    collected = Keeper()
    for start in range(3):
        collected.add(block(start, PART_BYTES))
    desk, done = PaperDesk(lambda _: Done()), []
    collected.deposit(ID, desk, lambda: None, lambda: done.append(True))
    assert [part.part for part in desk.parts] == [0, 1, 2, 3]
    assert [part.last for part in desk.parts] == [False, False, False, True]
    assert max(len(part.data) for part in desk.parts) == PART_BYTES
    data = b"".join(part.data for part in desk.parts)
    assert block_of(data, 3).arrays()["x"].shape == (3, PART_BYTES)
    assert done == [True]


def test_a_desk_without_room_ends_the_deposit_but_not_in_an_error(caplog: object) -> None:
    collected = Keeper()
    collected.add(block(0, 3 * PART_BYTES))
    desk, done = PaperDesk(lambda _: Failure("job-rejected", "no room")), []
    collected.deposit(ID, desk, lambda: None, lambda: done.append(True))
    assert len(desk.parts) == 1
    assert done == [True]
    assert "no room" in caplog.text


def test_results_of_other_shapes_are_not_deposited(caplog: object) -> None:
    collected = Keeper()
    collected.add(block(0, 1))
    collected.add(block(1, 2))
    desk, done = PaperDesk(lambda _: Done()), []
    collected.deposit(ID, desk, lambda: None, lambda: done.append(True))
    assert (desk.parts, done) == ([], [True])
    assert "not retained" in caplog.text


def test_more_than_any_desk_keeps_is_let_go(monkeypatch: object) -> None:
    monkeypatch.setattr(keeper, "MOST_KEPT_BYTES", 10)
    collected = Keeper()
    collected.add(block(0, 6))
    collected.add(block(1, 6))
    desk, done = PaperDesk(lambda _: Done()), []
    collected.deposit(ID, desk, lambda: None, lambda: done.append(True))
    assert (desk.parts, done) == ([], [True])


def test_a_failure_is_revived_with_all_it_says() -> None:
    error = revived(Failure("job-not-found", "gone", "again", retryable=True))
    assert isinstance(error, JobNotFound)
    assert (error.message, error.hint, error.retryable) == ("gone", "again", True)
