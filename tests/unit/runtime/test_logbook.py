import stat
from pathlib import Path

import pytest

from qallow_agent.base.errors import InvariantBroken, StorageCorrupt, StorageError
from qallow_agent.base.keys import SigningKey, derive
from qallow_agent.ledger.checkpoint import Checkpoint
from qallow_agent.ledger.leaf import parse_leaf
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.note import Note
from qallow_agent.ledger.proofs import root_of, verify_inclusion
from qallow_agent.ledger.signing import sign_checkpoint
from qallow_agent.ledger.tiles import Tile, TiledTree, unpack_entries, whole_entries
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.testing.scribe import SEED, Scribe


def bodies(first: int, count: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(first, first + count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "mesh"


def filled(folder: Path, *commits: int) -> Scribe:
    scribe, first = Scribe(Logbook(folder)), 0
    for count in commits:
        scribe.commit(bodies(first, count))
        first += count
    return scribe


def agree(folder: Path, scribe: Scribe) -> None:
    """Check that a log opens, continues every head, and proves what it holds."""
    again = Scribe(Logbook(folder))
    files = LogFiles(folder)
    for head in scribe.heads:
        assert root_of(head.size, TiledTree(head.size, files.read).node) == head.root
    newest = scribe.heads[-1]
    for index in range(0, newest.size, 37):
        entry = again.log.entry(index)
        assert parse_leaf(entry).body == b"entry %d" % index
        verify_inclusion(
            leaf_hash(entry), index, newest.size, again.log.inclusion(index), newest.root
        )


def test_a_log_is_found_as_it_was_left(folder: Path) -> None:
    agree(folder, filled(folder, 3, 250, 10, 600, 1))


def test_a_log_goes_on_over_many_starts(folder: Path) -> None:
    heads, first = [], 0
    for count in (1, 254, 1, 1, 255, 257, 3):
        scribe = Scribe(Logbook(folder))
        scribe.commit(bodies(first, count))
        first += count
        heads += scribe.heads
    scribe.heads = heads
    agree(folder, scribe)


def test_only_the_owner_may_read_a_log(folder: Path) -> None:
    filled(folder, 300)
    for path in (folder, *(each for each in folder.rglob("*") if each.is_file())):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_full_bundles_and_tiles_never_change(folder: Path) -> None:
    filled(folder, 256)
    before = {path: path.read_bytes() for path in folder.rglob("000")}
    scribe = Scribe(Logbook(folder))
    scribe.commit(bodies(256, 300))
    assert set(map(str, before)) == {str(folder / Tile(level, 0).path) for level in (-1, 0)}
    assert {path: path.read_bytes() for path in before} == before


def test_a_start_reads_no_full_bundle(folder: Path) -> None:
    scribe = filled(folder, 700)
    for index in (0, 1):
        (folder / Tile(-1, index).path).rename(folder / f"away{index}")
    again = Scribe(Logbook(folder))
    again.commit(bodies(700, 1))
    assert again.heads[0].size == 701
    assert scribe.heads[0].size == 700


def test_hashes_that_are_missing_are_made_anew(folder: Path) -> None:
    scribe = filled(folder, 700, 20)
    for path in [*folder.rglob("tile/0/*"), *folder.rglob("tile/1/*.p/*")]:
        path.unlink()
    agree(folder, scribe)


def test_a_torn_end_that_was_never_signed_is_dropped(folder: Path) -> None:
    scribe = filled(folder, 5)
    bundle = folder / Tile(-1, 0).path
    whole = bundle.read_bytes()
    bundle.write_bytes(whole + whole[:50])
    agree(folder, scribe)
    assert bundle.read_bytes() == whole


def test_whole_entries_that_were_not_signed_are_kept_and_written_anew(folder: Path) -> None:
    scribe = filled(folder, 5)
    more = Scribe(Logbook(folder))
    more.write(bodies(5, 2), at_once=True)
    file_before = (folder / Tile(-1, 0).path).stat().st_ino
    again = Scribe(Logbook(folder))
    assert (again.log.size, again.log.next_deadline()) == (7, 0.0)
    assert (folder / Tile(-1, 0).path).stat().st_ino != file_before
    again.wait(0.0)
    assert again.heads[0].size == 7
    scribe.heads += again.heads
    agree(folder, scribe)


@pytest.mark.parametrize("at", [1, 60, 200])
def test_a_signed_entry_that_was_changed_is_named(folder: Path, at: int) -> None:
    filled(folder, 5)
    bundle = folder / Tile(-1, 0).path
    data = bytearray(bundle.read_bytes())
    data[at] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(StorageCorrupt, match=r"entry [01] of 5 .*/tile/entries/000") as caught:
        Logbook(folder).open()
    assert "restore" in caught.value.hint


def test_a_signed_entry_that_was_exchanged_is_found(folder: Path) -> None:
    filled(folder, 300, 1)
    bundle = folder / Tile(-1, 1).path
    entries = unpack_entries(bundle.read_bytes())
    other = entries[1], entries[0], *entries[2:]
    bundle.write_bytes(b"".join(len(each).to_bytes(2) + each for each in other))
    with pytest.raises(StorageCorrupt, match="not those that were signed"):
        Logbook(folder).open()


def test_signed_entries_that_are_missing_are_named(folder: Path) -> None:
    filled(folder, 256, 4)
    (folder / "tile/entries/001").unlink()
    with pytest.raises(StorageCorrupt, match=r"entry 256 of 260 .*tile/entries/001"):
        Logbook(folder).open()


def test_a_checkpoint_that_is_none_is_named(folder: Path) -> None:
    filled(folder, 4)
    (folder / "checkpoint").write_bytes(b"junk")
    with pytest.raises(StorageCorrupt, match="checkpoint"):
        Logbook(folder).open()


def test_a_head_of_another_tree_is_never_kept(folder: Path) -> None:
    filled(folder, 4)
    book = Logbook(folder)
    book.open()
    lie = Checkpoint("qallow-agent/x/y", 4, bytes(32))
    note = Note(lie.text(), (sign_checkpoint(lie, SigningKey(derive(SEED, "log"))),))
    with pytest.raises(InvariantBroken, match="not that of the log"):
        book.append(4, (), note.encode())


def test_entries_that_do_not_follow_wait_for_those_before(folder: Path) -> None:
    book = Logbook(folder)
    book.open()
    with pytest.raises(StorageError, match="entry 1 waits for entry 0") as caught:
        book.append(1, [b"x"])
    assert caught.value.retryable


def test_a_folder_that_cannot_be_made_is_an_error_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_bytes(b"")
    with pytest.raises(StorageError, match="ledger") as caught:
        Logbook(tmp_path / "ledger" / "mesh").open()
    assert caught.value.hint


def test_a_bundle_that_cannot_be_read_is_named(folder: Path) -> None:
    filled(folder, 4)
    (folder / Tile(-1, 0).path).unlink()
    (folder / Tile(-1, 0).path).mkdir()
    with pytest.raises(StorageCorrupt, match="cannot be read"):
        Logbook(folder).open()


def test_a_torn_bundle_is_read_up_to_where_it_is_torn() -> None:
    assert whole_entries(b"\x00\x01a\x00\x02bc\x00\x05de") == [b"a", b"bc"]
    assert whole_entries(b"\x00\x01a\x00") == [b"a"]
    assert whole_entries(b"\x00\x01a\x00\x02bc", 1) == [b"a"]
