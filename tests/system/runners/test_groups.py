"""Runners in real cgroups of version 2, where this machine has any that we may divide."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.runtime.groups import MOUNTS


@pytest.fixture(scope="module")
def given() -> Iterator[Path]:
    """Return a cgroup of our own below the root of version 2."""
    mounts = [line.split()[4] for line in MOUNTS.read_text().splitlines() if "- cgroup2 " in line]
    if not mounts:
        pytest.skip("this machine has no cgroups of version 2")
    folder = Path(mounts[0]) / f"qallow-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    yield folder
    end_s = time.monotonic() + 5.0
    while folder.exists() and time.monotonic() < end_s:  # what was killed takes a moment to go
        for path in (*folder.glob("*/*/"), *folder.glob("*/"), folder):
            with contextlib.suppress(OSError):
                path.rmdir()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def estate(given: Path, make_world: Callable[..., Any]) -> Any:
    return make_world(cgroup=str(given), memory_bytes=256 << 20, processes=40, stop_s=2.0)


def members(group: Path) -> list[int]:
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


def test_each_runner_is_alone_in_its_group_which_goes_with_it(estate: Any, given: Path) -> None:
    runner, ready = estate.start()
    other, _ = estate.start()
    assert members(given / "runners" / runner) == [ready.pid]
    estate.yard.stop(runner)
    estate.await_exit(runner)
    estate.pump(lambda: not (given / "runners" / runner).exists())
    assert members(given / "runners" / other)


def test_what_leaves_its_session_is_still_in_the_group_and_ends_with_it(
    estate: Any, given: Path
) -> None:
    submitter = estate.submitter("leaves-children")
    submitter.post(0)
    children = {int.from_bytes(frame, "little") for frame in submitter.arrays()}
    group = given / "runners" / submitter.runner
    assert set(members(group)) == {submitter.ready.pid, *children}
    estate.yard.stop(submitter.runner, kill=True)
    estate.await_exit(submitter.runner)
    estate.pump(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    submitter.close()


def test_limits_are_set_where_the_kernel_counts_them(estate: Any, given: Path) -> None:
    runner, _ = estate.start()
    group = given / "runners" / runner
    if not (group / "pids.max").exists():
        pytest.skip("the controllers of this machine belong to version 1")
    assert (group / "pids.max").read_text().strip() == "40"
    assert int((group / "memory.max").read_text()) > 256 << 20
