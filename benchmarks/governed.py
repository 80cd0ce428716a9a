"""How long one governed decision takes: from the wish for a lease to the assents of validators.

``python benchmarks/governed.py [--decisions N]``. Four agents, each a process, on this machine's
loopback. Jobs of one tiny task go to the first of them, one after another, and run there: their
lease is wished for, the placement scored, logged and shown to three validators, which score it
again, compare it with what they see themselves and sign. The time is the first agent's own; the
lease is not kept waiting for it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from typing import Any

from machine import describe

from qallow_agent.base.message import Report
from qallow_agent.client.control import ControlLink
from qallow_agent.client.session import connect
from qallow_agent.node.commands import GetStatus
from qallow_agent.testing.agents import AgentProcess

NAMES = "abcd"
VALIDATORS = 3
SETTINGS = (
    "mesh.sync.ntp_servers=",
    "devices.gpu=off",
    "devices.cpu_slots=1",
)
WITHIN_S = 60.0
LOOK_S = 0.02


def mesh_of_agents(base: Path, cleanup: ExitStack) -> Iterator[AgentProcess]:
    """Yield agents of one mesh."""
    founder: AgentProcess | None = None
    for name in NAMES:
        agent = AgentProcess(name, base / name, SETTINGS)
        cleanup.callback(agent.close)
        agent.start(founder.invite() if founder else "").wait_ready(WITHIN_S)
        founder = founder or agent
        yield agent


def status(agent: AgentProcess) -> dict[str, Any]:
    """Return an agent's status."""
    with ControlLink(agent.socket) as link:
        report = link.ask(GetStatus())
    if not isinstance(report, Report):
        raise TypeError(f"status was answered by {report}")
    return report.document


def until_all_are_there(agents: list[AgentProcess]) -> None:
    """Wait until every agent sees all, and has compared its clock and view with theirs."""
    end_s = time.monotonic() + WITHIN_S
    while any(status(agent)["members"]["alive"] < len(agents) for agent in agents):
        if time.monotonic() > end_s:
            raise TimeoutError("the agents did not meet")
        time.sleep(LOOK_S)
    time.sleep(8.0)


def decide(agent: AgentProcess, decisions: int) -> tuple[list[float], dict[str, Any]]:
    """Return the seconds of some decisions, and what their validators said in all."""
    taken: list[float] = []
    found: dict[str, Any] = {}
    with connect(agent.socket) as mesh:
        while len(taken) < decisions:
            before = status(agent)["validators"]
            list(mesh.map("elasticity", {"eps": [1e-5]}, ticks=10, device="a/cpu0"))
            end_s = time.monotonic() + WITHIN_S
            while (found := status(agent)["validators"])["validated"] == before["validated"]:
                if time.monotonic() > end_s:
                    raise TimeoutError("nobody validated a decision")
                time.sleep(LOOK_S)
            if found["assents"] - before["assents"] == VALIDATORS:
                taken.append(found["took_s"])
    return taken, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=200)
    wanted = parser.parse_args()
    sys.stdout.write("\n".join(describe()) + "\n")
    sys.stdout.write(f"python benchmarks/governed.py --decisions {wanted.decisions}\n")
    with tempfile.TemporaryDirectory() as base, ExitStack() as cleanup:
        agents = list(mesh_of_agents(Path(base), cleanup))
        until_all_are_there(agents)
        taken, found = decide(agents[0], wanted.decisions)
    cuts = quantiles(taken, n=100)
    sys.stdout.write(
        f"{len(taken)} decisions with {VALIDATORS} assents each: p50 {cuts[49] * 1e3:.2f} ms, "
        f"p90 {cuts[89] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms, "
        f"max {max(taken) * 1e3:.2f} ms; {found['objections']} objections\n"
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
