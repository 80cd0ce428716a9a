import json
import logging

import pytest

from qallow_agent.base.notice import Notice
from qallow_agent.runtime.log import LOGGER, Chronicle, JsonFormatter, TextFormatter


@pytest.fixture
def records() -> list[logging.LogRecord]:
    kept: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    LOGGER.handlers[:] = [Keeper()]
    LOGGER.setLevel(logging.DEBUG)
    return kept


def test_a_notice_becomes_one_line_with_its_facts(records: list[logging.LogRecord]) -> None:
    Chronicle(lambda: 0.0)(
        Notice("member.suspect", "a member does not answer", facts={"node": "a"})
    )
    line = json.loads(JsonFormatter().format(records[0]))
    assert line["event"] == "member.suspect"
    assert line["node"] == "a"
    assert line["ts"].endswith("Z")
    assert "member.suspect  a member does not answer  node=a" in TextFormatter().format(records[0])


def test_repeats_are_counted_not_repeated(records: list[logging.LogRecord]) -> None:
    now_s = 0.0
    say = Chronicle(lambda: now_s)
    for _ in range(5):
        say(Notice("link.down", "a link broke", facts={"node": "a"}))
    say(Notice("link.down", "a link broke", facts={"node": "b"}))
    now_s = 11.0
    say(Notice("link.down", "a link broke", facts={"node": "a"}))
    assert [record.__dict__["facts"] for record in records] == [
        {"node": "a"},
        {"node": "b"},
        {"node": "a", "repeated": 4},
    ]


def test_errors_are_never_held_back(records: list[logging.LogRecord]) -> None:
    say = Chronicle(lambda: 0.0)
    for _ in range(3):
        say(Notice("store.failed", "state was not written", "error"))
    assert len(records) == 3
