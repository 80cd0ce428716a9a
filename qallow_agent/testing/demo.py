"""The demo: three agents on this machine, real work, one of them killed in the middle.

Everything it does a user could type; each command is shown before its output. It leaves nothing
running and nothing outside its folder.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qallow_agent.testing.agents import AgentProcess

FOLDER = Path(".demo")
FIRST_PORT = 17946
"""Agents take ten ports each from here; another value may stand on the command line."""

_LEAST_PORT, _GREATEST_PORT = 1024, 65_500

WORK_S = 15.0
"""About how long the sweep should keep the machine busy."""
_TRIAL_POINTS = 400_000
_MOST_POINTS = 8_000_000
_WARM_S = 120.0
_SWEEP_DEADLINE_S = 75.0
_FIXED = ("--set", "pockets=32", "--set", "ticks=400")
_STABLE = "0.0001:0.008"
"""Couplings below the stability bound of an even ring, 0.00832813."""


def main(words: Sequence[str]) -> int:
    """Run the demo; the exit code is 0 when every step did what it should."""
    if not sys.platform.startswith("linux"):
        print(f"demo: {sys.platform} is not supported; qallow-agent runs on Linux", file=sys.stderr)
        return 1
    port = words[0] if words else str(FIRST_PORT)
    if not port.isdecimal() or not _LEAST_PORT <= int(port) <= _GREATEST_PORT:
        span = f"{_LEAST_PORT} to {_GREATEST_PORT}"
        print(f"demo: {port!r} is no first port\n  fix: make demo PORT=N, {span}", file=sys.stderr)
        return 2
    shutil.rmtree(FOLDER, ignore_errors=True)
    began_s = time.monotonic()
    try:
        with _mesh(int(port)) as agents:
            _meet(agents)
            _compute(agents)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        print("  fix: free the ports, or: make demo PORT=27946", file=sys.stderr)
        return 1
    _say(f"everything is stopped; that took {time.monotonic() - began_s:.0f} s")
    return 0


@contextmanager
def _mesh(first_port: int) -> Iterator[list[AgentProcess]]:
    agents = [_agent(name, first_port + 10 * i) for i, name in enumerate(("ada", "bob", "eve"))]
    try:
        _say("three agents, each with its own keys, state and ports; the first founds a mesh")
        first, *others = agents
        _started(first.start())
        for other in others:
            token = first.invite()
            print(f"$ qallow-agent invite\nqallow-agent start --join {token[:24]}...")
            _started(other.start(join=token))
        yield agents
    finally:
        started = [agent for agent in agents if agent.process is not None]
        for agent in started:
            agent.signal(signal.SIGTERM)
        for agent in started:
            agent.stop()


def _agent(name: str, port: int) -> AgentProcess:
    settings = (
        f"mesh.transport.stream_port={port}",
        f"mesh.transport.door_port={port + 1}",
        f"mesh.transport.datagram_port={port}",
        "devices.cpu_slots=1",
        "runners.threads=1",
        "node.mesh_name=demo",
    )
    return AgentProcess(name, FOLDER / name, settings)


def _started(agent: AgentProcess) -> None:
    ready = agent.wait_ready()
    print(f"$ qallow-agent start --name {agent.name}")
    print(f"ready after {ready['seconds'] * 1000:.0f} ms: {', '.join(ready['addresses'])}")


def _meet(agents: list[AgentProcess]) -> None:
    first = agents[0]
    _say("they find each other")
    first.wait_for("in a mesh of three", lambda: _alive(first) == len(agents))
    _show(first, "peers")
    _say("each proves its device with a known-answer run (kernels compile at the first start)")
    first.wait_for("proved by canaries", lambda: _devices_ok(first) == len(agents), _WARM_S)
    _show(first, "devices")


def _compute(agents: list[AgentProcess]) -> None:
    first, *_, last = agents
    _say("an elasticity run, wherever the mesh finds best")
    _show(first, "run", "elasticity", "--set", "ticks=1000", "--set", "eps=0.0001")
    trial = _map(first, _TRIAL_POINTS, FOLDER / "trial", "--json")
    rate = json.loads(trial.communicate(timeout=_SWEEP_DEADLINE_S)[0])["rate_per_s"]
    points = min(_MOST_POINTS, max(_TRIAL_POINTS, round(rate * WORK_S)))
    _say(f"a sweep of {points:,} harmonic rings; {last.name} is killed in the middle of it")
    sweep = _map(first, points, FOLDER / "out")
    print(f"$ qallow-agent map harmonic --sweep coupling={_STABLE}:{points} {' '.join(_FIXED)}")
    first.wait_for("a third of the sweep done", lambda: _done(first) > points / 3, 60.0)
    print(f"$ kill -9 {last.pid}    # {last.name}, with {_done(first):,} points done")
    last.kill()
    output, trouble = sweep.communicate(timeout=_SWEEP_DEADLINE_S)
    print(output, end="")
    if sweep.returncode:
        raise RuntimeError(f"the sweep failed: {trouble}")
    _check(points)
    _prove(first)
    _say("how the mesh is now")
    _show(first, "status")
    _show(first, "jobs")


def _check(points: int) -> None:
    """Compare what arrived with what was asked, and three points with the reference."""
    checked = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "qallow_agent.testing.verify", FOLDER / "out", str(points)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    print(checked.stdout, end="")
    if checked.returncode:
        raise RuntimeError(checked.stdout + checked.stderr)


def _prove(agent: AgentProcess) -> None:
    """Show the receipt of the last job, shortened, and check it and the results with no agent."""
    job = agent.ask("jobs")["jobs"][-1]["job"]
    file = FOLDER / "job.receipt"
    _say("the receipt of that sweep: one file that proves it to somebody without the mesh")
    words = ("receipt", "show", job, "-o", str(file), "--timeout", "30s")
    shown = agent.run_cli(*words, within_s=40.0)
    print(f"$ qallow-agent {' '.join(words)}")
    kept = ("job ", "evaluations ", "on ", "outputs ", "ledger ", "quorum ")
    print("\n".join(line for line in shown.stdout.splitlines() if line.startswith(kept)))
    node = agent.ask("status")["node"]
    words = ("receipt", "verify", str(file), "--node", node, "--outputs", str(FOLDER / "out"))
    checked = agent.run_cli(*words, within_s=60.0)
    print(f"$ qallow-agent {' '.join(words)}")
    print(checked.stdout.partition("\n\n")[2], end="")
    if shown.returncode or checked.returncode:
        raise RuntimeError(f"the receipt proves nothing: {shown.stderr}{checked.stderr}")


def _map(agent: AgentProcess, points: int, out: Path, *words: str) -> subprocess.Popen[str]:
    sweep = f"coupling={_STABLE}:{points}"
    return agent.start_cli("map", "harmonic", "--sweep", sweep, *_FIXED, "-o", out, *words)


def _show(agent: AgentProcess, *words: str) -> None:
    done = agent.run_cli(*words)
    print(f"$ qallow-agent {' '.join(words)}")
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)


def _alive(agent: AgentProcess) -> int:
    return int(agent.ask("status")["members"]["alive"])


def _devices_ok(agent: AgentProcess) -> int:
    devices: list[dict[str, Any]] = agent.ask("devices")["devices"]
    return sum(device["state"] == "ok" for device in devices)


def _done(agent: AgentProcess) -> int:
    jobs: list[dict[str, Any]] = agent.ask("jobs")["jobs"]
    return max((int(job["done"]) for job in jobs if job["state"] == "running"), default=0)


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
