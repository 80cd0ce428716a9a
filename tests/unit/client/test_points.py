import numpy as np
import pytest

from qallow_agent.base.errors import BadParameter, UsageError
from qallow_agent.client.points import lay_out
from qallow_agent.kernels.registry import load_catalog

CATALOG = load_catalog()
HARMONIC = CATALOG.get("harmonic").spec
ELASTICITY = CATALOG.get("elasticity").spec


def test_a_grid_is_every_combination_with_the_last_axis_fastest() -> None:
    points = lay_out(None, {"a": [1, 2], "b": [10.0, 20.0, 30.0]}, {"c": 5})
    assert points is not None
    heads, (a, b) = points.columns(1, 4)
    assert points.count == 6
    assert [(head.name, head.dtype, head.shape) for head in heads] == [
        ("a", "i8", (4,)),
        ("b", "f8", (4,)),
    ]
    assert (a.tolist(), b.tolist()) == ([1, 1, 2, 2], [20.0, 30.0, 10.0, 20.0])


def test_rows_go_side_by_side() -> None:
    points = lay_out(None, iter([{"a": 1, "b": 2}, {"b": 4, "a": 3}]), {})
    assert points is not None
    assert [column.tolist() for column in points.columns(0, 2)[1]] == [[1, 3], [2, 4]]


def test_the_sample_is_a_whole_point_and_the_extremes_those_of_the_axes() -> None:
    points = lay_out(HARMONIC, {"coupling": np.linspace(0.001, 0.005, 5)}, {"pockets": 16})
    assert points is not None
    sample = points.sample()
    assert (sample["pockets"], sample["coupling"], sample["ticks"]) == (16, 0.001, 400)
    assert points.extremes() == {"coupling": (0.001, 0.005)}
    assert "coupling" not in points.fixed.scalars


def test_the_output_of_a_known_kernel_bounds_its_slices() -> None:
    small = lay_out(ELASTICITY, {"eps": [0.001]}, {"ticks": 10})
    large = lay_out(ELASTICITY, {"eps": [0.001]}, {"ticks": 10, "record_every": 1})
    assert small is not None
    assert large is not None
    assert large.point_bytes > small.point_bytes > 8


@pytest.mark.parametrize("grid", [[], {"a": []}, {"a": [1], "b": []}, iter([])])
def test_no_points_are_no_error(grid: object) -> None:
    assert lay_out(None, grid, {}) is None


@pytest.mark.parametrize(
    ("grid", "fixed", "match"),
    [
        ({}, {}, "nothing is swept"),
        ({"a": [1]}, {"a": 2}, "both"),
        ([{"a": 1}, {"b": 1}], {}, "row 1"),
        ([1, 2], {}, "row 0"),
        ({"a": range(1 << 20), "b": range(1 << 20)}, {}, "too many"),
    ],
)
def test_a_malformed_grid_is_explained(grid: object, fixed: dict, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        lay_out(None, grid, fixed)


@pytest.mark.parametrize("values", ["abc", 3.0, [[1, 2]], [True], [1j], [object()]])
def test_an_axis_must_be_a_list_of_numbers(values: object) -> None:
    with pytest.raises(BadParameter, match="a"):
        lay_out(None, {"a": values}, {})


def test_a_parameter_that_cannot_be_swept_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadParameter, match="pockets"):
        lay_out(HARMONIC, {"pockets": [4, 8]}, {})


def test_values_out_of_bounds_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadParameter, match="eps"):
        lay_out(ELASTICITY, {"eps": [0.001, float("nan")]}, {})
