import sys
from pathlib import Path
from typing import Any

import pytest

import qallow_agent.runtime.plugins as module
from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.plugin import DevicePlugin, PluginDevice
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.mesh.wire.kinds import DeviceState
from qallow_agent.runtime.guests import GuestProbe
from qallow_agent.runtime.plugins import Plugin, attach, load_plugins
from qallow_agent.testing.fpga import PLUGIN as FPGA

FOLDER = Path(__file__).parents[2] / "plugins"
HERE = "devices_that_misbehave:"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


def tame(*devices: object, joules: float | None = None) -> Any:
    from devices_that_misbehave import Tame  # noqa: PLC0415 - importable by then

    return Tame("asic", *devices, joules=joules)


def plugin(device: Any) -> Plugin:
    return Plugin(device, "asic", ("elasticity",), "x:Y", "test")


def test_a_plug_in_is_loaded_with_its_kind_and_kernels() -> None:
    found = load_plugins([HERE + "TAME"])
    assert found.hosts == {"asic": ("elasticity",)}
    assert found.values == {"asic": HERE + "TAME"}
    assert found.complaints == ()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_module:X", "ModuleNotFoundError"),
        ("not a reference", "'not a reference' is not of the form module:ATTRIBUTE"),
        (HERE + "MISSING", "AttributeError"),
        (HERE + "NOTHING", "a object lacks some of what a device plug-in has"),
        (HERE + "GRABBING", "its kind 'cpu' is taken"),
        (HERE + "SHOUTING", "its kind 'FPGA' is taken, or is no short lower-case word"),
    ],
)
def test_a_broken_plug_in_is_skipped_and_the_others_are_kept(value: str, why: str) -> None:
    found = load_plugins([value, HERE + "TAME"])
    assert list(found.by_kind) == ["asic"]
    [complaint] = found.complaints
    assert why in complaint.why
    assert value in complaint.why
    assert "devices.plugins" in complaint.fix


def test_of_two_plug_ins_for_one_kind_the_first_is_kept() -> None:
    found = load_plugins([HERE + "TAME", HERE + "RIVAL"])
    assert found.values == {"asic": HERE + "TAME"}
    assert "another plug-in for the kind 'asic'" in found.complaints[0].why


def test_a_plug_in_that_hangs_at_import_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IMPORT_S", 0.05)
    found = load_plugins(["hangs_at_import:X", HERE + "TAME"])
    assert list(found.by_kind) == ["asic"]
    assert "did not import within 0.05 s" in found.complaints[0].why
    sys.modules.pop("hangs_at_import", None)


def test_the_kernels_of_a_plug_in_are_offered_on_its_kind_too() -> None:
    catalog = load_catalog()
    with_fpga = type(catalog)(catalog.entries, hosts={"fpga": ("harmonic", "unheard-of")})
    kinds = {offer.name: offer.backends for offer in with_fpga.adverts()}
    assert kinds["harmonic"][-1] == "fpga"
    assert "fpga" not in kinds["elasticity"]


def test_a_runner_attaches_to_exactly_its_device() -> None:
    attachment = attach(HERE + "TAME", "asic", "asic0")
    assert attachment.canary() == ""
    outputs = attachment.backend("elasticity")(points=3, strain=7)
    assert outputs == {"device": "asic0", "kernel": "elasticity", "points": 3, "strain": 7}


@pytest.mark.parametrize(("value", "kind"), [("nothing:X", "asic"), (HERE + "TAME", "fpga")])
def test_a_runner_without_its_plug_in_says_why(value: str, kind: str) -> None:
    with pytest.raises(DeviceLost, match="does not load"):
        attach(value, kind, "x0")


# --- what the sensors see of it -----------------------------------------------------------------


def test_devices_of_a_plug_in_wait_for_their_canary_like_any_other() -> None:
    device = tame(PluginDevice("asic7", "Chip", 3, 1 << 20), joules=100.0)
    probe = GuestProbe(plugin(device), lambda: 0.0)
    probe.read()
    device.joules = 130.0
    [found] = probe.read().devices
    assert (found.name, found.kind, found.model) == ("asic7", "asic", "Chip")
    assert (found.slots, found.memory_bytes, found.simulated) == (3, 1 << 20, False)
    assert found.state is DeviceState.WARMING
    energy = found.readings["energy"]
    assert (energy.value, energy.provenance) == (30.0, "measured")


def test_joules_of_a_simulated_device_are_no_measurement() -> None:
    device = tame(PluginDevice("asic0", "Toy", simulated=True), joules=1.0)
    [found] = GuestProbe(plugin(device), lambda: 0.0).read().devices
    assert found.simulated
    assert found.readings["energy"].provenance == "estimated"


def test_a_plug_in_that_counts_no_joules_says_so() -> None:
    [found] = GuestProbe(plugin(tame()), lambda: 0.0).read().devices
    assert found.readings["energy"].provenance == "unknown"


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("asic0", "probe() returned a str"),
        (PluginDevice("gpu0", "x"), "the name 'gpu0' does not begin with 'asic'"),
        (PluginDevice("asic/../0", "x"), "no short word"),
        (PluginDevice("asic0", "x", slots=-1), "no whole number"),
        (PluginDevice("asic0", "x", memory_bytes=1.5), "no whole number"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_from_a_plug_in_becomes_a_complaint(device: object, why: str) -> None:
    muster = GuestProbe(plugin(tame(device)), lambda: 0.0).read()
    assert muster.devices == ()
    assert why in muster.complaints[0].why


def test_a_plug_in_that_raises_loses_its_devices_and_is_asked_again() -> None:
    device = tame()
    probe = GuestProbe(plugin(device), lambda: 0.0)
    device.wrong = "the cable is out"
    assert "RuntimeError: the cable is out" in probe.read().complaints[0].why
    device.wrong = ""
    assert len(probe.read().devices) == 1


def test_the_simulated_fpga_is_a_plug_in_that_never_passes_for_hardware() -> None:
    assert isinstance(FPGA, DevicePlugin)
    assert [device.simulated for device in FPGA.probe()] == [True]
