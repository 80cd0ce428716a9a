import json
import re
from pathlib import Path

import numpy as np
import pytest

from qallow_agent.base.errors import BadParameter, UsageError
from qallow_agent.cli.inputs import Inputs, parse_sweep, parse_value, read_inputs
from qallow_agent.cli.kernels import Shape
from qallow_agent.client.points import Columns

SHAPES = {
    "pockets": Shape("i8"),
    "coupling": Shape("f4"),
    "exact": Shape("b1"),
    "weights": Shape("f4", 1),
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("pockets", "32", 32),
        ("pockets", "1e6", 1_000_000),
        ("pockets", "0x10", 16),
        ("coupling", "1", 1.0),
        ("exact", "true", True),
        ("exact", "0", False),
        ("other", "7", 7),
        ("other", "7.5", 7.5),
        ("other", "no", False),
        ("other", "text", "text"),
    ],
)
def test_a_value_is_typed_by_the_kernel(name: str, text: str, value: object) -> None:
    parsed = parse_value(name, text, SHAPES.get(name))
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("pockets", "1.5"), ("pockets", "many"), ("coupling", "x"), ("exact", "x"), ("weights", "1,2"),
     ("pockets", "inf"), ("weights", "[1, [2]]")],
)  # fmt: skip
def test_a_value_of_another_type_names_the_parameter(name: str, text: str) -> None:
    with pytest.raises(BadParameter, match=re.escape(name)) as caught:
        parse_value(name, text, SHAPES[name])
    assert "kernels info" in caught.value.hint


def test_an_array_is_given_as_json() -> None:
    assert parse_value("weights", "[1, 2.5]", SHAPES["weights"]).tolist() == [1.0, 2.5]


def test_a_linear_sweep_has_both_ends() -> None:
    name, axis = parse_sweep("coupling=0:1:5", SHAPES)
    assert (name, axis.tolist()) == ("coupling", [0, 0.25, 0.5, 0.75, 1])


def test_a_logarithmic_sweep_multiplies() -> None:
    _, axis = parse_sweep("coupling=log:1:1000:4", SHAPES)
    np.testing.assert_allclose(axis, [1, 10, 100, 1000])


def test_a_list_is_swept_as_it_stands() -> None:
    _, axis = parse_sweep("pockets=8,32", SHAPES)
    assert axis.tolist() == [8, 32]
    assert axis.dtype.kind == "i"


def test_a_sweep_of_whole_numbers_stays_whole() -> None:
    _, axis = parse_sweep("pockets=2:10:5", SHAPES)
    assert axis.tolist() == [2, 4, 6, 8, 10]
    with pytest.raises(BadParameter, match="whole numbers"):
        parse_sweep("pockets=2:3:5", SHAPES)


@pytest.mark.parametrize(
    "text",
    ["coupling", "coupling=", "=0:1:2", "coupling=0:1", "coupling=0:1:0", "coupling=0:1:2.5",
     "coupling=log:0:1:3", "coupling=0:nan:3", "coupling=0:1:1e12", "coupling=,", "coupling=a:b:c"],
)  # fmt: skip
def test_what_is_no_sweep_is_explained(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_sweep(text, SHAPES)
    assert "start:stop:count" in caught.value.hint


def test_files_of_every_kind_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"pockets": 8, "coupling": [0.1, 0.2]}))
    (tmp_path / "a.toml").write_text("pockets = 8\ncoupling = [0.1, 0.2]\n")
    (tmp_path / "a.csv").write_text("coupling\n0.1\n0.2\n")
    np.savez(tmp_path / "a.npz", pockets=8, coupling=np.array([0.1, 0.2]))
    for kind in ("json", "toml", "csv", "npz"):
        inputs = read_inputs(SHAPES, ["pockets=8"], [tmp_path / f"a.{kind}"])
        assert inputs.fixed == {"pockets": 8}
        assert inputs.columns["coupling"].tolist() == [0.1, 0.2]
        grid = inputs.grid()
        assert isinstance(grid, Columns)
        assert grid.by_name["coupling"] is inputs.columns["coupling"]


