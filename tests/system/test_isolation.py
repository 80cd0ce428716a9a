"""Kernels on a whole agent: its keys are out of reach, and submitters meet nobody's leftovers."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qallow_agent.client.session import Mesh, connect
from qallow_agent.runtime import landlock, seccomp
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

REFUSED = 0.0
MODULES = ("READS", "CONNECTS", "SIGNALS", "TRACES", "PATCHES")


@pytest.fixture(scope="module")
def agent(spawn_shared: Callable[..., AgentProcess]) -> AgentProcess:
    """Return an agent with nothing but kernels that pry."""
    modules = ",".join(f"kernels_that_pry:{name}" for name in MODULES)
    return spawn_shared(
        "guarded", f"kernels.modules={modules}", "kernels.disabled=elasticity,harmonic"
    )


def outcome(mesh: Mesh, kernel: str, path: Path | None = None, **scalars: int) -> float:
    if path is None:
        return float(mesh.submit(kernel, **scalars).result(60).value)
    data = np.frombuffer(os.fsencode(path), "u1").astype("f4")
    return float(mesh.submit(kernel, data=data).result(60).value)


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_no_key_of_an_agent_can_be_read_by_a_kernel(agent: AgentProcess) -> None:
    keys = sorted(agent.state_dir.rglob("*.key"))
    assert len(keys) >= 3, "a founder has three"
    with connect(agent.socket) as mesh:
        assert [outcome(mesh, "reads", key) for key in keys] == [REFUSED] * len(keys)
        standing = next(agent.state_dir.rglob("standing"))
        assert outcome(mesh, "reads", standing) == REFUSED


def test_an_agent_cannot_be_looked_into_by_a_kernel(agent: AgentProcess) -> None:
    process = Path(f"/proc/{agent.pid}")
    with connect(agent.socket) as mesh:
        for name in ("mem", "environ", "maps", "fd/0"):
            assert outcome(mesh, "reads", process / name) == REFUSED, name
        assert outcome(mesh, "traces", pid=agent.pid) == REFUSED
        assert outcome(mesh, "signals", pid=agent.pid) == REFUSED


@pytest.mark.skipif(not seccomp.available(), reason="this kernel filters no calls")
def test_an_agent_cannot_be_commanded_by_a_kernel(agent: AgentProcess) -> None:
    with connect(agent.socket) as mesh:
        assert outcome(mesh, "connects", Path(agent.socket)) == REFUSED


def test_what_a_plug_in_leaves_in_its_runner_meets_no_other_submitter(
    agent: AgentProcess,
) -> None:
    with connect(agent.socket) as ada:
        assert outcome(ada, "patches", pid=2) == pytest.approx(math.pi)
        assert outcome(ada, "patches", pid=2) == 3.0, "her own runner is kept for her"
    with connect(agent.socket) as bob:
        assert outcome(bob, "patches") == pytest.approx(math.pi)


def test_the_log_says_which_fences_are_up(agent: AgentProcess) -> None:
    with connect(agent.socket) as mesh:
        outcome(mesh, "patches")
    assert '"runners.fenced"' in agent.log or '"runners.unfenced"' in agent.log
    assert '"runners.limited"' in agent.log
