"""How long a new head takes to be certified by its committee.

``python benchmarks/certificates.py [--heads N] [--members 4,7,13]``. Four members are real agents,
each a process, on this machine's loopback: the time is their own, from the signed head to the
certificate, over CURVE sockets and with every witness's memory on disk. Larger committees sit in
one process, with real keys, proofs and signatures and no sockets or disk: the time is the work of
all members one after another, so it is an upper bound of their computing, not of a network.
"""

import argparse
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import quantiles

from machine import describe

from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.base.message import Message, Report
from qallow_agent.client.control import ControlLink
from qallow_agent.ledger.kinds import Objected, Objection
from qallow_agent.node.commands import GetStatus
from qallow_agent.testing.agents import AgentProcess
from qallow_agent.testing.councils import Councils

REAL = 4
WRITE_S = 2.0
"""How often an agent that is measured logs something; its epoch is a second."""
WITHIN_S = 60.0


def in_process(members: int, heads: int) -> list[float]:
    """Return the seconds that each of some heads took in a committee within this process."""
    councils = Councils(members)
    councils.settle(10)
    node = councils.ids()[0]
    for each in councils.ids():
        councils.write(each, b"warm")
    councils.settle(10)
    taken: list[float] = []
    while len(taken) < heads:
        councils.write(node, b"measured")
        councils.now_s += 1.0
        before, began_s = len(councils.members[node].certified), time.perf_counter()
        councils.tick()
        ended_s = time.perf_counter()
        if len(councils.members[node].certified) == before:
            raise RuntimeError("a head was not certified")
        taken.append(ended_s - began_s)
    return taken


def real(heads: int) -> list[float]:
    """Return the seconds that each of some heads took among four agents of this machine."""
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as base, ExitStack() as cleanup:
        agents = list(_mesh(Path(base), cleanup))
        _until(lambda: _ledger(agents[0])["committee"] == REAL, "four members")
        known = 0
        while len(taken) < heads:
            before = known
            _until(partial(_whole, agents[0], before), "a certificate")
            ledger = _ledger(agents[0])
            known = int(str(ledger["certified"]))
            taken.append(float(str(ledger["took_s"])))
    return taken


def _mesh(base: Path, cleanup: ExitStack) -> Iterator[AgentProcess]:
    settings = ("mesh.sync.ntp_servers=", "devices.gpu=off", "devices.cpu_slots=1")
    founder: AgentProcess | None = None
    for name in "abcd"[:REAL]:
        before = (sys.executable, str(Path(__file__).resolve()), "--agent")
        agent = AgentProcess(name, base / name, settings, before=before if not founder else ())
        cleanup.callback(agent.close)
        agent.start(founder.invite() if founder else "").wait_ready(WITHIN_S)
        founder = founder or agent
        yield agent


def _ledger(agent: AgentProcess) -> dict[str, object]:
    with ControlLink(agent.socket) as link:
        report = link.ask(GetStatus())
    if not isinstance(report, Report):
        raise TypeError(f"status was answered by {report}")
    ledger: dict[str, object] = report.document["ledger"]
    return ledger


def _whole(agent: AgentProcess, before: int) -> bool:
    return int(str(_ledger(agent)["certified"])) > before


def _until(holds: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > end_s:
            raise TimeoutError(f"no {what} within {WITHIN_S:g} s")
        time.sleep(0.02)


class Diary:
    """A source of the driver that has the agent log something every so often."""

    def __init__(self, settings: object) -> None:
        del settings
        self._due_s = 0.0

    def poll(self, now: Instant) -> Iterable[Message]:
        """Return what the agent logs now."""
        if now.mono_s < self._due_s:
            return []
        self._due_s = now.mono_s + WRITE_S
        return [Objected(Objection("bench", 0, NodeId("bench"), "s1", "a measured entry", b""))]

    def next_deadline(self) -> float | None:
        """Return when the next entry is due."""
        return self._due_s

    def close(self) -> None:
        """Nothing is open."""


def run_agent(words: list[str]) -> None:
    """Run the command line as given, with a diary in the place of NTP servers."""
    import qallow_agent.assembly  # noqa: PLC0415 - only the agent's process needs it

    vars(qallow_agent.assembly)["NtpSource"] = Diary
    sys.argv = ["qallow-agent", *words[words.index("start") :]]
    runpy.run_module("qallow_agent.cli.main", run_name="__main__")


def show(members: int, how: str, taken: list[float]) -> str:
    """Return one line of the table."""
    cuts = quantiles(taken, n=100)
    return (
        f"{members:>3}  {how:<12} {len(taken):>5}  {cuts[49] * 1e3:>8.2f}  {cuts[98] * 1e3:>8.2f}"
    )


def main() -> None:
    """Measure and print."""
    if "--agent" in sys.argv[1:2]:
        run_agent(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=200, help="heads in one process")
    parser.add_argument("--real-heads", type=int, default=30, help="heads of real agents")
    parser.add_argument("--members", default="4,7,13")
    wanted = parser.parse_args()
    sys.stdout.write("\n".join(describe()) + "\n")
    sys.stdout.write("  n  how          heads    p50 ms    p99 ms\n")
    for members in map(int, wanted.members.split(",")):
        if members == REAL and wanted.real_heads:
            sys.stdout.write(show(members, "processes", real(wanted.real_heads)) + "\n")
        sys.stdout.write(show(members, "one process", in_process(members, wanted.heads)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
