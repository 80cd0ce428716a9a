"""Settings of the devices this node offers."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """What of this machine the mesh may use."""

    cpu_slots: int = setting(
        0,
        "Tasks that run on the CPU at a time; 0 means the physical cores this process may use "
        "(affinity and cgroup quota counted).",
        ge=0,
        le=4096,
    )
    cpu_memory_bytes: int = setting(
        0, "Memory offered with the CPU; 0 means all of the machine's or the cgroup's.", unit="B",
        ge=0,
    )  # fmt: skip
    gpu: str = setting(
        "auto",
        "Whether NVIDIA GPUs are looked for: 'off' never loads the driver's library.",
        choices=("auto", "off"),
    )
    plugins: tuple[str, ...] = setting(
        (),
        "Extra device plug-ins as module:ATTRIBUTE, for those that no installed package announces.",
    )
    reprobe_s: float = setting(
        30.0,
        "How often a missing or failed GPU library is tried again.",
        unit="s",
        ge=1.0,
        le=3600.0,
    )
    hot_c: float = setting(
        0.0,
        "Temperature from which a device counts as hot; 0 means where its maker slows it down.",
        unit="C",
        ge=0.0,
        le=150.0,
    )
    power_cap_w: float = setting(
        0.0,
        "Watts that a device may draw before it is closed to new work; 0 means its maker's limit.",
        unit="W",
        ge=0.0,
        le=100_000.0,
    )
    sample_s: float = setting(
        1.0, "How often host and devices are read.", unit="s", ge=0.1, le=60.0
    )
