import subprocess
import sys

import pytest

from qallow_agent.base.errors import BadParameter
from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.spec import Cost, KernelSpec, Output, Parameter

AXPY = KernelSpec(
    name="axpy",
    version=1,
    doc="a x + y",
    parameters=(
        Parameter("a", "f4", doc="The factor."),
        Parameter("x", "f8", shape=("n",), doc="A vector."),
        Parameter("y", "f8", shape=("n",), doc="Another."),
        Parameter("pair", "i4", shape=("m", 2), doc="Pairs."),
        Parameter("negate", "b1", default=False),
        Parameter("shift", "u1", default=0),
    ),
    outputs=(Output("out", "f8", ("n",)), Output("norm", "f8")),
    cost=lambda _values: Cost(ops=2.0, scratch_bytes=100),
)
SHAPES = {"x": (3,), "y": (3,), "pair": (4, 2)}


def test_defaults_fill_what_is_not_given() -> None:
    assert harmonic.SPEC.validate({"ticks": 5}) == {
        "pockets": 8,
        "ticks": 5,
        "coupling": 1e-3,
        "record_every": 0,
    }


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"pocket": 9}, "did you mean 'pockets'?"),
        ({"pockets": 1}, "at least 2"),
        ({"pockets": 1 << 25}, "at most"),
        ({"coupling": -0.1}, "at least 0"),
        ({"coupling": float("nan")}, "not finite"),
        ({"coupling": float("inf")}, "not finite"),
        ({"coupling": 10**400}, "does not fit f4"),
        ({"coupling": 1e39}, "does not fit f4"),
        ({"coupling": "0.1"}, "no number"),
        ({"coupling": True}, "no number"),
        ({"ticks": 0}, "at least 1"),
        ({"ticks": 1.5}, "no whole number"),
        ({"ticks": 2**70}, "does not fit i8"),
    ],
)
def test_a_bad_scalar_is_refused_with_its_name_and_a_way_out(
    values: dict[str, object], told: str
) -> None:
    with pytest.raises(BadParameter) as caught:
        harmonic.SPEC.validate(values)
    text = f"{caught.value.message} {caught.value.hint}"
    assert told in text
    assert "harmonic" in text
    assert next(iter(values)).rstrip("s") in text


def test_a_whole_float_serves_as_an_integer() -> None:
    assert harmonic.SPEC.validate({"ticks": 5.0})["ticks"] == 5


def test_both_ends_of_a_sweep_are_checked() -> None:
    with pytest.raises(BadParameter, match="too small"):
        harmonic.SPEC.validate({}, swept={"coupling": (-1.0, 0.5)})
    with pytest.raises(BadParameter, match="does not fit"):
        harmonic.SPEC.validate({}, swept={"coupling": (0.0, 1e39)})


def test_what_decides_the_length_of_a_run_cannot_be_swept() -> None:
    with pytest.raises(BadParameter, match="lockstep") as caught:
        harmonic.SPEC.validate({}, swept={"pockets": (2, 8)})
    assert "coupling" in caught.value.hint


def test_a_required_parameter_may_come_from_the_sweep() -> None:
    with pytest.raises(BadParameter, match="needs parameter 'a'"):
        AXPY.validate({}, shapes=SHAPES)
    assert AXPY.validate({}, swept={"a": (2.0, 3.0)}, shapes=SHAPES)["a"] == 2.0


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ({}, "is missing"),
        (SHAPES | {"y": (4,)}, "length 4 on axis n"),
        (SHAPES | {"y": (3, 1)}, "2 axes"),
        (SHAPES | {"pair": (4, 3)}, "length 3 on axis 2"),
        (SHAPES | {"a": (3,)}, "is a scalar"),
        (SHAPES | {"z": (3,)}, "no parameter 'z'"),
    ],
)
def test_a_wrong_shape_is_refused(shapes: dict[str, tuple[int, ...]], told: str) -> None:
    with pytest.raises(BadParameter, match=told):
        AXPY.validate({"a": 1.0}, shapes=shapes)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"x": 1.0}, "is an array"),
        ({"negate": 1}, "no boolean"),
        ({"shift": 256}, "does not fit u1"),
        ({"shift": -1}, "does not fit u1"),
    ],
)
def test_a_wrong_kind_of_value_is_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(BadParameter, match=told):
        AXPY.validate({"a": 1.0, **values}, shapes=SHAPES)


def test_demand_counts_arrays_once_and_columns_per_point() -> None:
    values = AXPY.validate({"a": 1.0}, shapes=SHAPES)
    demand = AXPY.demand(values, 10, shapes=SHAPES)
    assert demand.ops == 20.0
    assert demand.input_bytes == 10 * (4 + 1 + 1) + 2 * 3 * 8 + 4 * 2 * 4
    assert demand.output_bytes == 10 * (3 * 8 + 8)
    assert demand.memory_bytes == demand.input_bytes + 2 * demand.output_bytes + 100


def test_demand_of_a_trajectory_grows_with_its_records() -> None:
    short = elasticity.SPEC.demand(elasticity.SPEC.validate({"ticks": 1000}))
    full = elasticity.SPEC.demand(elasticity.SPEC.validate({"ticks": 1000, "record_every": 1}))
    assert full.output_bytes == 1000 * short.output_bytes
    assert full.ops == short.ops


def test_a_ring_too_large_for_any_device_says_so_in_its_demand() -> None:
    values = harmonic.SPEC.validate({"pockets": 1 << 24})
    assert harmonic.SPEC.demand(values, 1).memory_bytes > 1 << 28


def test_bounds_read_as_an_interval() -> None:
    assert harmonic.SPEC.parameter("coupling").bounds == "[0, inf]"
    assert elasticity.SPEC.parameter("eps").bounds == ""
    assert Parameter("a", "f4", le=1.0).bounds == "[-inf, 1]"


def test_specs_and_catalog_load_neither_numpy_nor_numba() -> None:
    code = (
        "import sys\n"
        "from qallow_agent.kernels.registry import load_catalog\n"
        "from qallow_agent.kernels import state, settings\n"
        "catalog = load_catalog()\n"
        "assert {'elasticity', 'harmonic'} <= set(catalog.names)\n"
        "for name in catalog.names:\n"
        "    spec = catalog.get(name).spec\n"
        "    values = spec.validate({})\n"
        "    spec.demand(values, 10), spec.warnings(values)\n"
        "assert catalog.adverts()\n"
        "print([name for name in ('numpy', 'numba') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.strip() == "[]"


def test_tolerances_name_only_the_outputs_that_have_one() -> None:
    spec = KernelSpec(
        "k", 1, "d", (), (Output("x", "f8"), Output("y", "f8", atol=1e-6, rtol=1e-3)),
        lambda _: Cost(1.0),
    )  # fmt: skip
    assert spec.tolerances() == {"y": (1e-6, 1e-3)}
