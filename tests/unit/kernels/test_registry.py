from pathlib import Path

import pytest

from qallow_agent.base.errors import KernelFailed, UnknownKernel
from qallow_agent.kernels import harmonic
from qallow_agent.kernels.backends import backend_for, device_kinds, load_backend
from qallow_agent.kernels.registry import kernel_hash, load_catalog

PLUGIN = """
from qallow_agent.kernels.spec import Canary, Cost, Kernel, KernelSpec, Output, Parameter

def cost(values):
    return Cost(ops=1.0)

KERNEL = Kernel(
    spec=KernelSpec(
        name="{name}", version=1, doc="Doubles.",
        parameters=(Parameter("x", "f8", 1.0),), outputs=(Output("y", "{dtype}"),), cost=cost,
    ),
    backends={backends},
    canary=Canary(scalars={{}}, columns={{"x": (1.0,)}}, answers={{"y": (2.0,)}}),
    module=__name__,
)

def run(*, points, x):
    return {{"y": x * {factor}}}
"""


def write(
    folder: Path,
    module: str,
    name: str = "double",
    dtype: str = "f8",
    factor: str = "2",
    backends: str | None = None,
) -> str:
    kinds = backends or f'{{"reference": "{module}:run"}}'
    text = PLUGIN.format(name=name, dtype=dtype, factor=factor, backends=kinds)
    (folder / f"{module}.py").write_text(text)
    return f"{module}:KERNEL"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_built_in_kernels_come_from_entry_points() -> None:
    catalog = load_catalog()
    assert catalog.troubles == ()
    assert catalog.entry("harmonic").kernel is harmonic.KERNEL
    assert catalog.entry("harmonic").origin == "qallow-agent"


def test_an_unknown_kernel_is_named_with_the_closest() -> None:
    with pytest.raises(UnknownKernel, match="'harmonics'") as caught:
        load_catalog().get("harmonics")
    assert caught.value.hint == "did you mean 'harmonic'?"


def test_adverts_tell_hash_and_device_kinds() -> None:
    offers = {offer.name: offer for offer in load_catalog().adverts()}
    assert offers["elasticity"].backends == ("cpu", "cuda")
    assert len(offers["elasticity"].hash) == 64
    assert offers["elasticity"].hash != offers["harmonic"].hash


def test_a_kernel_named_in_the_settings_is_offered(plugins: Path) -> None:
    catalog = load_catalog([write(plugins, "plug_double")])
    assert catalog.entry("double").origin == "settings"


def test_a_disabled_kernel_is_not_offered() -> None:
    assert "harmonic" not in load_catalog(disabled=["harmonic"]).names


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("raise ValueError('broken at import')", "ValueError: broken at import"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("def KERNEL(: pass", "SyntaxError"),
        ("KERNEL = 5", "it is a int, not a Kernel"),
        ("OTHER = 5", "AttributeError"),
    ],
)
def test_a_broken_plug_in_is_reported_and_skipped(plugins: Path, content: str, why: str) -> None:
    module = f"plug_broken_{abs(hash(content))}"
    (plugins / f"{module}.py").write_text(content)
    catalog = load_catalog([f"{module}:KERNEL"])
    assert "harmonic" in catalog.names
    (trouble,) = catalog.troubles
    assert trouble.event == "kernels.skipped"
    assert why in str(trouble.facts["why"])


def test_a_setting_that_names_no_attribute_is_reported() -> None:
    (trouble,) = load_catalog(["not a reference"]).troubles
    assert trouble.facts["kernel"] == "not a reference"
    assert "is not of the form module:ATTRIBUTE" in str(trouble.facts["why"])


@pytest.mark.parametrize(
    ("name", "dtype", "backends", "why"),
    [
        ("harmonic", "f8", None, "the name 'harmonic' is taken"),
        ("double", "O", None, "dtype 'O'"),
        ("double", "f8", "{}", "no backend"),
        ("double", "f8", "{'reference': 'no_such_module:run'}", "no source"),
    ],
)
def test_a_nonsensical_declaration_is_reported_and_skipped(
    plugins: Path, name: str, dtype: str, backends: str | None, why: str
) -> None:
    reference = write(plugins, f"plug_bad_{abs(hash(why))}", name, dtype, backends=backends)
    catalog = load_catalog([reference])
    (trouble,) = catalog.troubles
    assert why in str(trouble.facts["why"])
    assert catalog.entry("harmonic").kernel is harmonic.KERNEL


def test_two_outputs_of_one_name_are_nonsense(plugins: Path) -> None:
    reference = write(plugins, "plug_twice")
    path = plugins / "plug_twice.py"
    text = path.read_text()
    path.write_text(text.replace('Output("y", "f8"),', 'Output("y", "f8"), Output("y", "f8"),'))
    (trouble,) = load_catalog([reference]).troubles
    assert "two outputs share a name" in str(trouble.facts["why"])


def test_the_hash_follows_the_source(plugins: Path) -> None:
    first = load_catalog([write(plugins, "plug_one", factor="2")]).entry("double").hash
    same = load_catalog(["plug_one:KERNEL"]).entry("double").hash
    other = load_catalog([write(plugins, "plug_two", factor="3")]).entry("double").hash
    assert first == same
    assert first != other


def test_the_hash_covers_every_module_that_decides_results() -> None:
    kernel = harmonic.KERNEL
    assert {
        "qallow_agent.kernels.board",
        "qallow_agent.kernels.harmonic.cuda_large",
        "qallow_agent.kernels.harmonic.cuda_small",
        "qallow_agent.kernels.harmonic.cuda_steps",
        "qallow_agent.kernels.harmonic.lanes",
        "qallow_agent.kernels.harmonic.outputs",
        "qallow_agent.kernels.harmonic.ring",
        "qallow_agent.kernels.harmonic.stability",
    } <= set(kernel.sources)
    assert len(kernel_hash(kernel)) == 64


def test_a_device_gets_its_best_backend() -> None:
    assert backend_for(harmonic.KERNEL, "cpu") == "cpu"
    assert backend_for(harmonic.KERNEL, "cuda") == "cuda"
    assert device_kinds(harmonic.KERNEL) == ("cpu", "cuda")
    with pytest.raises(KernelFailed, match="'fpga'") as caught:
        backend_for(harmonic.KERNEL, "fpga")
    assert "it runs on: cpu, cuda" in caught.value.hint


def test_a_backend_that_does_not_load_fails_its_tasks_only(plugins: Path) -> None:
    reference = write(plugins, "plug_lazy", backends='{"cpu": "plug_lazy:missing"}')
    kernel = load_catalog([reference]).get("double")
    with pytest.raises(KernelFailed, match="does not load"):
        load_backend(kernel, "cpu")
    with pytest.raises(KernelFailed, match="no backend 'reference'"):
        load_backend(kernel, "reference")
