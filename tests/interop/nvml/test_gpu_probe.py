"""GPU probing against a fake driver library; each case runs in a process of its own, since
libraries stay loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

READ = """
import json, sys, msgspec
from pathlib import Path
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.gpus import GpuProbe
now = [0.0]
probe = GpuProbe(DeviceSettings(reprobe_s=30), {kinds!r}, lambda: now[0], Path({root!r}))
rounds = []
for change in {changes!r}:
    if "file" in change:
        open({file!r}, "w").write(change["file"])
    now[0] += change.get("later_s", 0.0)
    muster = probe.read()
    rounds.append({{
        "boards": msgspec.to_builtins(muster.devices),
        "faults": msgspec.to_builtins(muster.faults),
        "complaints": msgspec.to_builtins(muster.complaints),
        "why": probe.why.why,
    }})
print(json.dumps({{"rounds": rounds, "pynvml": "pynvml" in sys.modules}}))
"""

HANG = """
import json, time, msgspec
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.gpus import GpuProbe
from qallow_agent.runtime.watch import Watch
now = [0.0]
clock = lambda: now[0]
probe = GpuProbe(DeviceSettings(), ("cuda",), clock)
watch = Watch(probe, "the driver", period_s=0.1, rest_s=30.0, hung_s=0.5, clock=clock)
deadline = time.monotonic() + 10
while not watch.latest().devices and time.monotonic() < deadline:
    time.sleep(0.01)
