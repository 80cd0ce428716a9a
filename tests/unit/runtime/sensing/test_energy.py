from collections.abc import Callable
from pathlib import Path

import pytest

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.runtime.sensing.battery import Battery
from qallow_agent.runtime.sensing.energy import (
    LONGEST_STEP_S,
    BoardEnergy,
    FirstMeter,
    Paced,
    PowerIntegral,
)
from qallow_agent.runtime.sensing.host import cpu_meter
from qallow_agent.runtime.sensing.rails import RailMeter, Rails
from qallow_agent.runtime.sensing.rapl import Rapl

Tree = Callable[[dict[str, str]], Path]

RAPL = "sys/class/powercap/intel-rapl:"
PACK = "sys/class/power_supply/BAT0/"
INA = "sys/class/hwmon/hwmon3/"


def watts(value: float) -> Reading:
    return Reading(value, "watts", "test")


def test_constant_power_adds_up_to_power_times_time() -> None:
    integral = PowerIntegral("power of gpu0")
    readings = [integral.add(watts(20.0), float(second), "nvml") for second in range(61)]
    assert readings[0].value == 0
    assert readings[-1].value == pytest.approx(1200.0)
    assert readings[-1].provenance == "estimated"
    assert "power of gpu0" in readings[-1].why


def test_a_hole_between_samples_is_not_counted_and_is_told() -> None:
    integral = PowerIntegral("power")
    integral.add(watts(10.0), 0.0, "x")
    integral.add(watts(10.0), 1.0, "x")
    after = integral.add(watts(10.0), 2.0 + LONGEST_STEP_S, "x")
    assert after.value == pytest.approx(10.0)
    assert "1 gaps" in after.why


def test_a_board_that_counts_is_measured_and_one_that_does_not_is_added_up() -> None:
    counting, plain = BoardEnergy("gpu0"), BoardEnergy("gpu1")
    none = unknown("joules", "nvml", "Not Supported")
    for second in range(3):
        now_s = float(second)
        counted = counting.read(Reading(100.0 + second, "joules", "nvml"), watts(5.0), now_s)
        added = plain.read(none, watts(5.0), now_s)
    assert (counted.value, counted.provenance) == (2.0, "measured")
    assert (added.value, added.provenance) == (10.0, "estimated")
    assert counting.read(none, watts(5.0), 4.0) == none
    assert plain.read(none, unknown("watts", "nvml", "Not Supported"), 5.0) == none


# --- where the CPU's joules come from ---------------------------------------------------------


def test_rapl_adds_the_packages_of_all_sockets_and_nothing_else(tree: Tree) -> None:
    files = {}
    for zone, name in (("0", "package-0"), ("1", "package-1"), ("0:0", "core"), ("2", "psys")):
        files[f"{RAPL}{zone}/name"] = name
        files[f"{RAPL}{zone}/energy_uj"] = "5000000"
        files[f"{RAPL}{zone}/max_energy_range_uj"] = "10000000"
    meter = Rapl(tree(files))
    assert meter.read(0.0) == Reading(0.0, "joules", "rapl")
    tree({f"{RAPL}0/energy_uj": "7000000", f"{RAPL}1/energy_uj": "1000000"})
    assert meter.read(1.0).value == pytest.approx(2.0 + 6.0)


def test_rapl_that_only_root_may_read_is_unknown_and_says_so(
    tree: Tree, forbid: Callable[[str], None]
) -> None:
    root = tree({f"{RAPL}0/name": "package-0", f"{RAPL}0/energy_uj": "1"})
    forbid("energy_uj")
    reading = Rapl(root).read(0.0)
    assert reading.value is None
    assert "CVE-2020-8694" in reading.why


def test_a_jetson_adds_up_the_rail_of_its_cpu(tree: Tree) -> None:
    root = tree(
        {
            f"{INA}name": "ina3221",
            f"{INA}in1_label": "VDD_IN",
            f"{INA}in2_label": "VDD_CPU_CV",
            f"{INA}in2_input": "5000",
            f"{INA}curr2_input": "400",
            f"{INA}in3_label": "VDD_GPU_SOC",
        }
    )
    meter = cpu_meter(root)
    assert meter.read(0.0).value == 0
    reading = meter.read(1.0)
    assert reading.value == pytest.approx(2.0)
    assert (reading.provenance, reading.source) == ("estimated", "ina3221:VDD_CPU_CV")


def test_a_rail_that_feeds_the_cpu_too_says_nothing_about_the_gpu(tree: Tree) -> None:
    root = tree({f"{INA}name": "ina3221", f"{INA}in2_label": "VDD_CPU_GPU_CV"})
    power = RailMeter(Rails(root), ("GPU",), shared=("CPU",)).power()
    assert power.value is None
    assert "shares the rail VDD_CPU_GPU_CV" in power.why


def test_a_laptop_without_rapl_counts_what_its_battery_gives(tree: Tree) -> None:
    root = tree(
        {
            f"{PACK}type": "Battery",
            f"{PACK}status": "Discharging",
            f"{PACK}capacity": "80",
            f"{PACK}voltage_now": "10000000",
            f"{PACK}current_now": "1500000",
            "sys/class/power_supply/mouse/type": "Battery",
            "sys/class/power_supply/mouse/scope": "Device",
            "sys/class/power_supply/mouse/capacity": "3",
        }
    )
    battery = Battery(root)
    assert battery.charge() == Reading(0.8, "ratio", "power_supply (discharging)")
    assert battery.power().value == pytest.approx(15.0)
    meter = cpu_meter(root)
    readings = [meter.read(float(second)) for second in range(6)]
    assert readings[-1].value == pytest.approx(75.0)
    assert "whole machine" in readings[-1].why


def test_on_mains_the_battery_counts_nothing(tree: Tree) -> None:
    root = tree({f"{PACK}type": "Battery", f"{PACK}status": "Charging", f"{PACK}capacity": "50"})
    assert Battery(root).power().value is None
    assert Battery(root).charge().source == "power_supply (on mains)"


def test_a_machine_without_any_meter_says_what_was_looked_for(tmp_path: Path) -> None:
    reading = cpu_meter(tmp_path).read(0.0)
    assert reading.value is None
    for word in ("RAPL", "rail", "battery"):
        assert word in reading.why


class Script:
    """A meter that says what it is told to, and counts how often it is asked."""

    def __init__(self, *values: float | None) -> None:
        self.values = list(values)
        self.asked = 0

    def read(self, now_s: float) -> Reading:
        self.asked += 1
        value = self.values.pop(0)
        if value is None:
            return unknown("joules", "script", f"nothing at {now_s:g}")
        return Reading(value, "joules", "script")


def test_the_chosen_meter_stays_chosen_so_that_joules_never_jump() -> None:
    first, second = Script(None, 7.0), Script(5.0, None, 6.0)
    meter = FirstMeter((first, second))
    assert [meter.read(float(now)).value for now in range(3)] == [5.0, None, 6.0]
    assert first.asked == 1


def test_a_machine_without_a_meter_is_looked_at_rarely() -> None:
    script = Script(None, 3.0)
    meter = FirstMeter((script,), retry_s=30.0)
    assert [meter.read(now).value for now in (0.0, 1.0, 29.0, 30.0)] == [None, None, None, 3.0]


def test_a_slow_meter_is_read_rarely() -> None:
    script = Script(1.0, 2.0)
    meter = Paced(script, period_s=5.0)
    assert [meter.read(now).value for now in (0.0, 4.9, 5.0, 6.0)] == [1.0, 1.0, 2.0, 2.0]
