"""A state directory whose disk is full: said at once, survived, and over when there is room."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

TRY_LATER = 75


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with room for a megabyte."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(folder))
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(("umount", "-l", str(folder)), check=True)


def fill(folder: Path) -> Path:
    """Leave no free byte and return the file to delete."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def test_a_full_disk_is_said_survived_and_forgotten(
    small_disk: Path,
    spawn: Callable[..., AgentProcess],
    able: Callable[..., None],
    complains: Callable[..., None],
    eventually: Callable[..., Any],
) -> None:
    agent = spawn("cramped", directory=small_disk / "agent")
    able(agent)
    assert agent.ask("status")["state"] == "ready"
    ballast = fill(small_disk)
    refused = agent.run_cli("invite")
    complains(refused, TRY_LATER, "No space left on device", "free space on the disk")
    assert "qj1-" not in refused.stdout
    status = agent.run_cli("status")
    assert status.returncode == 1
    assert "No space left on device" in status.stdout
    assert "fix: free space" in status.stdout
    doctor = agent.run_cli("doctor", "--set", f"node.state_dir={agent.state_dir}")
    assert doctor.returncode == 1
    assert "No space left on device" in doctor.stdout
    # A job that could not be found again after a crash is not taken on.
    complains(agent.run_cli("run", "moody"), TRY_LATER, "No space left on device", "free space")
    ballast.unlink()
    assert agent.run_cli("run", "moody").returncode == 0
    assert agent.invite().startswith("qj1-")
    eventually(lambda: agent.ask("status")["state"] == "ready", 10)
    assert "Traceback" not in agent.log
    before = agent.ask("status")["node"]
    agent.kill()
    assert agent.start().wait_ready()["node"] == before


def test_an_agent_does_not_start_on_a_full_disk_and_leaves_its_state_intact(
    small_disk: Path,
    spawn: Callable[..., AgentProcess],
    qallow: Callable[..., Any],
    complains: Callable[..., None],
) -> None:
    agent = spawn("cramped", directory=small_disk / "agent")
    node = agent.ask("status")["node"]
    agent.kill()
    ballast = fill(small_disk)
    refused = qallow("start", "--state-dir", agent.state_dir)
    complains(refused, TRY_LATER, str(agent.state_dir), "No space left", "free space")
    ballast.unlink()
    assert agent.start().wait_ready()["node"] == node


def test_a_first_start_on_a_full_disk_leaves_no_half_written_key(
    small_disk: Path, qallow: Callable[..., Any], complains: Callable[..., None]
) -> None:
    (small_disk / "state" / "rooms").mkdir(parents=True, mode=0o700)
    ballast = fill(small_disk)
    refused = qallow("start", "--state-dir", small_disk / "state")
    complains(refused, TRY_LATER, str(small_disk / "state"), "free space")
    ballast.unlink()
    assert not list((small_disk / "state").glob("*.key"))


def test_a_full_disk_costs_the_states_of_a_run_and_not_the_run(
    small_disk: Path, spawn: Callable[..., AgentProcess], able: Callable[..., None]
) -> None:
    agent = spawn("cramped", directory=small_disk / "agent")
    able(agent)
    words = ("run", "harmonic", "--set", "ticks=3000000", "--checkpoint-every", 100_000, "--json")
    process = agent.start_cli(*words)
    assert process.stderr is not None
    job = process.stderr.readline().split()[1]
    ballast = fill(small_disk)
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    assert f"checkpoints of {job} are not kept by the agent" in err
    assert json.loads(out)["values"]["tick"] == [3_000_000]
    ballast.unlink()
    assert agent.run_cli("run", "moody").returncode == 0
