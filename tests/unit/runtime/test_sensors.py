import math

from qallow_agent.base.machine import Instant
from qallow_agent.kernels.registry import Catalog
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.runtime.cgroup import Limits
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.sensing.host import HostSensors
from qallow_agent.runtime.sensors import SensorSource

NAMES = [
    "agent_memory",
    "battery",
    "battery_power",
    "cpu",
    "load",
    "memory_available",
    "memory_total",
    "pressure_cpu",
    "pressure_io",
    "pressure_memory",
    "temperature",
]


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_every_reading_is_there_each_with_a_value_or_the_reason_for_none() -> None:
    readings = HostSensors().read()
    assert sorted(readings) == NAMES
    for reading in readings.values():
        if reading.value is None:
            assert reading.provenance == "unknown"
            assert reading.why
        else:
            assert math.isfinite(reading.value)
            assert reading.source


def test_the_cpu_ratio_needs_two_samples() -> None:
    clock = Hand()
    sensors = HostSensors(clock)
    assert sensors.read()["cpu"].value is None
    assert sum(i * i for i in range(1_000_000)) > 0
    clock.now_s = 1.0
    ratio = sensors.read()["cpu"]
    assert ratio.value is None or 0 <= ratio.value <= 1


def test_a_cgroup_limit_is_the_memory_there_is() -> None:
    sensors = HostSensors(Hand(), lambda: Limits(memory_bytes=1 << 20, memory_used_bytes=1 << 19))
    readings = sensors.read()
    assert readings["memory_total"].value == 1 << 20
    assert readings["memory_available"].value == 1 << 19
    assert readings["memory_total"].source == "cgroup"


def test_a_cgroup_limit_above_the_machines_memory_is_none() -> None:
    readings = HostSensors(Hand(), lambda: Limits(memory_bytes=1 << 59)).read()
    assert readings["memory_total"].source == "psutil.virtual_memory"


def test_slow_sensors_are_read_rarely() -> None:
    clock, asked = Hand(), []

    def limits() -> Limits:
        asked.append(clock.now_s)
        return Limits()

    sensors = HostSensors(clock, limits)
    for second in range(25):
        clock.now_s = float(second)
        sensors.read()
    assert asked == [0.0, 10.0, 20.0]


def test_the_source_tells_host_and_devices_once_a_period() -> None:
    source = SensorSource(DeviceSettings(gpu="off", sample_s=2.0), Catalog({}))
    [first] = source.poll(Instant(100.0, 0))
    assert isinstance(first, Sensed)
    assert [device.name for device in first.devices] == ["cpu0"]
    assert sorted(first.readings) == NAMES
    assert source.poll(Instant(101.9, 0)) == []
    assert source.next_deadline() == 102.0
    assert len(source.poll(Instant(102.0, 0))) == 1
    source.close()


def test_what_an_owner_caps_is_read_beside_what_makers_allow() -> None:
    settings = DeviceSettings(gpu="off", power_cap_w=45.0)
    (sensed,) = SensorSource(settings, Catalog({})).poll(Instant(0.0, 0))
    assert isinstance(sensed, Sensed)
    cap = sensed.devices[0].readings["power_cap"]
    assert (cap.value, cap.unit) == (45.0, "watts")


def test_a_sample_tells_what_others_feel_and_when_it_was_read() -> None:
    (sensed,) = SensorSource(DeviceSettings(gpu="off"), Catalog({})).poll(Instant(5.0, 0))
    assert isinstance(sensed, Sensed)
    assert sensed.surroundings["lateness"].at_s == 5.0
    assert sensed.surroundings["lateness"].reading.value is None
