import os
import signal
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
MARKS: list[str] = []
"""What evaluations in this process have said."""


def moody(mood: int = 0, seconds: float = 0.0, mark: int = 0) -> float:
    """Do what the kernel of this name does."""
    if mark:
        MARKS.append(f"moody {mark}")
    if mood == RAISES:
        raise RuntimeError("in a bad mood")
    time.sleep(seconds)
    return float(mood)


class Contract:
    """An executor, what it calls the task, and where the task says that it runs."""

    def __init__(self, pool: Any, task: Any, said: Callable[[], str]) -> None:
        self.pool = pool
        self.task = task
        self._said = said

    def marked(self, mark: int, within_s: float = 10.0) -> bool:
        """Return whether an evaluation with this mark was begun; a log may lag a little behind."""
        end_s = time.monotonic() + within_s
        while f"moody {mark}" not in self._said() and time.monotonic() < end_s:
            time.sleep(0.02)
        return f"moody {mark}" in self._said()

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
        made = Contract(ThreadPoolExecutor(1), moody, lambda: "\n".join(MARKS))
    else:
        made = Contract(Executor(lone.socket), "moody", lambda: lone.log)
    yield made
    made.pool.shutdown(wait=True, cancel_futures=True)  # the runner is free for the next one
