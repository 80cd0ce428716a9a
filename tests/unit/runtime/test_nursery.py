import os
import subprocess
import sys
from pathlib import Path

import pytest

from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.settings import check_bounds
from qallow_agent.runtime.fences import Tenant
from qallow_agent.runtime.limits import memory_allowance, orphans
from qallow_agent.runtime.nursery_link import clean_environment, prepare_cache
from qallow_agent.runtime.settings import RunnerSettings

OURS = Tenant(os.geteuid(), os.getegid(), changes=False)


def test_the_default_settings_are_within_their_bounds() -> None:
    check_bounds(RunnerSettings(), "runners")


def test_only_named_variables_reach_a_nursery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("QALLOW_TOKEN", "qj1-secret")
    monkeypatch.setenv("NUMBA_DEBUG", "0")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = clean_environment((), "/cache")
    assert environment["NUMBA_CACHE_DIR"] == "/cache"
    assert environment["NUMBA_DEBUG"] == "0"
    assert environment["LANG"] == "C.UTF-8"
    assert not any("hunter2" in value or "qj1" in value for value in environment.values())


def test_import_paths_come_before_the_inherited_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/inherited")
    assert clean_environment(("/one", "/two"), "")["PYTHONPATH"] == "/one:/two:/inherited"
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in clean_environment((), "")
    assert clean_environment(("here",), "")["PYTHONPATH"] == str(Path.cwd() / "here")


def test_the_cache_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    cache = tmp_path / "a" / "b"
    prepare_cache(str(cache), OURS)
    assert cache.stat().st_mode & 0o777 == 0o700
    prepare_cache(str(cache), OURS)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_cache_folder_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(DeviceLost, match="others may write") as caught:
        prepare_cache(str(tmp_path), OURS)
    assert "chmod 700" in caught.value.hint


def test_a_cache_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceLost, match="no folder for compiled kernels"):
        prepare_cache(str(tmp_path / "file" / "cache"), OURS)


def test_the_memory_allowance_is_as_set_or_part_of_what_is_here() -> None:
    assert memory_allowance(RunnerSettings(memory_bytes=1 << 30)) == 1 << 30
    assert 1 << 26 < memory_allowance(RunnerSettings()) < 1 << 50


def test_orphans_are_the_children_that_nobody_knows() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in orphans(frozenset())
        assert child.pid not in orphans(frozenset({child.pid}))
        child.communicate(b"\n")
