"""qallow-agent on this machine: three agents joined by real invites, each with one runner.

Everything is as a user gets it (CURVE, signed leases, 100 ms pulses); only the number of runners of
a job is set, two for clients of the first agent and one for those of the second, and two plug-in
kernels that compute nothing are added.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from nextdoor import HERE as NEAR
from nextdoor import THERE, prefix

from peers.kernels import CASES, Case, direct_rate
from peers.protocol import Values, idle, middle_s, rate, round_trips, serve
from peers.scaling import TASKS_A_RUNNER, WAIT_S, scaling_rates
from qallow_agent.base.message import Report
from qallow_agent.client.control import ControlLink
from qallow_agent.client.session import Mesh, connect
from qallow_agent.node.commands import CreateInvite, GetPeers
from qallow_agent.testing.agents import AgentProcess

HERE = Path(__file__).resolve().parents[1]
SETTINGS = (
    "runners.threads=1",
    "kernels.modules=plugin_kernels:NOOP,plugin_kernels:ECHO,plugin_kernels:WAIT",
    f"runners.import_paths={HERE}",
)
RUNNERS = (2, 1, 1)
TASKS = 5_000
POINTS = 200_000
ARRAY_ITEMS = (64 << 20) // 4
ANSWER_S = 60.0
READY_S = 30.0
LOOK_S = 0.002


class QallowPeer:
    """Three agents and a client of the first."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-qallow-")
        self._agents: list[AgentProcess] = []
        self._number = -1
        self._mesh: Mesh | None = None

    def start(self, seconds: float) -> Values:
        """Start an agent and run a first task; then let two more join, one after the other."""
        del seconds
        began_s = time.perf_counter()
        first = self._launch("")
        values = {"ready": time.perf_counter() - began_s}
        times = psutil.Process(first.pid).cpu_times()
        values["ready_cpu"] = times.user + times.system
        self._mesh = connect(first.socket)
        self._mesh.submit("bench-noop").result(ANSWER_S)
        values["first"] = time.perf_counter() - began_s
        values["join"] = max(self._join(), self._join())
        return values

    def stop(self) -> None:
        """Leave, and end the agents."""
        if self._mesh is not None:
            self._mesh.close()
        for agent in self._agents:
            agent.kill()
        self._folder.cleanup()

    def trips(self, seconds: float) -> Values:
        """Measure one task at a time: one that computes nothing, then a tick of elasticity."""
        mesh = self._client()
        values = round_trips(lambda: mesh.submit("bench-noop").result(ANSWER_S), seconds / 2)
        real = round_trips(lambda: mesh.submit("elasticity", ticks=1).result(ANSWER_S), seconds / 2)
        return values | {f"tick_{name}": value for name, value in real.items()}

    def submit(self, seconds: float) -> Values:
        """Measure tasks submitted one by one and awaited together."""
        mesh = self._client()

        def noops() -> int:
            futures = [mesh.submit("bench-noop") for _ in range(TASKS)]
            return len([future.result(ANSWER_S) for future in futures])

        def ticks() -> int:
            futures = [mesh.submit("elasticity", ticks=1) for _ in range(TASKS)]
            return len([future.result(ANSWER_S) for future in futures])

        return {"submit": rate(noops, seconds / 2), "tick_submit": rate(ticks, seconds / 2)}

    def map(self, seconds: float) -> Values:
        """Measure ``map``, which coalesces by itself; every result is taken from the iterator."""
        mesh = self._client()
        numbers = np.linspace(0, 0.01, POINTS, dtype="f4")

        def noops() -> int:
            return _count(mesh, "bench-noop", {"value": numbers})

        def ticks() -> int:
            return _count(mesh, "elasticity", {"eps": numbers}, ticks=1)

        return {"map": rate(noops, seconds / 2), "tick_map": rate(ticks, seconds / 2)}

    def array(self, seconds: float) -> Values:
        """Measure a large array there and back through a runner."""
        return {"array": _array_s(self._client(), seconds) * 1e3}

    def across(self, seconds: float) -> Values:
        """Measure a large array there and back to an agent on a box next door, encrypted."""
        if not prefix():
            return {}
        near = self._launch("", at=NEAR)
        far = self._launch(near.invite(), at=THERE, before=prefix())
        with connect(near.socket) as mesh:
            there = f"{far.name}/cpu0"
            return {"across": _array_s(mesh, seconds, device=there) * 1e3}

    def kernels(self, seconds: float) -> Values:
        """Measure each built-in kernel in batches: called directly, and through the mesh."""
        values: Values = {}
        for case in CASES:
            for count, agent in ((1, self._agents[1]), (2, self._agents[0])):
                with connect(agent.socket) as mesh:
                    share = seconds / (4 * len(CASES))
                    values[f"{case.name}_mesh{count}"] = _mesh_rate(mesh, case, share)
                    values[f"{case.name}_direct{count}"] = direct_rate(case, count, share)
        return values

    def scaling(self, seconds: float) -> Values:
        """Measure work that waits and work that computes on 1, 2, 4 and 8 runners of one agent."""

        def waits(mesh: Mesh, runners: int, share_s: float) -> float:
            column = np.full(TASKS_A_RUNNER * runners, WAIT_S, dtype="f4")
            return rate(lambda: _count(mesh, "bench-wait", {"seconds": column}), share_s)

        def computes(mesh: Mesh, runners: int, share_s: float) -> float:
            del runners
            return _mesh_rate(mesh, CASES[1], share_s)

        values: Values = {}
        for what, measure in (("waits", waits), ("computes", computes)):

            def alone(runners: int, share_s: float, measure: Any = measure) -> float:
                with self._lone(runners) as mesh:
                    return float(measure(mesh, runners, share_s))

            values |= scaling_rates(what, alone, seconds / 2)
        return values

    def idle(self, seconds: float) -> Values:
        """Measure the agents at rest, alone and with nursery and runners."""
        self._client().close()
        pids = [agent.pid for agent in self._agents]
        return idle(seconds, pids, [[pid] for pid in pids])

    def _client(self) -> Mesh:
        assert self._mesh is not None
        return self._mesh

    def _launch(
        self, token: str, *, runners: int = 0, at: str = "127.0.0.1", before: tuple[str, ...] = ()
    ) -> AgentProcess:
        self._number += 1
        number = self._number
        most = runners or (RUNNERS[number] if number < len(RUNNERS) else 1)
        python_path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        agent = AgentProcess(
            f"box{number}",
            Path(self._folder.name) / f"box{number}",
            (
                *SETTINGS,
                f"devices.cpu_slots={runners or 1}",
                f"jobs.max_slots={most}",
                f"mesh.transport.bind={at}",
            ),
            os.environ | {"PYTHONPATH": python_path},
            before,
        )
        self._agents.append(agent)
        agent.start(token)
        said = agent.directory / "stdout.txt"
        _await(lambda: said.stat().st_size > 0 or agent.process is None, f"box{number} ready")
        agent.wait_ready(READY_S)
        return agent

    @contextmanager
    def _lone(self, runners: int) -> Iterator[Mesh]:
        """Let an agent of so many runners, with no peers, serve for a while."""
        agent = self._launch("", runners=runners)
        try:
            with connect(agent.socket) as mesh:
                yield mesh
        finally:
            agent.kill()
            self._agents.remove(agent)

    def _join(self) -> float:
        """Return seconds from the start of another agent until it and the first see each other."""
        first = self._agents[0]
        link = ControlLink(first.socket, READY_S).connect()
        try:
            report = link.ask(CreateInvite())
            assert isinstance(report, Report)
            began_s = time.perf_counter()
            agent = self._launch(str(report.document["token"]))
            other = ControlLink(agent.socket, READY_S).connect()
            try:
                for box in (other, link):
                    _await(lambda box=box: _alive(box) == len(self._agents), "mutually alive")  # type: ignore[misc]
            finally:
                other.close()
            return time.perf_counter() - began_s
        finally:
            link.close()


