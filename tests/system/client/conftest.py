import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from qallow_agent.client.session import Mesh, connect
from qallow_agent.testing.agents import AgentProcess


@pytest.fixture
def mesh(lone: AgentProcess) -> Iterator[Mesh]:
    """Return a connection to the shared agent."""
    with connect(lone.socket) as connected:
        yield connected


@pytest.fixture
def runners_of() -> Callable[[AgentProcess], list[int]]:
    """Return a way to find the runner processes of an agent: the children of its nursery."""

    def find(agent: AgentProcess) -> list[int]:
        nurseries = psutil.Process(agent.pid).children()
        return [child.pid for nursery in nurseries for child in nursery.children()]

    return find


@pytest.fixture
def kill_runners(
    runners_of: Callable[[AgentProcess], list[int]],
) -> Callable[[AgentProcess], int]:
    """Return a way to kill every runner of an agent at once; it says how many those were."""

    def kill(agent: AgentProcess) -> int:
        pids = runners_of(agent)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)

    return kill


@pytest.fixture(scope="session")
def plugins() -> Path:
    return Path(__file__).parents[2] / "plugins"
