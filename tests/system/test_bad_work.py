"""Work that is wrong, misbehaves or is given up: a clear error, and the agent goes on."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qallow_agent as qa
from qallow_agent.base.errors import BadParameter
from qallow_agent.base.message import Report
from qallow_agent.client.control import ControlLink
from qallow_agent.node.commands import GetStatus
from qallow_agent.testing.agents import AgentProcess

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("ready", "unharmed"),
]

FAILED, USAGE, TRY_LATER = 1, 2, 75
RAISES, CRASHES, HANGS, EATS = 1, 2, 3, 4

Complains = Callable[..., None]
Eventually = Callable[..., Any]


@pytest.fixture(scope="module")
def ready(lone: AgentProcess, able: Callable[..., None]) -> None:
    able(lone)


def work(agent: AgentProcess) -> dict[str, Any]:
    with ControlLink(agent.socket) as link:
        report = link.ask(GetStatus())
    assert isinstance(report, Report)
    return dict(report.document["work"])


def finished(process: subprocess.Popen[str], within_s: float = 15.0) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=within_s)
    assert "Traceback" not in err
    return process.returncode, out, err


def job_of(process: subprocess.Popen[str]) -> str:
    """Return the id that a running command says on stderr once its job has an owner."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("job "), line
    return line.split()[1]


@pytest.fixture
def long_job(lone: AgentProcess, eventually: Eventually) -> Any:
    """Return a map that would take a minute and is under way, as (process, job id)."""
    words = ("map", "moody", "--sweep", "mood=10:6009:6000", "--set", "seconds=0.01")
    process = lone.start_cli(*words, "--json")
    job = job_of(process)
    eventually(lambda: work(lone)["slots_busy"] == 1, 15, "the job runs")
    yield process, job
    process.kill()
    process.communicate()
    eventually(lambda: work(lone)["slots_busy"] == 0, 20, "the slot is free again")


# --- refused before it runs ---------------------------------------------------------------------


def test_an_unknown_kernel_is_named_with_the_nearest_one(
    lone: AgentProcess, complains: Complains
) -> None:
    complains(lone.run_cli("run", "harmonc"), USAGE, "'harmonc'", "did you mean 'harmonic'?")
    wrong = lone.run_cli("kernels", "info", "elastcity")
    complains(wrong, USAGE, "'elastcity'", "did you mean 'elasticity'?")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "harmonic", "--set", "ticks=0"], "at least 1"),
        (["run", "harmonic", "--set", "coupling=-1"], "at least 0"),
        (["run", "harmonic", "--set", "coupling=nan"], "coupling"),
        (["run", "harmonic", "--set", "tiks=5"], "did you mean 'ticks'?"),
        (["run", "harmonic", "--set", "ticks=many"], "whole number"),
        (["run", "harmonic", "--set", "ticks=1.5"], "whole number"),
        (["run", "harmonic", "--set", "ticks=99999999999999999999"], "ticks"),
        (["map", "harmonic", "--sweep", "coupling=-0.1:0.1:9"], "at least 0"),
        (["map", "harmonic", "--sweep", "pockets=2:9:8"], "pockets"),
        (["map", "harmonic"], "nothing is swept"),
        (["map", "harmonic", "--sweep", "coupling=1:2"], "coupling"),
        (["run", "total"], "data"),
        (["run", "total", "--set", "data=5"], "data"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(
    lone: AgentProcess, complains: Complains, words: list[str], said: str
) -> None:
    complains(lone.run_cli(*words), USAGE, said)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones(4, dtype="c16"), "data"),
        (np.array(["one", "two"]), "data"),
        (np.ones((2, 2), dtype="f4"), "data"),
        (np.float32(3), "data"),
    ],
    ids=["complex", "text", "two-axes", "no-axis"],
)
def test_an_array_of_wrong_dtype_or_shape_is_refused(
    lone: AgentProcess, complains: Complains, tmp_path: Path, array: Any, said: str
) -> None:
    np.savez(tmp_path / "in.npz", data=array)
    complains(lone.run_cli("run", "total", "--params", tmp_path / "in.npz"), USAGE, said)
    with qa.connect(lone.socket) as mesh, pytest.raises(BadParameter, match=said):
        mesh.submit("total", data=array).result(10)


def test_an_array_larger_than_any_device_is_refused_at_once(
    lone: AgentProcess, complains: Complains, tmp_path: Path
) -> None:
    np.savez(tmp_path / "in.npz", data=np.zeros(20 << 20, dtype="f4"))
    began_s = time.monotonic()
    refused = lone.run_cli("run", "total", "--params", tmp_path / "in.npz")
    complains(refused, USAGE, "lone/cpu0", "80.0 MiB", "add a node with more memory")
    assert time.monotonic() - began_s < 30, "it did not wait for --start-within"


def test_a_run_larger_than_any_device_is_refused_at_once(
    lone: AgentProcess, complains: Complains
) -> None:
    refused = lone.run_cli("run", "harmonic", "--set", "pockets=16000000", "--set", "ticks=1")
    complains(refused, USAGE, "lone/cpu0", "a task needs", "make the task smaller")


