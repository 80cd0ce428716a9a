"""Devices that fail, heat up, fill up, vanish or are brought along by a plug-in, in real agents.

The driver's library is a stand-in whose values a test changes while the agent runs.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.node.commands import GetDevices, GetStatus
from qallow_agent.testing.agents import AgentProcess

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
LIBRARY = Path(__file__).parents[1] / "interop" / "nvml" / "fake_nvml.c"

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler for the fake library")

Eventually = Callable[..., Any]
Query = Callable[..., dict[str, Any]]
Spawn = Callable[..., AgentProcess]


class Board:
    """An agent with a CPU and one fake NVIDIA board."""

    def __init__(self, agent: AgentProcess, file: Path, query: Query) -> None:
        self.agent = agent
        self._file = file
        self._query = query

    def tell(self, *lines: str) -> None:
        """Let the board be like this from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(self._file)

    @property
    def seen(self) -> dict[str, Any]:
        """The board as ``devices`` shows it."""
        rows = self._query(self.agent, GetDevices())["devices"]
        return next((row for row in rows if row["device"] == "gpu0"), {"state": "", "why": ""})

    def problems(self) -> str:
        """What ``status`` says is wrong, with its exit code and every fix."""
        done = self.agent.run_cli("status")
        assert "Traceback" not in done.stderr
        return f"{done.returncode}: {done.stdout}"


