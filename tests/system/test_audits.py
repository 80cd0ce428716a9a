"""A runner that passes its canaries and lies now and then, in a mesh of real agents."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qallow_agent.client.session import Mesh, connect
from qallow_agent.node.commands import GetDevices, GetStatus
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

PLUGINS = Path(__file__).parents[1] / "plugins"
Eventually = Callable[..., Any]
Query = Callable[..., dict[str, Any]]

FACTOR = 2_654_435_761
"""Of the kernel in kernels_that_lie.py."""

QUARANTINED = '"event": "device.quarantined"'

SETTINGS = (
    "jobs.lost_retry_s=1",
    "jobs.quarantine_pause_s=0.2",
    "jobs.quarantine_audits=5",
    "ethics.audit_share=0.5",
)


class Three:
    """Agents a, b and c, of which c lies as long as a file says so."""

    def __init__(self, agents: list[AgentProcess], lies: Path, query: Query) -> None:
        self.asked = agents[0]
        self.liar = agents[2]
        self._lies = lies
        self._query = query

    def lie(self, *, begin: bool) -> None:
        self._lies.touch() if begin else self._lies.unlink()

    def device(self, agent: AgentProcess) -> dict[str, Any]:
        """Return the liar's device as an agent sees it."""
        rows = self._query(agent, GetDevices())["devices"]
        return next(row for row in rows if row["name"] == "c")

    def problems(self, agent: AgentProcess) -> str:
        return json.dumps(self._query(agent, GetStatus())["problems"])

    def connect(self) -> Mesh:
        return connect(self.asked.socket)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process know the kernel too."""
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.setenv("QALLOW_KERNELS__MODULES", "kernels_that_lie:MIX")


@pytest.fixture(scope="module")
def three(
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    query: Query,
    able: Callable[..., None],
) -> Iterator[Three]:
    base = tmp_path_factory.mktemp("audits")
    folder = base / "lies"
    folder.mkdir()
    for each in (*base.parents[:2], base, folder):
        each.chmod(0o755)  # runners are another user here and look into it
    (folder / "lies.txt").touch()
    variables = environment | {
        "QALLOW_KERNELS__MODULES": "kernels_that_lie:MIX",
        "QALLOW_KERNELS__DISABLED": "elasticity,harmonic",
    }
    agents: list[AgentProcess] = []
    try:
        for name in "abc":
            more = (f"runners.import_paths={PLUGINS},{folder}",) if name == "c" else ()
            agent = AgentProcess(name, base / name, (*SETTINGS, *more), variables)
            join = agents[0].invite() if agents else ""
            agents.append(agent)
            agent.start(join).wait_ready()
        able(agents[0], 3)
        yield Three(agents, folder / "lies.txt", query)
    finally:
        for agent in agents:
            agent.close()
        shutil.rmtree(folder)


def numbers(points: int) -> Any:
    return (np.arange(points, dtype="u8") * np.uint64(FACTOR)) % np.uint64(1 << 32)


def test_three_devices_find_the_one_that_lies_and_its_answers_are_not_delivered(
    three: Three, eventually: Eventually, tmp_path: Path
) -> None:
    done = three.asked.run_cli(
        "map", "mix", "--sweep", "n=0:1499:1500", "--set", "seconds=0.001", "--verify", "3",
        "-o", tmp_path / "out", "--json", within_s=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out" / "results.npz") as results:
        assert np.array_equal(results["value"], numbers(1500))
    seen = eventually(lambda: _if_quarantined(three), 10, "the liar is in quarantine")
    assert "2 of 2 others' that are alike" in seen["why"] or "shadow copies" in seen["why"]
    assert "canaries and shadow copies" in seen["fix"]
    status = three.liar.run_cli("status").stdout
    assert "device cpu0 is quarantined" in status
    assert "fix" in status
    assert "rest on two devices" in done.stderr


def test_a_device_that_is_missing_is_named_at_once(
    three: Three, complains: Callable[..., None]
) -> None:
    began_s = time.monotonic()
    done = three.asked.run_cli("run", "mix", "--verify", "3", "--device", "a/cpu0")
    complains(done, 2, "verify=3 runs each task on 3 different devices", "a/cpu0")
    assert time.monotonic() - began_s < 15


def test_copies_of_real_work_keep_a_liar_out_and_bring_it_back_once_it_is_honest(
    three: Three, eventually: Eventually
) -> None:
    eventually(lambda: three.device(three.asked)["trial"] > 0, 30, "its canaries passed")
    with three.connect() as mesh:
        before = three.liar.log.count(QUARANTINED)
        for _ in range(12):
            found = mesh.map("mix", {"n": range(3000)}, seconds=0.001).arrays()
            assert np.array_equal(found["value"], numbers(3000))
            if three.liar.log.count(QUARANTINED) > before:
                break
        lied = three.liar.log.count(QUARANTINED)
        assert lied > before, "a copy of real work has caught it once more"
        three.lie(begin=False)
        for _ in range(20):
            found = mesh.map("mix", {"n": range(3000)}, seconds=0.001).arrays()
            assert np.array_equal(found["value"], numbers(3000))
            if three.device(three.liar)["state"] == "ok":
                break
    eventually(lambda: three.device(three.asked)["state"] == "ok", 10, "it is trusted again")
    assert "a device ended its trial" in three.liar.log


def test_audits_in_the_background_find_it_too(three: Three, eventually: Eventually) -> None:
    eventually(lambda: three.device(three.asked)["state"] == "ok", 10, "it is trusted")
    three.lie(begin=True)
    before = three.liar.log.count(QUARANTINED)
    with three.connect() as mesh:
        for _ in range(20):
            mesh.map("mix", {"n": range(3000)}, seconds=0.001).arrays()
            if three.liar.log.count(QUARANTINED) > before:
                break
    assert three.liar.log.count(QUARANTINED) > before


def _if_quarantined(three: Three) -> dict[str, Any] | None:
    seen = three.device(three.asked)
    return seen if seen["state"] == "quarantined" else None
