import os
from pathlib import Path

import pytest

from qallow_agent.runtime.groups import Groups, make_groups, survey
from qallow_agent.runtime.settings import RunnerSettings

FILES = ("memory.max", "memory.oom.group", "pids.max", "cgroup.procs", "cgroup.kill")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a folder that looks like a delegated cgroup with this process in it."""
    folder = tmp_path / "mount" / "unit"
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    for name in ("agent", "runners"):
        (folder / name).mkdir()
    return folder


def settings(own: Path, **more: int) -> RunnerSettings:
    return RunnerSettings(cgroup=str(own), memory_bytes=1 << 30, **more)


def group(own: Path, name: str = "runner-1") -> Path:
    """Return a group with the files that the kernel would put into it."""
    folder = own / "runners" / name
    folder.mkdir()
    for file in FILES:
        (folder / file).write_text("")
    return folder


def test_the_agent_moves_aside_and_passes_on_what_it_may_limit(own: Path) -> None:
    groups = make_groups(settings(own))
    assert groups.base == own / "runners"
    assert groups.what == "each runner has a cgroup: memory, pids, cpu"
    assert (own / "agent" / "cgroup.procs").read_text() == str(os.getpid())
    for folder in (own, own / "runners"):
        assert (folder / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def test_a_runner_gets_its_limits_before_it_enters(own: Path) -> None:
    groups = make_groups(settings(own))
    folder = group(own)
    assert groups.enter("runner-1", 4711, settings(own, processes=99)) == ""
    assert int((folder / "memory.max").read_text()) == (1 << 30) + (64 << 20)
    assert (folder / "memory.oom.group").read_text() == "1"
    assert (folder / "pids.max").read_text() == "99"
    assert (folder / "cgroup.procs").read_text() == "4711"


def test_a_runner_that_ran_out_of_memory_is_explained(own: Path) -> None:
    groups = make_groups(settings(own))
    folder = group(own)
    groups.enter("runner-1", 4711, settings(own))
    assert groups.close("runner-1") == ""
    (folder / "memory.events").write_text("low 0\nhigh 0\noom 1\noom_kill 2\n")
    assert groups.close("runner-1") == "it took more than 1.1 GiB of memory"
    assert (folder / "cgroup.kill").read_text() == "1"


def test_a_group_that_cannot_be_entered_is_said(own: Path) -> None:
    groups = make_groups(settings(own))
    (own / "runners" / "runner-1").write_text("no folder")
    assert groups.enter("runner-1", 4711, settings(own)).startswith("it got no cgroup: ")


def test_without_groups_nothing_happens() -> None:
    nowhere = Groups(None, "limits hold for each process")
    assert nowhere.enter("runner-1", 1, RunnerSettings()) == ""
    nowhere.kill("runner-1")
    assert nowhere.close("runner-1") == ""


def test_a_cgroup_nobody_gave_us_is_left_alone(own: Path, tmp_path: Path) -> None:
    mounts, table = tmp_path / "mountinfo", tmp_path / "cgroup"
    mounts.write_text(f"41 31 0:38 / {own.parent} rw,relatime - cgroup2 cgroup2 rw\n")
    table.write_text("4:memory:/elsewhere\n0::/unit\n")
    if os.geteuid() != 0:
        own.chmod(0o500)
        pytest.skip("whoever owns a cgroup was given it")
    found = make_groups(RunnerSettings(), mounts, table)
    assert found.base is None
    assert found.what == f"limits hold for each process: {own} is not delegated"
    assert "Delegate=yes" in found.fix


def test_a_cgroup_that_systemd_delegated_is_used(own: Path, tmp_path: Path) -> None:
    try:
        os.setxattr(own, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"this file system keeps no such marks: {error}")
    mounts, table = tmp_path / "mountinfo", tmp_path / "cgroup"
    mounts.write_text(f"41 31 0:38 / {own.parent} rw,relatime - cgroup2 cgroup2 rw\n")
    table.write_text("0::/unit\n")
    assert survey(RunnerSettings(), mounts, table).base == own / "runners"


def test_a_machine_without_version_2_says_so(tmp_path: Path) -> None:
    found = survey(RunnerSettings(), tmp_path / "none", tmp_path / "none")
    assert (found.base, found.what) == (
        None, "limits hold for each process: there is no cgroup version 2",
    )  # fmt: skip


def test_groups_can_be_switched_off() -> None:
    assert survey(RunnerSettings(cgroup="off")).base is None
