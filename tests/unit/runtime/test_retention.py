from pathlib import Path

from qallow_agent.base.machine import Instant
from qallow_agent.base.notice import Notice
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.runtime.retention import EVERY_S, Retention
from qallow_agent.testing.scribe import DAWN_NS, Scribe

DAY_NS = 86_400 * 10**9


def written(folder: Path) -> LogFiles:
    """Return a log of 4 commits of 128 entries, a day from one to the next."""
    scribe = Scribe(Logbook(folder))
    for number in range(4):
        scribe.commit([b"entry %d" % number] * 128)
        scribe.wait(86_400.0)
    return LogFiles(folder)


def test_what_is_older_than_wanted_goes_once_a_day(tmp_path: Path) -> None:
    said: list[Notice] = []
    files = written(tmp_path / "log")
    keeper = Retention(files, 2, said.append)
    assert keeper.poll(Instant(5.0, DAWN_NS + 2 * DAY_NS)) == []
    assert (files.pruned(), keeper.next_deadline()) == (0, 5.0 + EVERY_S)
    keeper.poll(Instant(6.0, DAWN_NS + 9 * DAY_NS))
    assert files.pruned() == 0
    keeper.poll(Instant(5.0 + EVERY_S, DAWN_NS + 9 * DAY_NS))
    assert files.pruned() == 256
    assert [each.event for each in said] == ["ledger.pruned"]


def test_without_a_rule_nothing_goes_and_nobody_wakes(tmp_path: Path) -> None:
    said: list[Notice] = []
    files = written(tmp_path / "log")
    keeper = Retention(files, 0, said.append)
    keeper.poll(Instant(5.0, DAWN_NS + 900 * DAY_NS))
    assert (files.pruned(), keeper.next_deadline(), said) == (0, None, [])


def test_what_cannot_be_deleted_is_said_and_stays(tmp_path: Path) -> None:
    said: list[Notice] = []
    files = written(tmp_path / "log")
    bundle = next((tmp_path / "log").glob("tile/entries/000"))
    damaged = bytearray(bundle.read_bytes())
    damaged[-1] ^= 1
    bundle.write_bytes(damaged)
    Retention(files, 1, said.append).poll(Instant(5.0, DAWN_NS + 900 * DAY_NS))
    assert [each.event for each in said] == ["ledger.kept"]
    assert bundle.exists()


def test_a_log_that_has_no_head_yet_is_left_alone(tmp_path: Path) -> None:
    said: list[Notice] = []
    Retention(LogFiles(tmp_path / "log"), 1, said.append).poll(Instant(5.0, DAWN_NS))
    assert said == []
