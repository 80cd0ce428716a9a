from collections.abc import Callable
from pathlib import Path

from qallow_agent.runtime.sensing.host import CpuHeat
from qallow_agent.runtime.sensing.thermal import cpu_thermometer, zone_thermometer

Tree = Callable[[dict[str, str]], Path]

ZONE = "sys/class/thermal/thermal_zone"
CHIP = "sys/class/hwmon/hwmon"


def zone(number: int, name: str, heat: str, **trips: str) -> dict[str, str]:
    files = {f"{ZONE}{number}/type": name, f"{ZONE}{number}/temp": heat}
    for index, (kind, at) in enumerate(trips.items()):
        files[f"{ZONE}{number}/trip_point_{index}_type"] = kind
        files[f"{ZONE}{number}/trip_point_{index}_temp"] = at
    return files


def test_a_cpu_on_a_board_is_read_from_its_thermal_zone_with_its_trip_points(tree: Tree) -> None:
    files = zone(0, "GPU-therm", "40000") | zone(
        1, "CPU-therm", "61500", passive="84500", critical="99500"
    )
    readings = CpuHeat(tree(files)).read(0.0)
    assert {name: each.value for name, each in readings.items()} == {
        "temperature": 61.5,
        "temperature_limit": 84.5,
        "temperature_shutdown": 99.5,
    }
    assert readings["temperature"].source == "thermal:cpu-therm"


def test_a_zone_that_only_names_its_end_is_hot_a_little_before_and_says_so(tree: Tree) -> None:
    thermometer = zone_thermometer(
        ("cpu",), tree(zone(0, "cpu-thermal", "50000", critical="110000"))
    )
    assert thermometer is not None
    assert (thermometer.limit.value, thermometer.limit.provenance) == (100.0, "estimated")
    assert "critical trip point" in thermometer.limit.why


def test_trip_points_that_firmware_does_not_use_are_no_limits(tree: Tree) -> None:
    files = zone(0, "x86_pkg_temp", "50000", passive="0", hot="-274000", critical="255000")
    thermometer = zone_thermometer(("x86",), tree(files))
    assert thermometer is not None
    assert thermometer.limit.value is None
    assert thermometer.shutdown.value is None


def test_an_intel_cpu_is_read_at_its_package_and_slows_down_at_its_critical(tree: Tree) -> None:
    files = {
        f"{CHIP}0/name": "nvme",
        f"{CHIP}0/temp1_input": "90000",
        f"{CHIP}1/name": "coretemp",
        f"{CHIP}1/temp1_label": "Package id 0",
        f"{CHIP}1/temp1_input": "70000",
        f"{CHIP}1/temp1_crit": "100000",
        f"{CHIP}1/temp2_label": "Core 0",
        f"{CHIP}1/temp2_input": "75000",
    }
    thermometer = cpu_thermometer(tree(files))
    assert thermometer is not None
    readings = thermometer.read()
    assert readings["temperature"].value == 70.0
    assert readings["temperature_limit"].value == 100.0
    assert readings["temperature_shutdown"].provenance == "unknown"


def test_an_amd_cpu_takes_its_limits_from_its_thermal_zone_or_has_none(tree: Tree) -> None:
    chip = {f"{CHIP}0/name": "k10temp", f"{CHIP}0/temp1_input": "60000"}
    alone = cpu_thermometer(tree(chip))
    assert alone is not None
    assert alone.limit.provenance == "unknown"
    together = cpu_thermometer(tree(zone(0, "acpitz", "30000", hot="95000")))
    assert together is not None
    assert (together.read()["temperature"].value, together.limit.value) == (60.0, 95.0)


def test_a_machine_without_thermometers_says_so_and_is_looked_at_again(tree: Tree) -> None:
    root = tree({"sys/readme": ""})
    heat = CpuHeat(root)
    assert "no temperature sensor" in heat.read(0.0)["temperature"].why
    tree(zone(0, "cpu", "50000"))
    assert heat.read(5.0)["temperature"].value is None
    assert heat.read(10.0)["temperature"].value == 50.0