@pytest.fixture(scope="module")
def gpubox(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory, query: Query
) -> Iterator[Board]:
    folder = tmp_path_factory.mktemp("gpubox")
    assert COMPILER is not None
    subprocess.run(
        [COMPILER, "-O1", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", LIBRARY],
        check=True,
        timeout=60,
    )
    stub = folder / "numba_cuda"  # all that is looked for is whether it is installed
    stub.mkdir()
    (stub / "__init__.py").touch()
    file = folder / "board.txt"
    settings = (
        "devices.gpu=auto",
        "devices.sample_s=0.2",
        "devices.reprobe_s=1",
        "kernels.modules=kernels_for_boards:DOUBLE",
        "kernels.disabled=elasticity,harmonic",
        "jobs.lost_retry_s=1",
        "jobs.quarantine_pause_s=0.5",
        "jobs.cool_hold_s=1",
    )
    variables = environment | {
        "FAKE_NVML": str(file),
        "LD_LIBRARY_PATH": str(folder),
        "PYTHONPATH": f"{environment['PYTHONPATH']}:{folder}",
    }
    agent = AgentProcess("gpubox", folder / "agent", settings, variables)
    board = Board(agent, file, query)
    board.tell("boards 1")
    agent.start().wait_ready()
    yield board
    agent.close()


@pytest.fixture
def board(gpubox: Board, able: Callable[..., None]) -> Iterator[Board]:
    """Begin with a board that works, and leave one that does."""
    gpubox.tell("boards 1")
    able(gpubox.agent, 2)
    yield gpubox
    gpubox.tell("boards 1")


@needs_compiler
def test_a_gpu_lost_in_the_middle_of_its_task_leaves_its_work_to_the_cpu(
    board: Board, eventually: Eventually, query: Query, tmp_path: Path
) -> None:
    agent, points = board.agent, 160
    sweep = f"x=1:{points}:{points}"
    work = agent.start_cli(
        "map", "double", "--sweep", sweep, "--set", "seconds=0.05", "-o", tmp_path / "out", "--json"
    )
    assert work.stderr is not None
    job = work.stderr.readline().split()[1]
    eventually(
        lambda: len(agent.ask("jobs", job)["jobs"][0]["share"]) == 2, 30, "both devices work"
    )
    board.tell("error 15")
    eventually(lambda: board.seen["state"] == "lost", 10, "the board is lost")
    said = board.problems()
    assert said.startswith("1: ")
    assert "device gpu0 is lost" in said
    assert "nvidia-smi" in said
    out, err = work.communicate(timeout=60)
    assert work.returncode == 0, err
    assert json.loads(out)["done"] == points
    with np.load(tmp_path / "out" / "results.npz") as results:
        assert np.array_equal(results["y"], 2 * np.arange(1, points + 1))
        assert set(results["where"]) == {0.0, 1.0}
    board.tell("boards 1")
    eventually(lambda: board.seen["state"] == "ok", 20, "the board is back")
    eventually(lambda: query(agent, GetStatus())["problems"] == [], 5, "all is well")


@needs_compiler
def test_an_uncorrectable_error_is_a_quarantine_that_canaries_end(
    board: Board, eventually: Eventually
) -> None:
    board.tell("xids 1", "xid 48")
    eventually(lambda: board.seen["state"] == "quarantined", 10, "it is in quarantine")
    said = board.problems()
    assert said.startswith("1: ")
    assert "gpu0 is quarantined: its driver told of XID error 48" in said
    assert "dmesg" in said
    refused = board.agent.run_cli(
        "run", "double", "--device", "gpubox/gpu0", "--start-within", "0.1s"
    )
    assert refused.returncode == 75
    assert "XID error 48" in refused.stderr
    eventually(lambda: board.seen["state"] == "ok", 30, "it has earned its way back")


@needs_compiler
def test_a_hot_gpu_says_so_refuses_work_and_takes_it_once_it_is_cool(
    board: Board, eventually: Eventually
) -> None:
    board.tell("heat 96", "throttle 64")
    eventually(lambda: board.seen["state"] == "hot", 10, "it is hot")
    assert board.seen["throttle"] == ["heat-hardware"]
    assert "gpu0 is hot: it reached 96 C and slows down at 95 C" in board.problems()
    done = board.agent.run_cli("run", "double", "--device", "gpubox/gpu0", within_s=30)
    assert done.returncode == 75
    assert "s2 thermal margin" in done.stderr
    board.tell("heat 93")
    time.sleep(1.5)
    assert board.seen["state"] == "hot"
    board.tell("heat 60")
    eventually(lambda: board.seen["state"] == "ok", 10, "it is cool")
    eventually(lambda: board.seen["gate"]["state"] == "open", 20, "it takes work again")
    done = board.agent.run_cli("run", "double", "--device", "gpubox/gpu0", "--json")
    assert done.returncode == 0, done.stderr


@needs_compiler
def test_a_gpu_that_others_fill_names_them_and_the_fix(
    board: Board, eventually: Eventually
) -> None:
    board.tell("pid 1", "pid_memory 7.7e9", "used 7.9e9")
    eventually(lambda: "in other programs" in board.seen["why"], 20, "it is full")
    said = board.problems()
    assert said.startswith("1: ")
    assert "device gpu0: its memory is full: 95.4 MiB of 7.5 GiB are free" in said
    assert "nvidia-smi lists them" in said


@needs_compiler
def test_a_driver_that_hangs_loses_its_boards_and_not_the_agent(
    board: Board, eventually: Eventually
) -> None:
    board.tell("sleep_ms 3000")
    eventually(lambda: "has not answered" in board.seen["why"], 15, "it hangs")
    assert board.seen["state"] == "lost"
    board.tell("boards 1")
    eventually(lambda: board.seen["state"] == "ok", 30, "it answers again")


def test_a_plug_in_device_computes_when_it_is_named_and_broken_ones_harm_nobody(
    spawn: Spawn, able: Callable[..., None], query: Query
) -> None:
    plugins = "qallow_agent.testing.fpga:PLUGIN,devices_that_misbehave:HANGING,no_such_module:X"
    agent = spawn("fpgabox", f"devices.plugins={plugins}", "kernels.disabled=harmonic")
    able(agent, 2)
    rows = {row["device"]: row for row in query(agent, GetDevices())["devices"]}
    assert (rows["fpga0"]["kind"], rows["fpga0"]["simulated"]) == ("fpga", True)
    done = agent.ask("run", "elasticity", "--device", "fpgabox/fpga0", "--set", "ticks=20")
    assert done["where"] == "fpgabox/fpga0"
    reference = run_task(load_catalog().get("elasticity"), "reference", {"ticks": 20}, {}, {})
    assert done["values"]["E"] == pytest.approx(reference["E"].tolist())
    agent.ask("map", "elasticity", "--sweep", "eps=0.0001:0.01:400", "--set", "ticks=20")
    jobs = agent.ask("jobs")["jobs"]
    assert {place for job in jobs for place in job["share"]} == {"fpgabox/fpga0", "fpgabox/cpu0"}
    assert sum("fpgabox/fpga0" in job["share"] for job in jobs) == 1
    status = agent.run_cli("status")
    assert status.returncode == 1
    assert "device plug-in no_such_module:X (settings) was skipped" in status.stdout