def test_a_device_that_does_not_exist_is_refused(lone: AgentProcess, complains: Complains) -> None:
    refused = lone.run_cli("run", "moody", "--device", "gpu")
    complains(refused, USAGE, "is cpu and gpu is wanted", "device=any")


# --- kernels that misbehave ---------------------------------------------------------------------


def test_a_kernel_that_raises_fails_with_its_own_words(
    lone: AgentProcess, complains: Complains
) -> None:
    done = lone.run_cli("run", "moody", "--set", f"mood={RAISES}")
    complains(done, FAILED, "kernel 'moody' raised RuntimeError: in a bad mood")


def test_a_kernel_that_segfaults_takes_only_its_runner_down(
    lone: AgentProcess, complains: Complains
) -> None:
    done = lone.run_cli("run", "moody", "--set", f"mood={CRASHES}")
    complains(done, FAILED, "killed its runner 2 times", "SIGSEGV")
    assert lone.run_cli("run", "moody").returncode == 0


def test_a_kernel_that_never_ends_is_stopped_at_the_deadline(
    lone: AgentProcess, complains: Complains, eventually: Eventually
) -> None:
    began_s = time.monotonic()
    done = lone.run_cli("run", "moody", "--set", f"mood={HANGS}", "--timeout", "2s")
    complains(done, TRY_LATER, "deadline")
    assert time.monotonic() - began_s < 15
    eventually(lambda: work(lone)["slots_busy"] == 0, 20, "the slot is free again")
    assert lone.run_cli("run", "moody").returncode == 0


def test_a_kernel_that_eats_memory_fails_alone(lone: AgentProcess, complains: Complains) -> None:
    done = lone.run_cli("run", "moody", "--set", f"mood={EATS}")
    complains(done, FAILED, "ran out of memory", "a larger device")
    assert lone.run_cli("run", "moody").returncode == 0


@pytest.mark.parametrize("mood", [RAISES, CRASHES])
def test_one_bad_point_fails_and_all_others_are_computed(
    lone: AgentProcess, tmp_path: Path, mood: int
) -> None:
    moods = [*range(10, 40), mood, *range(40, 60)]
    np.savez(tmp_path / "in.npz", mood=np.array(moods))
    words = ("map", "moody", "--params", tmp_path / "in.npz", "-o", tmp_path / "out", "--json")
    done = lone.run_cli(*words, within_s=60)
    assert (done.returncode, "Traceback" in done.stderr) == (FAILED, False)
    summary = json.loads(done.stdout)
    assert (summary["done"], summary["failed"]) == (50, 1)
    with np.load(tmp_path / "out" / "results.npz") as results:
        assert results["value"].tolist() == [float(each) for each in moods if each != mood]


# --- work that is given up ------------------------------------------------------------------------


def test_a_job_is_cancelled_from_another_terminal(
    lone: AgentProcess, long_job: Any, complains: Complains
) -> None:
    process, job = long_job
    assert lone.ask("cancel", job)["cancelled"]
    code, _, err = finished(process)
    assert (code, "cancelled" in err) == (FAILED, True)
    assert lone.ask("jobs", job)["jobs"][0]["state"] == "cancelled"
    complains(lone.run_cli("cancel", "job-nobodysjob"), USAGE, "job-nobodysjob")


def test_ctrl_c_cancels_and_says_what_is_left(lone: AgentProcess, long_job: Any) -> None:
    process, job = long_job
    process.send_signal(signal.SIGINT)
    code, out, err = finished(process)
    assert code == 130
    assert f"cancelled job {job}" in err
    assert json.loads(out)["state"] == "cancelled"
    assert lone.ask("jobs", job)["jobs"][0]["state"] == "cancelled"


def test_a_client_that_vanishes_leaves_nothing_running(
    lone: AgentProcess, long_job: Any, eventually: Eventually
) -> None:
    process, job = long_job
    process.kill()
    eventually(lambda: work(lone)["slots_busy"] == 0, 20, "the slot is free again")
    state = lone.ask("jobs", job)["jobs"][0]["state"]
    assert state not in {"running", "succeeded"}


def test_a_client_that_hangs_up_in_the_middle_of_a_frame_harms_nobody(lone: AgentProcess) -> None:
    for junk in (b"", b"\xff" * 16, b"\x00\x00\x00\x01", bytes(1 << 16)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.connect(str(lone.socket))
            link.sendall(junk)
    assert lone.run_cli("status").returncode == 0


def test_a_result_that_was_not_retained_is_explained(
    lone: AgentProcess, complains: Complains, tmp_path: Path
) -> None:
    job = lone.ask("run", "moody")["job"]
    complains(lone.run_cli("result", job, "-o", tmp_path / "out"), USAGE, job, "--retain")


def test_a_retained_result_is_fetched_from_another_terminal(
    lone: AgentProcess, tmp_path: Path
) -> None:
    job = lone.ask("run", "moody", "--set", "mood=42", "--retain")["job"]
    written = lone.ask("result", job, "-o", tmp_path / "out")["files"]
    with np.load(next(name for name in written if name.endswith(".npz"))) as results:
        assert float(np.ravel(results["value"])[0]) == 42
