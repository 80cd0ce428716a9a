import os
import tempfile
from pathlib import Path

import pytest

from qallow_agent.runtime.fences import Tenant
from qallow_agent.runtime.scratch import MOST_FILES, clear_away, excess, make_scratch

OURS = Tenant(os.geteuid(), os.getegid(), changes=False)


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_a_killed_agent_left_goes_and_what_lives_stays(tmp_path: Path) -> None:
    living, mark = make_scratch(OURS)
    dead, lock = make_scratch(OURS)
    os.close(lock)
    other = tmp_path / "somebody-elses"
    other.mkdir()
    newest, last = make_scratch(OURS)
    assert not Path(dead).exists()
    assert all(Path(path).exists() for path in (living, newest, other))
    os.close(mark)
    os.close(last)


def test_a_folder_goes_with_all_that_is_in_it() -> None:
    folder, mark = make_scratch(OURS)
    (Path(folder) / "runner-1").mkdir()
    (Path(folder) / "runner-1" / "file").write_text("left")
    clear_away(folder)
    assert not Path(folder).exists()
    os.close(mark)


def test_what_is_too_much_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(1 << 20))
    assert excess(str(tmp_path), 8 << 20) == ""
    assert excess(str(tmp_path), 1 << 19) == "its temporary files take more than 512.0 KiB"
    for number in range(MOST_FILES):
        (tmp_path / f"file-{number}").touch()
    assert excess(str(tmp_path), 8 << 20) == f"it made more than {MOST_FILES} temporary files"


def test_a_folder_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert excess(str(tmp_path / "none"), 1) == ""
