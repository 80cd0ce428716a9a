import shutil
from pathlib import Path

import pytest

from qallow_agent.base.errors import BadSignature, ConfigError, StorageCorrupt
from qallow_agent.ledger.tiles import Tile
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.runtime.logrestore import restore
from qallow_agent.testing.scribe import Owner, Scribe


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def written(own: Path) -> Scribe:
    """Return a log of 300 entries, a copy of it beside, and its end destroyed."""
    scribe = Scribe(Logbook(own))
    scribe.commit([b"entry"] * 290)
    shutil.copytree(own, own.with_name("older"))
    scribe.commit([b"entry"] * 10)
    shutil.copytree(own, own.with_name("copy"))
    bundle = LogFiles(own).path(Tile(-1, 1))
    bundle.write_bytes(bundle.read_bytes()[:100])
    with pytest.raises(StorageCorrupt):
        Logbook(own).open()
    return scribe


def put_back(own: Path, copy: str, scribe: Scribe, seen: int | None = None) -> int:
    files = LogFiles(own), LogFiles(own.with_name(copy))
    return restore(*files, scribe.log.keys, seen)[0].size


def test_a_log_goes_on_from_a_whole_copy(own: Path, written: Scribe) -> None:
    (own / "mirrored").mkdir()
    assert put_back(own, "copy", written) == 300
    again = Scribe(Logbook(own))
    again.commit([b"more"])
    assert again.heads[0].size == 301
    assert (own / "mirrored").is_dir()
    assert LogFiles(own.with_name("own.damaged1")).head() is not None


def test_a_log_never_goes_on_from_a_copy_that_is_older_than_what_was_signed(
    own: Path, written: Scribe
) -> None:
    with pytest.raises(ConfigError, match="290 entries, 300 were signed"):
        put_back(own, "older", written)


def test_without_its_checkpoint_a_log_must_be_told_what_was_seen(
    own: Path, written: Scribe
) -> None:
    (own / "checkpoint").unlink()
    with pytest.raises(ConfigError, match="how much was signed") as caught:
        put_back(own, "copy", written)
    assert "witnesses" in caught.value.hint
    with pytest.raises(ConfigError, match="300 entries, 301 were signed"):
        put_back(own, "copy", written, 301)
    assert put_back(own, "copy", written, 300) == 300


def test_a_copy_of_another_history_or_key_is_refused(own: Path, written: Scribe) -> None:
    fork = Scribe(Logbook(own.with_name("fork")))
    fork.commit([b"another"] * 400)
    with pytest.raises(StorageCorrupt, match="another history"):
        put_back(own, "fork", written)
    stranger = Scribe(Logbook(own.with_name("stranger")), owner=Owner(seed=b"z" * 32))
    stranger.commit([b"entry"] * 400)
    with pytest.raises(BadSignature):
        put_back(own, "stranger", written)


def test_a_damaged_copy_is_refused(own: Path, written: Scribe) -> None:
    path = LogFiles(own.with_name("copy")).path(Tile(-1, 0))
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageCorrupt, match="entry"):
        put_back(own, "copy", written)
