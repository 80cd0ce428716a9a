from pathlib import Path

import pytest

from qallow_agent.mesh.wire.kinds import DeviceState
from qallow_agent.runtime.cgroup import Limits, read_limits
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.devices import cpu_model, probe_cpu, threads_per_task, usable_cores


def test_the_cpu_is_always_a_device_that_waits_for_its_canary() -> None:
    cpu = probe_cpu(DeviceSettings())
    assert (cpu.name, cpu.kind, cpu.state, cpu.busy) == ("cpu0", "cpu", DeviceState.WARMING, 0)
    assert cpu.slots >= 1
    assert cpu.memory_bytes > 1 << 20
    assert cpu.model


def test_settings_overrule_what_was_found() -> None:
    cpu = probe_cpu(DeviceSettings(cpu_slots=77, cpu_memory_bytes=1 << 20))
    assert (cpu.slots, cpu.memory_bytes) == (77, 1 << 20)


def test_more_memory_than_there_is_is_not_offered() -> None:
    plain, greedy = probe_cpu(DeviceSettings()), probe_cpu(DeviceSettings(cpu_memory_bytes=1 << 60))
    assert plain.memory_bytes == greedy.memory_bytes


def test_a_task_gets_the_cores_that_the_slots_leave_over() -> None:
    cores = usable_cores(read_limits())
    assert threads_per_task(DeviceSettings()) == 1
    assert threads_per_task(DeviceSettings(cpu_slots=1)) == cores
    assert threads_per_task(DeviceSettings(cpu_slots=cores + 1)) == 1


@pytest.mark.parametrize(("cpus", "slots"), [(0.25, 1), (1.0, 1), (1.9, 1)])
def test_a_cpu_quota_limits_the_slots_but_leaves_one(cpus: float, slots: int) -> None:
    assert usable_cores(Limits(cpus=cpus)) == slots


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor\t: 0\nmodel name\t: Quick 9000\n", "Quick 9000"),
        ("processor\t: 0\nHardware\t: BCM2835\nModel\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
        ("Hardware\t: BCM2835\n", "BCM2835"),
    ],
)
def test_the_cpu_is_named_as_the_kernel_names_it(tmp_path: Path, text: str, model: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_model(tmp_path / "cpuinfo") == model


def test_a_cpu_without_a_name_is_called_by_its_architecture(tmp_path: Path) -> None:
    assert cpu_model(tmp_path / "missing")


def tree(tmp_path: Path, table: str, files: dict[str, str]) -> Limits:
    (tmp_path / "table").write_text(table)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_limits(tmp_path / "root", tmp_path / "table")


def test_the_tightest_limit_on_the_way_to_the_root_counts(tmp_path: Path) -> None:
    limits = tree(
        tmp_path,
        "0::/pods/one\n",
        {
            "pods/one/cpu.max": "max 100000\n",
            "pods/cpu.max": "150000 100000\n",
            "pods/one/memory.max": "4000\n",
            "pods/one/memory.current": "1000\n",
            "pods/memory.max": "9000\n",
            "pods/memory.current": "8000\n",
        },
    )
    assert limits == Limits(cpus=1.5, memory_bytes=4000, memory_used_bytes=1000)


def test_limits_of_version_one_are_found_beside_an_empty_version_two(tmp_path: Path) -> None:
    limits = tree(
        tmp_path,
        "4:memory:/box\n2:cpu,cpuacct:/box\n0::/\n",
        {
            "memory/box/memory.limit_in_bytes": "5000\n",
            "memory/box/memory.usage_in_bytes": "10\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/memory.usage_in_bytes": "99\n",
            "cpu,cpuacct/box/cpu.cfs_quota_us": "50000\n",
            "cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert limits == Limits(cpus=0.5, memory_bytes=5000, memory_used_bytes=10)


def test_a_container_that_sees_only_its_own_part_uses_the_mounts_root(tmp_path: Path) -> None:
    limits = tree(tmp_path, "0::/host/path/unseen\n", {"cpu.max": "200000 100000\n"})
    assert limits.cpus == 2.0


def test_no_cgroups_or_nonsense_in_them_mean_no_limits(tmp_path: Path) -> None:
    assert read_limits(tmp_path / "none", tmp_path / "no-table") == Limits()
    nonsense = {"cpu.max": "x y\n", "memory.max": "lots\n", "memory.current": "1\n"}
    assert tree(tmp_path, "0::/../../..\njunk\n", nonsense) == Limits()
