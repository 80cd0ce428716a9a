from collections.abc import Callable
from pathlib import Path

import pytest

from qallow_agent.mesh.wire.kinds import DeviceState
from qallow_agent.runtime.cgroup import own_group
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.gpus import GpuProbe
from qallow_agent.runtime.sensing.drm import find_gpus
from qallow_agent.runtime.sensing.kin import is_ours
from qallow_agent.runtime.sensing.pressure import read_pressure

Tree = Callable[[dict[str, str]], Path]

SOME = "some avg10=12.50 avg60=3.00 avg300=1.00 total=9\nfull avg10=1.00 avg60=0 total=1"
AMD = "sys/class/drm/card1/"
JETSON = "sys/class/devfreq/17000000.gpu/"
INA = "sys/class/hwmon/hwmon3/"


def test_pressure_is_a_share_of_the_last_ten_seconds(tree: Tree) -> None:
    readings = read_pressure(tree({"proc/pressure/cpu": SOME}))
    assert (readings["pressure_cpu"].value, readings["pressure_cpu"].unit) == (0.125, "ratio")
    assert readings["pressure_io"].provenance == "unknown"
    assert "psi=1" in readings["pressure_io"].why


def test_in_a_container_its_own_pressure_counts_where_the_kernel_tells_it(tree: Tree) -> None:
    root = tree({"proc/pressure/cpu": SOME, "proc/pressure/io": SOME, "group/cpu.pressure": ""})
    (root / "group/cpu.pressure").write_text("some avg10=50.00 avg60=0 avg300=0 total=0\n")
    readings = read_pressure(root, root / "group")
    assert (readings["pressure_cpu"].value, readings["pressure_cpu"].source) == (0.5, "cgroup")
    assert readings["pressure_io"].value == 0.125


def test_our_own_group_is_the_deepest_that_is_there(tree: Tree) -> None:
    root = tree({"sys/fs/a/b/cpu.max": "max", "table": "0::/a/b"})
    assert own_group(root / "sys/fs", root / "table") == root / "sys/fs/a/b"
    tree({"table": "0::/not/ours"})
    assert own_group(root / "sys/fs", root / "table") == root / "sys/fs"
    tree({"table": "4:memory:/box"})
    assert own_group(root / "sys/fs", root / "table") is None


def test_an_amd_gpu_is_shown_with_its_readings_and_never_offered(tree: Tree) -> None:
    root = tree(
        {
            f"{AMD}device/vendor": "0x1002",
            f"{AMD}device/device": "0x744c",
            f"{AMD}device/gpu_busy_percent": "25",
            f"{AMD}device/mem_info_vram_total": "8000",
            f"{AMD}device/mem_info_vram_used": "3000",
            f"{AMD}device/hwmon/hwmon2/temp1_input": "55000",
            f"{AMD}device/hwmon/hwmon2/temp1_crit": "110000",
            f"{AMD}device/hwmon/hwmon2/power1_average": "20000000",
            "sys/class/drm/card1-HDMI-A-1/status": "connected",
        }
    )
    now = [0.0]
    probe = GpuProbe(DeviceSettings(), ("cpu", "cuda"), lambda: now[0], root)
    probe.read()
    now[0] = 2.0
    [gpu] = probe.read().devices
    assert (gpu.name, gpu.kind, gpu.slots) == ("card1", "gpu", 0)
    assert gpu.state is DeviceState.QUARANTINED
    assert gpu.why
    values = {name: reading.value for name, reading in gpu.readings.items()}
    assert (values["utilization"], values["memory_available"]) == (0.25, 5000)
    assert (values["temperature"], values["power"]) == (55.0, 20.0)
    assert values["energy"] == pytest.approx(40.0)


def test_an_intel_gpu_counts_its_joules_itself(tree: Tree) -> None:
    card = "sys/class/drm/card0/"
    counter = f"{card}device/hwmon/hwmon0/energy1_input"
    root = tree({f"{card}device/vendor": "0x8086", counter: "5000000"})
    [gpu] = find_gpus(root)
    gpu.read(0.0)
    tree({counter: "8000000", f"{card}gt_act_freq_mhz": "1200"})
    readings = gpu.read(1.0)
    assert (readings["energy"].value, readings["energy"].provenance) == (3.0, "measured")
    assert readings["clock"].value == 1.2e9


def test_a_gpu_that_sleeps_is_not_woken(tree: Tree) -> None:
    root = tree({f"{AMD}device/vendor": "0x1002", f"{AMD}device/power/runtime_status": "suspended"})
    [gpu] = find_gpus(root)
    assert list(gpu.read(0.0)) == ["utilization"]
    assert "sleeps" in gpu.read(0.0)["utilization"].why


def test_a_jetson_is_a_cuda_device_with_the_machines_memory(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(
        {
            "python/numba_cuda/__init__.py": "",
            f"{JETSON}device/load": "730",
            f"{JETSON}cur_freq": "918000000",
            "proc/meminfo": "MemTotal:       8000 kB\nMemAvailable:   6000 kB",
            "proc/device-tree/model": "NVIDIA Jetson Orin NX\0",
            "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
            "sys/class/thermal/thermal_zone1/temp": "51000",
            f"{INA}name": "ina3221",
            f"{INA}in1_label": "VDD_GPU_SOC",
            f"{INA}in1_input": "5000",
            f"{INA}curr1_input": "2000",
        }
    )
    monkeypatch.syspath_prepend(root / "python")
    [gpu] = GpuProbe(DeviceSettings(), ("cpu", "cuda"), lambda: 0.0, root).read().devices
    assert (gpu.name, gpu.kind, gpu.slots, gpu.state) == ("gpu0", "cuda", 1, DeviceState.WARMING)
    assert gpu.model == "GPU of NVIDIA Jetson Orin NX"
    assert gpu.memory_bytes == 8000 * 1024
    values = {name: reading.value for name, reading in gpu.readings.items()}
    assert (values["utilization"], values["temperature"], values["power"]) == (0.73, 51.0, 10.0)
    assert gpu.readings["energy"].provenance == "estimated"


def test_descendants_are_ours_and_nobody_else(tree: Tree) -> None:
    root = tree(
        {
            "proc/30/stat": "30 (a) b) S 20 30 30",
            "proc/20/stat": "20 (nursery) S 10 20 20",
            "proc/40/stat": "40 (other) S 1 40 40",
            "proc/1/stat": "1 (init) S 0 1 1",
        }
    )
    assert [is_ours(pid, root, me=10) for pid in (10, 20, 30)] == [True, True, True]
    assert [is_ours(pid, root, me=10) for pid in (1, 40, 99)] == [False, False, False]