well = watch.latest().devices
open({file!r}, "w").write("sleep_ms 900\\n")
time.sleep(0.3)
now[0] = 60.0
hung = watch.latest().devices
print(json.dumps([msgspec.to_builtins(well), msgspec.to_builtins(hung)]))
"""


def run(code: str, library: Path | None, file: Path) -> Any:
    stub = file.parent / "numba_cuda"  # all that is looked for is whether it is installed
    stub.mkdir(exist_ok=True)
    (stub / "__init__.py").touch()
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
    code = READ.format(kinds=kinds, changes=list(changes), file=str(file), root=str(tmp_path))
    return run(code, library, file)


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
    assert first["slots"] == 0
    assert first["memory_bytes"] == 8_000_000_000
    values = {name: (r["value"], r["unit"]) for name, r in first["readings"].items()}
    assert values == {
        "utilization": (0.1, "ratio"),
        "memory_available": (7e9, "bytes"),
        "memory_used": (1e9, "bytes"),
        "temperature": (45.0, "celsius"),
        "temperature_limit": (95.0, "celsius"),
        "temperature_shutdown": (100.0, "celsius"),
        "power": (20.0, "watts"),
        "power_limit": (60.0, "watts"),
        "energy": (0.0, "joules"),
        "clock": (1.5e9, "hertz"),
        "ecc_uncorrected": (0.0, "count"),
        "xid": (None, "count"),
        "foreign_processes": (0.0, "count"),
        "foreign_memory": (0.0, "bytes"),
        "foreign_utilization": (0.0, "ratio"),
    }


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


def test_a_gpu_that_counts_no_joules_has_its_power_added_up(library: Path, tmp_path: Path) -> None:
    lines = "error_TotalEnergyConsumption 3\npower 20000\n"
    steps = [{"file": lines}, *({"later_s": 1.0} for _ in range(3))]
    result = read(library, tmp_path, *steps)
    energy = result["rounds"][-1]["boards"][0]["readings"]["energy"]
    assert (energy["value"], energy["provenance"]) == (60.0, "estimated")
    assert "power of gpu0" in energy["why"]


def test_with_a_cuda_kernel_a_gpu_waits_only_for_its_canary(library: Path, tmp_path: Path) -> None:
    result = read(library, tmp_path, {"file": "boards 1\n"}, kinds=("cpu", "cuda"))
    [board] = result["rounds"][0]["boards"]
    assert (board["state"], board.get("why", "")) == ("warming", "")


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


def test_what_slows_a_gpu_down_is_named(library: Path, tmp_path: Path) -> None:
    [board] = read(library, tmp_path, {"file": "throttle 68\n"})["rounds"][0]["boards"]
    assert board["throttle"] == ["power-cap", "heat-hardware"]


@pytest.mark.parametrize(
    ("before", "after", "why", "fix"),
    [
        ("ecc 0\n", "ecc 1\n", "1 uncorrectable memory errors (ECC)", "nvidia-smi --gpu-reset"),
        ("xids 0\n", "xids 2\nxid 48\n", "XID error 48", "dmesg"),
        ("remap_pending 0\n", "remap_pending 1\n", "taken out of use", "nvidia-smi --gpu-reset"),
        ("heat 99\n", "heat 100\n", "100.0 C, where it shuts itself down", "cooler air"),
    ],
)
def test_a_fault_of_the_board_is_counted_once_and_names_its_fix(
    library: Path, tmp_path: Path, before: str, after: str, why: str, fix: str
) -> None:
    steps = [{"file": before}, {"file": after, "later_s": 11.0}, {"later_s": 11.0}]
    rounds = read(library, tmp_path, *steps, kinds=("cuda",))["rounds"]
    assert rounds[0]["faults"] == {}
    assert rounds[1]["faults"]["gpu0"]["count"] == 1
    assert why in rounds[1]["faults"]["gpu0"]["newest"]["why"]
    assert fix in rounds[1]["faults"]["gpu0"]["newest"]["fix"]
    assert rounds[2]["faults"] == rounds[1]["faults"]


def test_an_error_of_the_program_is_no_fault_of_the_board(library: Path, tmp_path: Path) -> None:
    [step] = read(library, tmp_path, {"file": "xids 1\nxid 31\n"})["rounds"]
    assert step["boards"][0]["readings"]["xid"]["value"] == 31
    assert step["faults"] == {}


def test_a_fault_from_before_a_restart_of_the_driver_does_not_count_again(
    library: Path, tmp_path: Path
) -> None:
    result = read(
        library,
        tmp_path,
        {"file": "ecc 2\n"},
        {"file": "error 15\n", "later_s": 31.0},
        {"file": "ecc 2\n", "later_s": 31.0},
        {"later_s": 11.0},
        {"file": "ecc 0\n", "later_s": 11.0},
        {"file": "ecc 1\n", "later_s": 11.0},
    )
    counts = [step["faults"]["gpu0"]["count"] for step in result["rounds"]]
    assert counts == [1, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("pid 1\npid_memory 5e9\nused 5e9\n", "other programs hold 4.7 GiB of 7.5 GiB"),
        ("pid 1\npid_memory 1e9\npid_busy 80\n", "other programs keep it busy"),
        ("pid 1\npid_memory 7.5e9\nused 7.9e9\n", "its memory is full: 95.4 MiB of 7.5 GiB"),
        ("used 7.9e9\n", "its memory is full"),
    ],
)
def test_what_others_take_of_a_gpu_is_told(
    library: Path, tmp_path: Path, lines: str, why: str
) -> None:
    [board] = read(library, tmp_path, {"file": lines}, kinds=("cuda",))["rounds"][0]["boards"]
    assert board["state"] == "warming"
    assert why in board["why"]
    assert board["fix"]


def test_our_own_processes_are_not_foreign(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "gpu.txt"
    code = READ.format(kinds=("cuda",), changes=[{}], file=str(file), root=str(tmp_path))
    mine = (
        f"import os\nopen({str(file)!r}, 'w').write(f'pid {{os.getpid()}}\\npid_memory 5e9\\n')\n"
    )
    [board] = run(mine + code, library, file)["rounds"][0]["boards"]
    assert board["readings"]["foreign_processes"]["value"] == 0
    assert board.get("why", "") == ""


def test_memory_that_the_driver_hides_is_unknown_not_zero(library: Path, tmp_path: Path) -> None:
    [step] = read(library, tmp_path, {"file": "pid 1\npid_memory -1\n"})["rounds"]
    readings = step["boards"][0]["readings"]
    assert readings["foreign_processes"]["value"] == 1
    assert readings["foreign_memory"]["provenance"] == "unknown"


def test_a_jetson_whose_nvml_supports_nothing_is_read_from_sysfs(
    library: Path, tmp_path: Path
) -> None:
    files = {
        "sys/class/devfreq/17000000.gpu/device/load": "500",
        "sys/class/devfreq/17000000.gpu/cur_freq": "918000000",
        "proc/meminfo": "MemTotal: 8000 kB\nMemAvailable: 6000 kB",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    names = ("UtilizationRates", "MemoryInfo", "ClockInfo", "PowerUsage", "Temperature")
    lines = "".join(f"error_{name} 3\n" for name in names)
    [board] = read(library, tmp_path, {"file": lines}, kinds=("cuda",))["rounds"][0]["boards"]
    assert board["memory_bytes"] == 8000 * 1024
    values = {name: r["value"] for name, r in board["readings"].items()}
    assert (values["utilization"], values["clock"]) == (0.5, 918e6)
    assert values["memory_available"] == 6000 * 1024
    assert values["temperature_limit"] == 95.0


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


@pytest.mark.parametrize(
    ("lines", "why"),
    [("init_error 9\n", "the NVIDIA driver does not start"), ("error_Count 999\n", "no devices")],
)
def test_a_driver_that_does_not_work_is_no_gpu_and_says_why(
    library: Path, tmp_path: Path, lines: str, why: str
) -> None:
    step = read(library, tmp_path, {"file": lines})["rounds"][0]
    assert step["boards"] == []
    [complaint] = step["complaints"]
    assert why in complaint["why"]
    assert "nvidia-smi" in complaint["fix"]


def test_a_driver_that_hangs_does_not_hang_us_and_its_boards_are_lost(
    library: Path, tmp_path: Path
) -> None:
    file = tmp_path / "gpu.txt"
    file.write_text("boards 1\n")
    well, hung = run(HANG.format(file=str(file)), library, file)
    assert well[0]["state"] == "warming"
    assert hung[0]["state"] == "lost"
    assert "has not answered for" in hung[0]["why"]


def test_without_a_driver_the_binding_is_not_even_imported(tmp_path: Path) -> None:
    result = read(None, tmp_path, {})
    if result["rounds"][0]["boards"] or result["pynvml"]:
        pytest.skip("this machine has an NVIDIA driver")
    assert "no NVIDIA driver library" in result["rounds"][0]["why"]
    assert result["rounds"][0]["complaints"] == []
