import numpy as np
import pytest

from qallow_agent.base.errors import BadParameter
from qallow_agent.client.arguments import collect
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.kernels.spec import Cost, KernelSpec, Output, Parameter

HARMONIC = load_catalog().get("harmonic").spec
WEIGH = KernelSpec(
    name="weigh",
    version=1,
    doc="Weighs.",
    parameters=(
        Parameter("data", "f4", shape=("n",)),
        Parameter("other", "f4", shape=("n",)),
        Parameter("careful", "b1", default=False),
    ),
    outputs=(Output("value", "f4"),),
    cost=lambda _: Cost(ops=1.0),
)


def test_defaults_of_a_known_kernel_are_filled_in() -> None:
    given = collect(HARMONIC, {"pockets": 32})
    assert given.scalars["pockets"] == 32
    assert given.scalars["ticks"] == 400
    assert (given.heads, given.buffers, given.input_bytes, given.shapes) == ((), (), 0, {})


@pytest.mark.parametrize("pockets", [np.int64(32), np.float32(32), np.array(32), 32.0])
def test_numbers_of_numpy_travel_as_plain_numbers(pockets: object) -> None:
    value = collect(HARMONIC, {"pockets": pockets}).scalars["pockets"]
    assert (type(value), value) == (int, 32)


def test_a_misspelt_parameter_is_named_with_the_closest() -> None:
    with pytest.raises(BadParameter, match="pockts") as caught:
        collect(HARMONIC, {"pockts": 1})
    assert "pockets" in caught.value.hint


def test_a_swept_parameter_is_not_among_the_shared_scalars() -> None:
    given = collect(HARMONIC, {"pockets": 4}, {"coupling": (0.001, 0.002)})
    assert "coupling" not in given.scalars


def test_arrays_are_cast_to_the_declared_dtype_and_described() -> None:
    data = [1.0, 2.0, 3.0]
    given = collect(WEIGH, {"data": data, "other": np.arange(3), "careful": np.bool_(True)})
    assert [(head.name, head.dtype, head.shape) for head in given.heads] == [
        ("data", "f4", (3,)),
        ("other", "f4", (3,)),
    ]
    assert given.buffers[0].tolist() == data
    assert (given.input_bytes, given.scalars) == (24, {"careful": True})


def test_a_fitting_array_is_not_copied() -> None:
    data = np.ones(4, dtype="<f4")
    assert np.shares_memory(collect(WEIGH, {"data": data, "other": data}).buffers[0], data)


def test_strided_and_big_endian_arrays_are_straightened() -> None:
    data = np.arange(8, dtype=">f4")[::2]
    sent = collect(WEIGH, {"data": data, "other": data}).buffers[0]
    assert sent.flags.c_contiguous
    assert sent.dtype == np.dtype("<f4")
    assert sent.tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("data", [["a", "b"], [object()], [1j, 2j], [[1], [1, 2]]])
def test_what_is_no_array_of_numbers_is_refused_by_name(data: object) -> None:
    with pytest.raises(BadParameter, match="data"):
        collect(WEIGH, {"data": data, "other": [1.0, 2.0]})


def test_arrays_that_disagree_about_an_axis_are_refused() -> None:
    with pytest.raises(BadParameter):
        collect(WEIGH, {"data": [1.0], "other": [1.0, 2.0]})


def test_parameters_of_an_unknown_kernel_are_sorted_by_what_they_are() -> None:
    given = collect(None, {"n": 3, "flag": np.bool_(True), "text": "x", "data": [1, 2]})
    assert given.scalars == {"n": 3, "flag": True, "text": "x"}
    assert [(head.name, head.shape) for head in given.heads] == [("data", (2,))]


@pytest.mark.parametrize("value", [object(), {"a": 1}, 1j, lambda: 1])
def test_what_cannot_be_sent_is_refused_by_name(value: object) -> None:
    with pytest.raises(BadParameter, match="odd"):
        collect(None, {"odd": value})


def test_a_mistyped_option_is_recognised() -> None:
    spec = load_catalog().get("harmonic").spec
    with pytest.raises(BadParameter, match="no parameter 'deadlin'") as caught:
        collect(spec, {"deadlin": "2s"})
    assert caught.value.hint == "did you mean the option 'deadline'?"
    with pytest.raises(BadParameter) as caught:
        collect(spec, {"pocket": 3})
    assert caught.value.hint == "did you mean 'pockets'?"
