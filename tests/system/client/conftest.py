import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from qallow_agent.client.executor import Executor
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


RAISES = 1


def mark_of(mark: int) -> Path:
    """Return the file that an evaluation with this mark makes."""
    return Path(tempfile.gettempdir(), f"qallow-mood-{mark}")


def moody(mood: int = 0, seconds: float = 0.0, mark: int = 0) -> float:
    """Do what the kernel of this name does."""
    if mark:
        mark_of(mark).touch()
    if mood == RAISES:
        raise RuntimeError("in a bad mood")
    time.sleep(seconds)
    return float(mood)


class Contract:
    """An executor, and what it calls the task."""

    def __init__(self, pool: Any, task: Any) -> None:
        self.pool = pool
        self.task = task

    def marked(self, mark: int) -> bool:
        """Return whether an evaluation with this mark was begun; once, then it is forgotten."""
        path = mark_of(mark)
        found = path.exists()
        path.unlink(missing_ok=True)
        return found

    def value(self, result: Any) -> float:
        return float(getattr(result, "value", result))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, plugins: Path) -> None:
    """Let this process know the plug-in kernels, so that values need no names."""
    monkeypatch.syspath_prepend(plugins)
    monkeypatch.setenv("QALLOW_KERNELS__MODULES", "kernels_with_moods:MOODY")


@pytest.fixture(params=["threads", "mesh"])
def contract(
    request: pytest.FixtureRequest,
    lone: AgentProcess,
    known: None,  # noqa: ARG001 - it is about the process
) -> Iterator[Contract]:
    if request.param == "threads":
        made = Contract(ThreadPoolExecutor(1), moody)
    else:
        made = Contract(Executor(lone.socket), "moody")
    yield made
    made.pool.shutdown(wait=True, cancel_futures=True)  # the runner is free for the next one
