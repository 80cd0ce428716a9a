from pathlib import Path

import pytest

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.proofs import verify_inclusion
from qallow_agent.ledger.tiles import Tile
from qallow_agent.runtime.logaudit import audit, export
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.runtime.logprune import prune
from qallow_agent.testing.scribe import DAWN_NS, Scribe

DAWN_MS = DAWN_NS // 1_000_000


@pytest.fixture
def scribe(tmp_path: Path) -> Scribe:
    """Return a log of 7 commits of 128 entries, a thousand seconds from one to the next."""
    made = Scribe(Logbook(tmp_path / "log"))
    for number in range(7):
        made.commit([b"entry %d" % number] * 128)
        made.wait(999.0)
    return made


@pytest.fixture
def files(tmp_path: Path, scribe: Scribe) -> LogFiles:
    assert scribe.heads
    return LogFiles(tmp_path / "log")


def test_old_bundles_go_and_the_rest_is_proved_as_before(scribe: Scribe, files: LogFiles) -> None:
    assert prune(files, DAWN_MS + 3_500_000)[0] == 512
    found = audit(files, scribe.log.keys)
    assert (found.checkpoint.size, found.pruned, found.kinds["receipt"]) == (896, 512, 384)
    head = scribe.heads[-1]
    leaf, proof = leaf_hash(scribe.log.entry(600)), scribe.log.inclusion(600)
    verify_inclusion(leaf, 600, head.size, proof, head.root)
    with pytest.raises(StorageCorrupt, match=r"deleted from .* by rule"):
        scribe.log.entry(3)


def test_an_export_of_a_pruned_log_is_proved_too(
    scribe: Scribe, files: LogFiles, tmp_path: Path
) -> None:
    prune(files, DAWN_MS + 3_500_000)
    export(files, tmp_path / "out", scribe.log.keys)
    found = audit(LogFiles(tmp_path / "out"), scribe.log.keys)
    assert (found.checkpoint.size, found.pruned) == (896, 512)


def test_what_is_young_stays(files: LogFiles) -> None:
    assert prune(files, DAWN_MS) == (0, 0)
    assert files.path(Tile(-1, 0)).exists()


def test_the_last_bundle_stays_however_old(files: LogFiles) -> None:
    assert prune(files, DAWN_MS + 10**9)[0] == 768
    assert files.path(Tile(-1, 3)).exists()
    assert prune(files, DAWN_MS + 10**9) == (0, 0)


def test_a_log_goes_on_after_old_entries_went(tmp_path: Path, files: LogFiles) -> None:
    prune(files, DAWN_MS + 10**9)
    again = Scribe(Logbook(tmp_path / "log"))
    again.commit([b"more"] * 300)
    assert audit(files, again.log.keys).checkpoint.size == 1_196


def test_a_changed_bundle_is_evidence_and_stays(files: LogFiles) -> None:
    path = files.path(Tile(-1, 1))
    data = bytearray(path.read_bytes())
    data[120] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageCorrupt, match="does not fit its hashes"):
        prune(files, DAWN_MS + 10**9)
    assert path.exists()
