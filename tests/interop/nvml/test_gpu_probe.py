"""GPU probing against a fake driver library; each case runs in a process of its own, since
libraries stay loaded."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler for the fake library")

READ = """
import json, sys, msgspec
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.devices import GpuProbe
now = [0.0]
probe = GpuProbe(DeviceSettings(reprobe_s=30), {kinds!r}, lambda: now[0])
rounds = []
for change in {changes!r}:
    if "file" in change:
        open({file!r}, "w").write(change["file"])
    now[0] += change.get("later_s", 0.0)
    rounds.append({{"boards": msgspec.to_builtins(probe.read()), "why": probe.why}})
print(json.dumps({{"rounds": rounds, "pynvml": "pynvml" in sys.modules}}))
"""

HANG = """
import json, time, msgspec
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.devices import GpuWatch
now = [0.0]
watch = GpuWatch(DeviceSettings(sample_s=0.1), ("cpu",), lambda: now[0])
deadline = time.monotonic() + 10
while not watch.latest() and time.monotonic() < deadline:
    time.sleep(0.01)
well = watch.latest()
open({file!r}, "w").write("sleep_ms 900\\n")
time.sleep(0.3)
now[0] = 60.0
hung = watch.latest()
print(json.dumps([msgspec.to_builtins(well), msgspec.to_builtins(hung)]))
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert COMPILER is not None
    folder = tmp_path_factory.mktemp("nvml")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [COMPILER, "-O1", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", str(target),
         str(SOURCE)],
        check=True,
        timeout=60,
    )  # fmt: skip
    return folder


def run(code: str, library: Path | None, file: Path) -> Any:
    environment = dict(os.environ, FAKE_NVML=str(file), PYTHONPATH=str(file.parent))
    if library is not None:
        environment["LD_LIBRARY_PATH"] = str(library)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read(
    library: Path | None,
    tmp_path: Path,
    *changes: dict[str, Any],
    kinds: tuple[str, ...] = ("cpu",),
) -> Any:
    file = tmp_path / "gpu.txt"
    if "cuda" in kinds:  # all that is looked for is whether it is installed
        (tmp_path / "numba_cuda").mkdir()
        (tmp_path / "numba_cuda" / "__init__.py").touch()
    code = READ.format(kinds=kinds, changes=list(changes), file=str(file))
    return run(code, library, file)


@needs_compiler
def test_a_gpu_is_read_field_by_field_and_shown_as_not_usable_yet(
    library: Path, tmp_path: Path
) -> None:
    result = read(library, tmp_path, {"file": "boards 2\n"})
    first, second = result["rounds"][0]["boards"]
    assert (first["name"], second["name"]) == ("gpu0", "gpu1")
    assert first["model"] == "Fake Edge GPU"
    assert first["kind"] == "cuda"
    assert first["state"] == "quarantined"
    assert first["why"] == "no kernel here has a CUDA version"
    assert first["memory_bytes"] == 8_000_000_000
    values = {name: (r["value"], r["unit"]) for name, r in first["readings"].items()}
    assert values == {
        "utilization": (0.1, "ratio"),
        "memory_available": (7e9, "bytes"),
        "temperature": (45.0, "celsius"),
        "power": (20.0, "watts"),
        "power_limit": (60.0, "watts"),
        "energy": (0.0, "joules"),
        "clock": (1.5e9, "hertz"),
    }


@needs_compiler
def test_the_joules_of_a_gpu_count_from_the_first_look_and_never_fall(
    library: Path, tmp_path: Path
) -> None:
    result = read(
        library,
        tmp_path,
        {"file": "energy 5000\n"},
        {"file": "energy 7500\n", "later_s": 1.0},
        {"file": "error 15\n", "later_s": 1.0},
        {"file": "energy 1000\n", "later_s": 40.0},
        {"later_s": 1.0},
    )
    found = [step["boards"][0].get("readings", {}).get("energy") for step in result["rounds"]]
    values = [None if reading is None else reading["value"] for reading in found]
    assert values == [0.0, 2.5, None, 3.5, 3.5]


