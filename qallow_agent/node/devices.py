"""Devices between sensors, bench and people: what each is told, and what is wrong with the fix."""

from collections.abc import Iterable

from qallow_agent.base.complaint import NOTHING, Complaint
from qallow_agent.jobs.heat import Warmth
from qallow_agent.jobs.model import BenchDevice
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.kinds import HEAT_THROTTLES, DeviceAdvert, DeviceState


def bench_devices(sensed: Sensed) -> tuple[BenchDevice, ...]:
    """Return the sensed devices as the bench wants to know them."""
    return tuple(_bench_device(device, sensed) for device in sensed.devices)


def complaints(sensed: Sensed | None, devices: Iterable[DeviceAdvert]) -> list[Complaint]:
    """Return what is wrong with this node's devices, each with its fix.

    A device that is only shown (no slots) is nobody's problem.

    Args:
        sensed: What the sensors said last.
        devices: This node's devices as they are told to others.
    """
    found: list[Complaint] = []
    for device in devices:
        if not device.slots or device.state is DeviceState.WARMING:
            continue
        if device.state is not DeviceState.OK:
            what = f"device {device.name} is {device.state}: {device.why}"
            found.append(Complaint(what, device.fix))
        elif device.why:
            found.append(Complaint(f"device {device.name}: {device.why}", device.fix))
    return found + list(sensed.complaints if sensed is not None else ())


def _bench_device(device: DeviceAdvert, sensed: Sensed) -> BenchDevice:
    faults = sensed.faults.get(device.name)
    return BenchDevice(
        name=device.name,
        kind=device.kind,
        slots=device.slots,
        memory_bytes=device.memory_bytes,
        usable=device.state not in {DeviceState.LOST, DeviceState.QUARANTINED},
        lost=device.state is DeviceState.LOST,
        why=device.why,
        fix=device.fix,
        faults=0 if faults is None else faults.count,
        fault=NOTHING if faults is None else faults.newest,
        warmth=Warmth(
            _value(device, "temperature"),
            _value(device, "temperature_limit"),
            slowed=any(reason in HEAT_THROTTLES for reason in device.throttle),
        ),
    )


def _value(device: DeviceAdvert, name: str) -> float | None:
    reading = device.readings.get(name)
    return None if reading is None else reading.value
