import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qallow_agent.base.errors import ConfigError, StorageCorrupt, StorageError, StorageFull
from qallow_agent.runtime.store import StateStore, write_atomically


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state").open()
    store.put("trust/known/abc", b"one")
    store.put("jobs/j/record", b"two")
    store.close()
    again = StateStore(tmp_path / "state").open()
    assert dict(again.kept("trust")) == {"trust/known/abc": b"one"}
    assert dict(again.kept("jobs")) == {"jobs/j/record": b"two"}
    assert dict(again.kept("nothing")) == {}


def test_none_deletes_and_forget_empties_a_room(tmp_path: Path) -> None:
    store = StateStore(tmp_path).open()
    store.put("trust/a", b"1")
    store.put("trust/b", b"2")
    store.put("trust/a", None)
    store.put("trust/a", None)
    assert list(store.kept("trust")) == ["trust/b"]
    store.forget("trust")
    assert not store.kept("trust")


def test_every_boot_gets_a_larger_epoch(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        store = StateStore(tmp_path).open()
        epochs.append(store.next_epoch())
        store.close()
    assert epochs == sorted(set(epochs))


def test_an_epoch_stays_ahead_although_the_clock_went_back(tmp_path: Path) -> None:
    store = StateStore(tmp_path).open()
    ahead = 10**15
    store.put("boot/epoch", str(ahead).encode())
    assert store.next_epoch() == ahead + 1


def test_a_mangled_epoch_is_explained(tmp_path: Path) -> None:
    store = StateStore(tmp_path).open()
    store.put("boot/epoch", b"many")
    with pytest.raises(StorageCorrupt, match="boot/epoch"):
        store.next_epoch()


def test_two_agents_cannot_share_a_state_directory(tmp_path: Path) -> None:
    first = StateStore(tmp_path).open()
    with pytest.raises(ConfigError, match=f"pid {os.getpid()}") as caught:
        StateStore(tmp_path).open()
    assert "node.state_dir" in caught.value.hint
    first.close()
    StateStore(tmp_path).open().close()


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        StateStore(tmp_path / "file" / "state").open()
    assert "node.state_dir" in caught.value.hint


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "", "a//b", "a\0b"])
def test_names_never_leave_the_directory(tmp_path: Path, name: str) -> None:
    store = StateStore(tmp_path).open()
    with pytest.raises(StorageError):
        store.put(name, b"x")


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state").open()
    store.put("trust/standing", b"secret")
    path = tmp_path / "state" / "rooms" / "trust" / "standing"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_full_disk_leaves_the_old_bytes_and_says_so(tmp_path: Path) -> None:
    store = StateStore(tmp_path).open()
    store.put("trust/standing", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError, match="cannot write"):
            store.put("trust/standing", b"n" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert store.kept("trust")["trust/standing"] == b"old"
    assert list((tmp_path / "rooms" / "trust").iterdir()) == [
        tmp_path / "rooms" / "trust" / "standing"
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_space_is_told_apart_from_other_failures(tmp_path: Path) -> None:
    store = StateStore(tmp_path).open()
    (tmp_path / "rooms" / "trust").mkdir()
    (tmp_path / "rooms" / "trust" / "standing.new").symlink_to("/dev/full")
    with pytest.raises(StorageFull, match="No space left") as caught:
        store.put("trust/standing", b"n")
    assert "free space" in caught.value.hint
    assert caught.value.retryable


def test_a_writer_killed_at_any_moment_leaves_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "value"
    write_atomically(path, b"a" * 1000)
    program = (
        "import sys; from pathlib import Path; "
        "from qallow_agent.runtime.store import write_atomically\n"
        "print('go', flush=True)\n"
        "while True:\n"
        "    for letter in (b'a', b'b'): write_atomically(Path(sys.argv[1]), letter * 1000)\n"
    )
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"go\n"
        writer.stdout.read(0)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        assert path.read_bytes() in {b"a" * 1000, b"b" * 1000}
