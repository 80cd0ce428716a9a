"""Nothing hangs: lost agents, forgotten connections, forks and the end of the program."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.base.errors import AgentUnreachable, UsageError
from qallow_agent.client.session import Mesh, connect
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

Spawn = Callable[..., AgentProcess]


def test_when_the_agent_dies_every_future_fails_at_once(spawn: Spawn) -> None:
    agent = spawn("mortal")
    mesh = connect(agent.socket)
    assert int(mesh.submit("moody", mood=10).result(60).value) == 10
    futures = [mesh.submit("moody", mood=10, seconds=20.0) for _ in range(5)]
    results = mesh.map("moody", {"mood": range(10, 100)}, seconds=1.0)
    assert futures[0].job
    agent.kill()
    for future in futures:
        with pytest.raises(AgentUnreachable):
            future.result(2)
    with pytest.raises(AgentUnreachable):
        list(results)
    with pytest.raises(AgentUnreachable):
        mesh.submit("moody", mood=10)
    mesh.close()


def test_work_moves_when_the_machine_under_it_dies(spawn: Spawn, able: Callable[..., None]) -> None:
    first = spawn("first")
    second = spawn("second", join=first.invite())
    able(first, 2)
    with connect(first.socket) as mesh:
        results = mesh.map("moody", {"mood": range(10, 210)}, seconds=0.02, ordered=False)
        found: list[Any] = []
        places: set[str] = set()
        while len(places) < 2 and len(found) < 150:
            found.append(next(results))
            places.add(found[-1].where)
        assert places == {"first/cpu0", "second/cpu0"}
        second.kill()
        found += list(results)
    assert sorted(int(result.value) for result in found) == list(range(10, 210))


PROGRAM = """
import sys, qallow_agent as qa
mesh = qa.connect(sys.argv[1])
future = mesh.submit("moody", mood=10, seconds=50.0)
print(future.job, flush=True)
"""


def test_a_program_ends_although_its_connection_is_open(lone: AgentProcess) -> None:
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, lone.socket],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began_s < 20
    job = done.stdout.strip()
    end_s = time.monotonic() + 10
    state = ""
    while state != "cancelled" and time.monotonic() < end_s:
        state = lone.ask("jobs", job)["jobs"][0]["state"]
    assert state == "cancelled"


def test_importing_the_package_brings_neither_numpy_nor_zmq() -> None:
    program = (
        "import sys, qallow_agent; assert qallow_agent.__version__;"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'zmq', 'msgspec')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_scalars_go_out_without_numpy(lone: AgentProcess) -> None:
    program = (
        "import sys, qallow_agent as qa; mesh = qa.connect(sys.argv[1]);"
        "mesh.submit('harmonic', pockets=4, ticks=1).result(60);"
        "assert 'numpy' not in sys.modules; mesh.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, lone.socket],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_is_told_to_connect_again(mesh: Mesh) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            mesh.submit("moody")
        except UsageError as error:
            os.write(writer, error.message.encode())
        finally:
            os._exit(0)
    os.close(writer)
    assert b"forked" in os.read(reader, 1_000)
    os.close(reader)
    os.waitpid(child, 0)
    assert int(mesh.submit("moody", mood=10).result(30).value) == 10


def test_a_connection_that_nobody_holds_ends(lone: AgentProcess) -> None:
    mesh = connect(lone.socket)
    thread = mesh._connection.engine._thread
    del mesh
    thread.join(10)
    assert not thread.is_alive()


def test_a_stopped_agent_is_noticed(spawn: Spawn, tmp_path: Path) -> None:
    del tmp_path
    agent = spawn("stopping")
    mesh = connect(agent.socket)
    future = mesh.submit("moody", mood=10, seconds=30.0)
    assert future.job
    agent.stop()
    assert future.exception(5) is not None
    mesh.close()


def test_after_a_restart_of_the_agent_a_new_connection_works(spawn: Spawn) -> None:
    agent = spawn("restarted")
    mesh = connect(agent.socket)
    assert int(mesh.submit("moody", mood=10).result(60).value) == 10
    agent.stop()
    agent.start().wait_ready()
    with pytest.raises(AgentUnreachable, match="the connection is lost") as caught:
        mesh.submit("moody", mood=10)
    assert "connect again" in caught.value.hint
    with connect(agent.socket) as again:
        assert int(again.submit("moody", mood=11).result(60).value) == 11
    mesh.close()
