import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.base.message import Message, Report
from qallow_agent.client.control import ControlLink
from qallow_agent.node.commands import GetDevices, GetPeers, GetStatus
from qallow_agent.testing.agents import AgentProcess

PLUGINS = Path(__file__).parents[1] / "plugins"
Completed = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def cache_dir(request: pytest.FixtureRequest) -> Path:
    """Return where compiled kernels are kept between runs: a cold one costs each agent 10-20 s."""
    return Path(request.config.cache.mkdir("qallow-compiled"))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> dict[str, str]:
    """Return the variables of a user who has no configuration, no agent and few ports."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: text for name, text in os.environ.items() if not name.startswith("QALLOW_")}
    for name in ("NO_COLOR", "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        kept.pop(name, None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        beacon_port = probe.getsockname()[1]
    return kept | {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "PYTHONPATH": str(PLUGINS),
        "QALLOW_RUNNERS__IMPORT_PATHS": str(PLUGINS),
        "QALLOW_KERNELS__MODULES": "kernels_with_moods:MOODY,kernels_with_moods:TOTAL",
        "QALLOW_NODE__CACHE_DIR": str(cache_dir),
        "QALLOW_MESH__TRANSPORT__BIND": "127.0.0.1",
        "QALLOW_MESH__TRANSPORT__STREAM_PORT": "0",
        "QALLOW_MESH__TRANSPORT__DOOR_PORT": "0",
        "QALLOW_MESH__TRANSPORT__DATAGRAM_PORT": "0",
        "QALLOW_MESH__TRANSPORT__BEACON_PORT": str(beacon_port),
        "QALLOW_MESH__SYNC__NTP_SERVERS": "",
        "QALLOW_DEVICES__CPU_SLOTS": "1",
        "QALLOW_DEVICES__GPU": "off",
        # A box with two cores runs all tests: a task that does not end must not take it for long.
        "QALLOW_JOBS__TASK_LIMIT_S": "60",
        "QALLOW_RUNNERS__MEMORY_BYTES": str(1 << 30),
        "QALLOW_DEVICES__CPU_MEMORY_BYTES": str(64 << 20),
    }


@pytest.fixture(scope="session")
def qallow(environment: dict[str, str]) -> Callable[..., Completed]:
    """Return a way to run one command line to its end, which must come within its deadline."""

    def run(*words: object, within_s: float = 15.0, stdin: str = "", **more: str) -> Completed:
        return subprocess.run(
            [sys.executable, "-m", "qallow_agent.cli.main", *map(str, words)],
            env=environment | more,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def complains() -> Callable[..., None]:
    """Return a check that a command failed as it should: exit code, what, where, fix."""

    def check(done: Completed, code: int, *words: str) -> None:
        said = done.stderr
        assert done.returncode == code, (done.returncode, done.stdout, said)
        assert "Traceback" not in said, said
        assert "error:" in said, said
        assert "fix:" in said, said
        for word in words:
            assert word in said, f"{word!r} is not in: {said}"

    return check


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Return a wait for a condition, which fails with what was last seen at its deadline."""

    def wait(seen: Callable[[], Any], within_s: float = 15.0, what: str = "") -> Any:
        end_s = time.monotonic() + within_s
        while not (found := seen()):
            assert time.monotonic() < end_s, f"not within {within_s} s: {what or seen} ({found})"
            time.sleep(0.05)
        return found

    return wait


Spawn = Callable[..., AgentProcess]


def _spawner(environment: dict[str, str], base: Path) -> Iterator[Spawn]:
    agents: list[AgentProcess] = []

    def spawn(
        name: str, *settings: str, join: str = "", directory: Path | None = None
    ) -> AgentProcess:
        agent = AgentProcess(name, directory or base / name, settings, environment)
        agents.append(agent)
        agent.start(join).wait_ready()
        return agent

    yield spawn
    for agent in agents:
        agent.close()


@pytest.fixture
def spawn(environment: dict[str, str], tmp_path: Path) -> Iterator[Spawn]:
    """Return a maker of ready agents that end with the test."""
    yield from _spawner(environment, tmp_path)


@pytest.fixture(scope="session")
def spawn_shared(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Spawn]:
    """Return a maker of ready agents that end with the session."""
    yield from _spawner(environment, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def query() -> Callable[[AgentProcess, Message], dict[str, Any]]:
    """Return a way to ask an agent that costs no process, for waits that ask often."""

    def ask(agent: AgentProcess, message: Message) -> dict[str, Any]:
        with ControlLink(agent.socket) as link:
            report = link.ask(message)
        assert isinstance(report, Report)
        return report.document

    return ask


@pytest.fixture(scope="session")
def states(query: Callable[..., Any]) -> Callable[[AgentProcess], dict[str, str]]:
    """Return a way to read which members an agent sees, and in which state."""

    def read(agent: AgentProcess) -> dict[str, str]:
        return {peer["name"]: peer["state"] for peer in query(agent, GetPeers())["peers"]}

    return read


@pytest.fixture(scope="session")
def able(eventually: Callable[..., Any], query: Callable[..., Any]) -> Callable[..., None]:
    """Return a wait until an agent sees that many devices whose canaries have passed."""

    def wait(agent: AgentProcess, count: int = 1, within_s: float = 90.0) -> None:
        def seen() -> bool:
            devices = query(agent, GetDevices())["devices"]
            return sum(device["state"] == "ok" for device in devices) >= count

        eventually(seen, within_s, f"{count} working devices")

    return wait


@pytest.fixture(scope="session")
def lone(spawn_shared: Spawn) -> AgentProcess:
    """Return one agent for every test that leaves it healthy."""
    return spawn_shared("lone")


@pytest.fixture
def unharmed(lone: AgentProcess, query: Callable[..., Any]) -> Iterator[None]:
    """Check that the shared agent is the same process, healthy and not grown, after the test."""
    pid, before_bytes = lone.pid, query(lone, GetStatus())["memory_rss_bytes"]
    yield
    after = query(lone, GetStatus())
    assert lone.process is not None
    assert (lone.process.poll(), lone.pid) == (None, pid)
    assert after["state"] == "ready", after["problems"]
    assert "Traceback" not in lone.log
    grown_bytes = after["memory_rss_bytes"] - before_bytes
    assert grown_bytes < 48 << 20, f"the agent grew by {grown_bytes} bytes"
