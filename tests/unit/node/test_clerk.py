"""The clerk: decisions go into the log together; denials at once, but once a second at most."""

from typing import Any

from qallow_agent.base.machine import Effect, Instant
from qallow_agent.ethics.examples import comfortable
from qallow_agent.ethics.gate import Gate
from qallow_agent.ethics.policy import preset
from qallow_agent.ethics.records import RECORD_BYTES, unpack
from qallow_agent.ethics.refusal import Position
from qallow_agent.ethics.score import score
from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.node.clerk import MOST_LEAVES, MOST_RECORDS, Clerk

BEGAN_MS = comfortable().at_ms


class Log:
    """Takes what a clerk writes."""

    def __init__(self) -> None:
        self.written: list[tuple[bytes, bool]] = []
        self.next_index = 0
        self.origin = "a/log"

    def write(
        self, kind: LeafKind, body: bytes, _: Instant, *, at_once: bool, policy: bytes
    ) -> list[Effect]:
        assert kind is LeafKind.DECISIONS
        assert len(policy) == 32
        self.written.append((body, at_once))
        self.next_index += 1
        return []


class Desk:
    """A clerk and its log."""

    def __init__(self) -> None:
        self.log: Any = Log()
        self.clerk = Clerk(self.log)

    def note(self, seconds: float, *, hot: bool = False, job: str = "job-a") -> None:
        at_ms = BEGAN_MS + round(seconds * 1000)
        evidence = comfortable({"s2": 1.0} if hot else None, at_ms=at_ms, job=job)
        found = score(evidence, preset("desktop"), at_ms)
        verdict = Gate().judge("cpu0", found, seconds)
        self.clerk.note(evidence, found, verdict, preset("desktop"), self.now(seconds))

    def now(self, seconds: float) -> Instant:
        return Instant(seconds, (BEGAN_MS + round(seconds * 1000)) * 1_000_000)


def records(body: bytes) -> list[Any]:
    return [unpack(body[at : at + RECORD_BYTES]) for at in range(8, len(body), RECORD_BYTES)]


def test_what_is_admitted_waits_for_the_second_to_end() -> None:
    desk = Desk()
    desk.note(0.0)
    desk.note(0.4)
    assert desk.log.written == []
    desk.clerk.write(desk.now(1.0))
    ((body, at_once),) = desk.log.written
    assert not at_once
    assert int.from_bytes(body[:8]) == BEGAN_MS
    assert [each.ms for each in records(body)] == [0, 400]
    desk.clerk.write(desk.now(2.0))
    assert len(desk.log.written) == 1


def test_a_denial_is_durable_at_once_and_takes_along_what_waits() -> None:
    desk = Desk()
    desk.note(0.0)
    desk.note(0.1, hot=True)
    ((body, at_once),) = desk.log.written
    assert at_once
    assert len(records(body)) == 2


def test_a_denial_says_where_it_stands_and_an_admission_that_waits_does_not() -> None:
    desk = Desk()
    desk.note(0.0, hot=True)
    assert desk.clerk.position == Position("a/log", 0)
    desk.note(0.1)
    assert desk.clerk.position is None
    desk.note(0.2, hot=True)
    assert desk.clerk.position == Position("a/log", 1)


def test_requests_that_are_denied_again_and_again_sync_once_a_second() -> None:
    desk = Desk()
    for number in range(50):
        desk.note(number / 100, hot=True)
    assert [at_once for _, at_once in desk.log.written] == [True, *[False] * (MOST_LEAVES - 1)]
    assert desk.clerk.position is None
    desk.clerk.write(desk.now(1.0))
    assert [at_once for _, at_once in desk.log.written[MOST_LEAVES:]] == [True]


def test_a_leaf_never_grows_too_long() -> None:
    desk = Desk()
    for _ in range(MOST_RECORDS + 1):
        desk.note(0.0)
    ((body, _),) = desk.log.written
    assert len(body) == 8 + MOST_RECORDS * RECORD_BYTES


def test_a_clock_that_was_set_back_begins_another_leaf() -> None:
    desk = Desk()
    desk.note(10.0)
    desk.note(5.0)
    ((body, _),) = desk.log.written
    assert [each.ms for each in records(body)] == [0]