def _await(seen: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + READY_S
    while not seen():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not {what} within {READY_S:g} s")
        time.sleep(LOOK_S)


def _alive(link: ControlLink) -> int:
    report = link.ask(GetPeers())
    assert isinstance(report, Report)
    return sum(peer["state"] == "alive" for peer in report.document["peers"])


def _count(mesh: Mesh, kernel: str, grid: Mapping[str, Any], **fixed: int) -> int:
    options: dict[str, Any] = dict(fixed)
    return len([None for _ in mesh.map(kernel, grid, ordered=False, **options)])


def _array_s(mesh: Mesh, seconds: float, **wishes: str) -> float:
    """Return the seconds of a large array there and back through a runner."""
    array = np.arange(ARRAY_ITEMS, dtype="f4")

    def one() -> None:
        given: dict[str, Any] = {"data": array, **wishes}
        back = mesh.submit("bench-echo", **given).result(ANSWER_S).values["data"]
        assert back.shape == array.shape
        assert back[-1] == array[-1]

    return middle_s(one, seconds)


def _mesh_rate(mesh: Mesh, case: Case, seconds: float) -> float:
    grid = {case.swept: case.column(seconds)}
    points = rate(lambda: _count(mesh, case.name, grid, **case.fixed), seconds)
    return points * case.ticks


if __name__ == "__main__":
    serve(QallowPeer())