@needs_compiler
def test_a_gpu_that_counts_no_joules_has_its_power_added_up(library: Path, tmp_path: Path) -> None:
    lines = "error_TotalEnergyConsumption 3\npower 20000\n"
    steps = [{"file": lines}, *({"later_s": 1.0} for _ in range(3))]
    result = read(library, tmp_path, *steps)
    energy = result["rounds"][-1]["boards"][0]["readings"]["energy"]
    assert (energy["value"], energy["provenance"]) == (60.0, "estimated")
    assert "power of gpu0" in energy["why"]


@needs_compiler
def test_with_a_cuda_kernel_a_gpu_waits_only_for_its_canary(library: Path, tmp_path: Path) -> None:
    result = read(library, tmp_path, {"file": "boards 1\n"}, kinds=("cpu", "cuda"))
    [board] = result["rounds"][0]["boards"]
    assert (board["state"], board.get("why", "")) == ("warming", "")


@needs_compiler
def test_what_a_board_does_not_support_is_unknown_and_the_rest_is_read(
    library: Path, tmp_path: Path
) -> None:
    lines = "error_PowerUsage 3\nerror_TotalEnergyConsumption 3\nerror_Throttle 3\nheat 51\n"
    [board] = read(library, tmp_path, {"file": lines})["rounds"][0]["boards"]
    assert board["readings"]["power"]["provenance"] == "unknown"
    assert "upport" in board["readings"]["power"]["why"]
    assert board["readings"]["energy"]["value"] is None
    assert board["readings"]["temperature"]["value"] == 51.0
    assert board["state"] == "quarantined"


@needs_compiler
def test_a_throttled_gpu_is_hot(library: Path, tmp_path: Path) -> None:
    result = read(library, tmp_path, {"file": "throttle 64\n"}, kinds=("cuda",))
    assert result["rounds"][0]["boards"][0]["state"] == "hot"


@needs_compiler
def test_a_gpu_that_falls_off_the_bus_is_lost_and_found_again(
    library: Path, tmp_path: Path
) -> None:
    result = read(
        library,
        tmp_path,
        {"file": "boards 1\n"},
        {"file": "error 15\n", "later_s": 1.0},
        {"file": "boards 1\n", "later_s": 40.0},
        {"later_s": 1.0},
    )
    states = [step["boards"][0]["state"] for step in result["rounds"]]
    assert states == ["quarantined", "lost", "quarantined", "quarantined"]
    lost = result["rounds"][1]["boards"][0]
    assert lost["why"]
    assert lost.get("readings", {}) == {}


@needs_compiler
def test_a_board_that_cannot_be_opened_is_lost_until_the_library_is_opened_anew(
    library: Path, tmp_path: Path
) -> None:
    result = read(
        library,
        tmp_path,
        {"file": "error_HandleByIndex 15\n"},
        {"file": "boards 1\n", "later_s": 31.0},
        {"later_s": 31.0},
    )
    states = [step["boards"][0]["state"] for step in result["rounds"]]
    assert states == ["lost", "lost", "quarantined"]


@needs_compiler
@pytest.mark.parametrize(
    ("lines", "why"),
    [("init_error 9\n", "the NVIDIA driver does not start"), ("error_Count 999\n", "no devices")],
)
def test_a_driver_that_does_not_work_is_no_gpu_and_says_why(
    library: Path, tmp_path: Path, lines: str, why: str
) -> None:
    step = read(library, tmp_path, {"file": lines})["rounds"][0]
    assert step["boards"] == []
    assert why in step["why"]


@needs_compiler
def test_a_driver_that_hangs_does_not_hang_us_and_its_boards_are_lost(
    library: Path, tmp_path: Path
) -> None:
    file = tmp_path / "gpu.txt"
    file.write_text("boards 1\n")
    well, hung = run(HANG.format(file=str(file)), library, file)
    assert well[0]["state"] == "quarantined"
    assert hung[0]["state"] == "lost"
    assert "has not answered for" in hung[0]["why"]


def test_without_a_driver_the_binding_is_not_even_imported(tmp_path: Path) -> None:
    result = read(None, tmp_path, {})
    if result["rounds"][0]["boards"] or result["pynvml"]:
        pytest.skip("this machine has an NVIDIA driver")
    assert "no NVIDIA driver library" in result["rounds"][0]["why"]