def test_an_array_parameter_is_no_column(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"weights": [1, 2, 3]}')
    inputs = read_inputs(SHAPES, [], [tmp_path / "a.json"])
    assert inputs.columns == {}
    assert inputs.fixed["weights"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "[1]"), ("a.json", "{"), ("a.toml", "="), ("a.csv", "a,b\n1\n"), ("a.npz", "no"),
     ("a.txt", ""), ("a.csv", "")],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=re.escape(name)):
        read_inputs(SHAPES, [], [tmp_path / name])


def test_a_pickled_array_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", coupling=np.array([object()]))
    with pytest.raises(UsageError, match=r"a\.npz"):
        read_inputs(SHAPES, [], [tmp_path / "a.npz"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_inputs(SHAPES, [], [tmp_path / "gone.json"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"coupling": [1, 2], "pockets": [1]}', "differ in length"),
        ('{"coupling": [[1], [2, 3]]}', "ragged"),
        ('{"coupling": ["a", "b"]}', "'a', which is no number"),
        ('{"pockets": "many"}', "whole number"),
    ],
)
def test_columns_that_make_no_points_are_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises((UsageError, BadParameter), match=why):
        read_inputs(SHAPES, [], [tmp_path / "a.json"])


def test_a_parameter_is_either_set_or_swept() -> None:
    with pytest.raises(UsageError, match="both set and swept"):
        read_inputs(SHAPES, ["coupling=1"], [], ["coupling=0:1:3"])


def test_columns_and_sweeps_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("coupling\n0.1\n")
    with pytest.raises(UsageError, match="cannot be combined"):
        read_inputs(SHAPES, [], [tmp_path / "a.csv"], ["pockets=2:4:2"])


def test_too_many_points_are_refused_before_anything_is_made() -> None:
    with pytest.raises(UsageError, match="too many"):
        read_inputs({}, [], [], ["a=0:1:100000", "b=0:1:100000"])


def test_a_grid_counts_its_last_axis_fastest() -> None:
    inputs = read_inputs(SHAPES, [], [], ["coupling=0:1:2", "pockets=2,3,4"])
    assert inputs.points == 6
    found = inputs.at(np.arange(6))
    assert found["pockets"].tolist() == [2, 3, 4, 2, 3, 4]
    assert found["coupling"].tolist() == [0, 0, 0, 1, 1, 1]
    assert inputs.extremes() == {"coupling": (0.0, 1.0), "pockets": (2.0, 4.0)}


def test_no_sweep_is_one_point() -> None:
    inputs = Inputs(fixed={"pockets": 8})
    assert inputs.points == 1
    assert inputs.at(np.arange(1)) == {}


@pytest.mark.parametrize(
    ("sweep", "why"),
    [
        ("x=0:1:0", "count must be a whole number from 1"),
        ("x=0:1:-3", "count must be"),
        ("x=0:1:2.5", "count must be"),
        ("x=0:1:1e12", "count must be"),
        ("x=0:nan:3", "must be finite"),
        ("x=0:inf:3", "must be finite"),
        ("x=log:0:1:5", "log must be above 0"),
        ("x=0:1", "three numbers"),
        ("x=a:b:3", "three numbers"),
    ],
)
def test_a_wrong_sweep_says_what_is_wrong_with_it(sweep: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_sweep(sweep, {})


def test_a_parameter_is_swept_once() -> None:
    with pytest.raises(UsageError, match="x is swept twice"):
        read_inputs({}, (), (), ("x=0:1:3", "x=1,2"))


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.csv", b"", "no rows below a header"),
        ("a.csv", b"x\n", "no rows below a header"),
        ("a.csv", b"x,y\n1,2\n3\n", "row 3 has 1 of 2 columns"),
        ("a.csv", b"x\n1\nabc\n", "a.csv: value 2 of x is 'abc', which is no number"),
        ("a.npz", b"nothing of the kind", "it is no NPZ archive"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((UsageError, BadParameter), match=why):
        read_inputs({}, (), (tmp_path / name,))
