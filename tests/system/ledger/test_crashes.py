"""Whatever kills the writer or its disk: what was told of the log is in the log."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.ledger.proofs import root_of
from qallow_agent.ledger.tiles import Tile, TiledTree
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.testing.scribe import Scribe

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
KILLS = 200
Told = dict[int, bytes]


def check(folder: Path, told: Told) -> int:
    """Check that a log opens, continues every head that was told, and goes on; return its size."""
    scribe = Scribe(Logbook(folder))
    files = LogFiles(folder)
    for size, root in told.items():
        assert root_of(size, TiledTree(size, files.read).node) == root, (
            f"the head of {size} is gone"
        )
    scribe.commit([b"after the crash"])
    assert scribe.heads
    told[scribe.heads[-1].size] = scribe.heads[-1].root
    return scribe.log.size


def hear(output: bytes, told: Told) -> list[str]:
    """Take down the heads that a writer printed; return what else it said."""
    other = []
    for line in output.decode().split("\n")[:-1]:
        first, _, rest = line.partition(" ")
        if first.isdigit():
            told[int(first)] = bytes.fromhex(rest)
        else:
            other.append(line)
    return other


def write(folder: Path, *words: object, before: str = "", **more: str) -> bytes:
    """Let a writer write until it is done or its disk refuses; return what it printed."""
    command = [sys.executable, str(HERE / "writer.py"), str(folder), *map(str, words)]
    if before:
        command = ["sh", "-c", f'{before}; exec "$@"', "sh", *command]
    done = subprocess.run(
        command, env=os.environ | more, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_no_kill_contradicts_a_head_that_was_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, HERE / "killer.py", tmp_path / "log", str(KILLS)],
        capture_output=True, text=True, timeout=160, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kills, heads, size = map(int, done.stdout.split())
    assert kills == KILLS
    assert heads > KILLS // 2
    assert size > heads


@pytest.fixture
def two_commits(tmp_path: Path) -> tuple[Path, list[tuple[bytes, bytes]]]:
    """Return a log, and its bundle and checkpoint after each of its last three commits."""
    folder = tmp_path / "log"
    scribe = Scribe(Logbook(folder))
    scribe.commit([b"x"] * 250)
    states = []
    for number in range(3):
        scribe.commit([b"a%d" % number, b"b"])
        bundle = (folder / Tile(-1, 0).path).read_bytes()
        states.append((bundle, (folder / "checkpoint").read_bytes()))
    return folder, states


def test_a_bundle_cut_at_any_byte_never_contradicts_the_checkpoint(
    two_commits: tuple[Path, list[tuple[bytes, bytes]]],
) -> None:
    folder, states = two_commits
    (first, head_before), _, (last, head_after) = states
    bundle, checkpoint = folder / Tile(-1, 0).path, folder / "checkpoint"
    for length in range(len(first), len(last)):
        checkpoint.write_bytes(head_before)
        bundle.write_bytes(last[:length])
        book = Logbook(folder)
        assert 252 <= book.open().size < 256
        checkpoint.write_bytes(head_after)
        bundle.write_bytes(last[:length])
        with pytest.raises(StorageCorrupt, match=r"entry 25[2-5] of 256"):
            Logbook(folder).open()
    assert len(last) - len(first) > 300


def test_a_checkpoint_cut_at_any_byte_is_refused_or_whole(
    two_commits: tuple[Path, list[tuple[bytes, bytes]]],
) -> None:
    folder, states = two_commits
    whole = states[-1][1]
    for length in range(len(whole)):
        (folder / "checkpoint").write_bytes(whole[:length])
        with pytest.raises(StorageCorrupt):
            Scribe(Logbook(folder))


def test_a_limit_on_the_size_of_files_loses_nothing_that_was_told(tmp_path: Path) -> None:
    folder, told = tmp_path / "log", Told()
    said = hear(write(folder, 1, 400, before="ulimit -f 64"), told)
    assert said[0].startswith("failed False")
    assert "File too large" in said[0]
    assert told
    check(folder, told)
    assert hear(write(folder, 2, 20), told) == []
    check(folder, told)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_loses_nothing_that_was_told(tiny_disk: Path) -> None:
    folder, told = tiny_disk / "log", Told()
    filler = tiny_disk / "filler"
    filler.write_bytes(bytes(64 << 10))
    said = hear(write(folder, 3, 400), told)
    assert said[0].startswith("failed False")
    assert "No space left" in said[0]
    assert told
    filler.unlink()
    check(folder, told)
    hear(write(folder, 4, 3), told)
    check(folder, told)


@pytest.fixture(scope="module")
def failing_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is here to build a disk that fails")
    library = tmp_path_factory.mktemp("shim") / "failing_disk.so"
    source = HERE / "failing_disk.c"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60
    )
    return library


@pytest.mark.parametrize("call", ["fdatasync", "fsync", "pwrite", "rename"])
@pytest.mark.parametrize("nth", [1, 2, 7])
def test_a_disk_that_fails_loses_nothing_that_was_told(
    tmp_path: Path, failing_disk: Path, call: str, nth: int
) -> None:
    folder, told = tmp_path / "log", Told()
    hear(write(folder, 5, 3), told)
    said = hear(
        write(folder, 6, 400, LD_PRELOAD=str(failing_disk), FAIL_CALL=call, FAIL_AT=str(nth)), told
    )
    assert said[0].startswith("failed True")
    assert "Input/output error" in said[0]
    check(folder, told)
    hear(write(folder, 7, 3), told)
    check(folder, told)
