import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qallow_agent.base.errors import BadParameter, UsageError
from qallow_agent.client import files
from qallow_agent.client.files import read_columns
from qallow_agent.client.points import Columns, lay_out
from qallow_agent.client.tables import plain_table, write_table

COLUMNS = {"eps": [0.1, 0.25, 1e-9], "count": [1, 2, 3]}


def written(folder: Path, kind: str) -> Path:
    path = folder / f"points.{kind}"
    if kind == "json":
        path.write_text(json.dumps(COLUMNS))
    elif kind == "rows.json":
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
        path.write_text(json.dumps(rows))
    elif kind == "toml":
        path.write_text("".join(f"{name} = {values}\n" for name, values in COLUMNS.items()))
    else:
        write_table(path, plain_table({name: np.asarray(v) for name, v in COLUMNS.items()}))
    return path


@pytest.mark.parametrize("kind", ["json", "rows.json", "toml", "csv", "npz", "parquet"])
def test_files_of_every_kind_hold_the_same_columns(tmp_path: Path, kind: str) -> None:
    found = read_columns(str(written(tmp_path, kind)))
    assert {name: (each.dtype.kind, each.tolist()) for name, each in found.by_name.items()} == {
        "eps": ("f", COLUMNS["eps"]),
        "count": ("i", COLUMNS["count"]),
    }
    points = lay_out(None, found, {"ticks": 5})
    assert points is not None
    assert points.count == 3
    assert points.at(np.array([2, 0]))["eps"].tolist() == [1e-9, 0.1]


def test_a_long_csv_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CHUNK_ROWS", 3)
    lines = [f"{number}, {number if number < 8 else number + 0.5},true" for number in range(10)]
    (tmp_path / "a.csv").write_text("\n\n".join(["n,x,ok", *lines]))
    columns = read_columns(tmp_path / "a.csv").by_name
    assert columns["n"].tolist() == list(range(10))
    assert columns["x"].tolist() == [*range(8), 8.5, 9.5]
    assert columns["ok"].tolist() == [True] * 10
    (tmp_path / "b.csv").write_text("n\n1\n2\n3\n4\nmany\n")
    with pytest.raises(BadParameter, match="'many', which is no number"):
        read_columns(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ('{"a": 3}', UsageError, "a in .* is one value, not a column"),
        ('{"a": [1, 2], "b": [1]}', UsageError, "columns differ in length"),
        ('[{"a": 1}, {"b": 1}]', UsageError, "its rows differ in their names"),
        ('{"a": ["x"]}', BadParameter, "'x', which is no number"),
    ],
)
def test_what_makes_no_columns_is_refused(
    tmp_path: Path, text: str, kind: type[Exception], why: str
) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(kind, match=why):
        read_columns(tmp_path / "a.json")


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(UsageError, match="pyarrow") as caught:
        read_columns(tmp_path / "a.parquet")
    assert "qallow-agent[parquet]" in caught.value.hint


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing of the kind PAR1")
    with pytest.raises(UsageError, match=r"a\.parquet"):
        read_columns(tmp_path / "a.parquet")


def test_columns_of_different_lengths_are_no_points() -> None:
    with pytest.raises(UsageError, match="differ in length"):
        Columns({"a": [1, 2], "b": [1]})
    assert lay_out(None, Columns({"a": []}), {}) is None


def test_rows_are_read_some_at_a_time_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qallow_agent.client.points._ROWS_AT_ONCE", 4)
    monkeypatch.setattr("qallow_agent.client.points.MOST_ROWS", 10)
    rows: Any = ({"a": number} for number in range(10))
    points = lay_out(None, rows, {})
    assert points is not None
    assert points.at(np.arange(10))["a"].tolist() == list(range(10))
    with pytest.raises(UsageError, match="more than 10, or have no end") as caught:
        lay_out(None, ({"a": number} for number in itertools.count()), {})
    assert "stream()" in caught.value.hint
