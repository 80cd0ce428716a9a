import csv
import io
import itertools
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qallow_agent.client import harvest as harvests
from qallow_agent.client import tables
from qallow_agent.client.harvest import Harvest
from qallow_agent.client.tables import Table, table_of, write_csv, write_table

POINTS = 40
OUTPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "square": ("f4", ()),
    "trace": ("f8", (3,)),
    "grid": ("i8", (2, 2)),
    "ok": ("?", (1,)),
    "phase": ("c8", ()),
    "nothing": ("f4", (0,)),
}


def truth() -> dict[str, Any]:
    """Return every output of every point."""
    rng = np.random.default_rng(7)
    return {
        name: rng.standard_normal((POINTS, *shape)).astype(dtype) * np.complex64(3 + 1j)
        if dtype == "c8"
        else (rng.standard_normal((POINTS, *shape)) * 99).astype(dtype)
        for name, (dtype, shape) in OUTPUTS.items()
    }


TRUTH = truth()
PARAMETERS = {"eps": np.linspace(0, 1, POINTS), "square": np.arange(POINTS)}


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Return slices of points as they come: some missing, some twice, in any order."""
    edges = sorted(draw(st.sets(st.integers(0, POINTS), min_size=1, max_size=9)))
    slices = list(itertools.pairwise(edges))
    again = draw(st.lists(st.sampled_from(slices), max_size=2)) if slices else []
    mixed = slices + again
    random.Random(draw(st.integers(0, 99))).shuffle(mixed)
    return mixed


def gathered(slices: list[tuple[int, int]], spool: Path | None) -> tuple[Table, list[int]]:
    """Return a table of some slices, and which points those are."""
    harvest = Harvest(POINTS, spool)
    finished: set[int] = set()
    for start, stop in slices:
        values = {name: column[start:stop].copy() for name, column in TRUTH.items()}
        late = [place - start for place in range(start, stop) if place in finished]
        for column in values.values():
            column[late] = 0  # a late duplicate is never believed
        harvest.add(start, stop - start, values, "a/cpu0")
        finished |= set(range(start, stop))
    assert harvest.count == sum(harvest.where.values()) == len(finished)
    return table_of(harvest, lambda places: {k: v[places] for k, v in PARAMETERS.items()}), sorted(
        finished
    )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tables be read in many chunks."""
    monkeypatch.setattr(tables, "_CHUNK_ROWS", 7)


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return where outputs wait."""
    monkeypatch.setattr(harvests, "SPOOL_BYTES", 1 << 30 if request.param == "memory" else 0)
    return tmp_path


FIXED = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FIXED
@given(slices=arrivals())
def test_an_archive_holds_exactly_the_finished_points(
    place: Path, slices: list[tuple[int, int]]
) -> None:
    table, finished = gathered(slices, place)
    assert write_table(place / "out.npz", table) == []
    with np.load(place / "out.npz", allow_pickle=False) as archive:
        assert archive["point"].tolist() == finished
        if finished:
            assert archive["eps"].tolist() == PARAMETERS["eps"][finished].tolist()
            assert archive["parameter_square"].tolist() == finished
            for name, column in TRUTH.items():
                assert archive[name].dtype == column.dtype
                assert archive[name].tobytes() == column[finished].tobytes()
        arrays = table.arrays()
        assert {name: each.tobytes() for name, each in arrays.items()} == {
            name: archive[name].tobytes() for name in archive.files
        }


@FIXED
@given(slices=arrivals())
def test_rows_of_text_read_back_as_the_same_numbers(
    place: Path, slices: list[tuple[int, int]]
) -> None:
    table, finished = gathered(slices, place)
    text = io.StringIO()
    assert write_csv(text, table) == (["nothing"] if finished else [])
    head, *rows = list(csv.reader(io.StringIO(text.getvalue())))
    assert [int(row[0]) for row in rows] == finished
    if not finished:
        return
    assert head == [
        "point", "eps", "parameter_square", "square", "trace[0]", "trace[1]", "trace[2]",
        "grid[0,0]", "grid[0,1]", "grid[1,0]", "grid[1,1]", "ok", "phase",
    ]  # fmt: skip
    columns = {title: [row[place] for row in rows] for place, title in enumerate(head)}
    square = np.array([np.float32(cell) for cell in columns["square"]])
    assert square.tobytes() == TRUTH["square"][finished].tobytes()
    traces = [[float(columns[f"trace[{n}]"][row]) for n in range(3)] for row in range(len(rows))]
    assert np.array(traces).tobytes() == TRUTH["trace"][finished].tobytes()
    assert [int(cell) for cell in columns["grid[1,0]"]] == TRUTH["grid"][finished, 1, 0].tolist()


@FIXED
@given(slices=arrivals(), count=st.integers(1, 12))
def test_the_ends_of_a_table_are_its_first_and_last_rows(
    place: Path, slices: list[tuple[int, int]], count: int
) -> None:
    table, finished = gathered(slices, place)
    wanted = finished if len(finished) <= 2 * count else [*finished[:count], *finished[-count:]]
    assert table.ends(["point", "eps"], count)["point"].tolist() == wanted
    assert "trace" not in table.single()


@FIXED
@given(slices=arrivals())
def test_parquet_holds_the_same_numbers(place: Path, slices: list[tuple[int, int]]) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table, finished = gathered(slices, place)
    if not finished:
        return
    with TemporaryDirectory() as folder:
        assert write_table(Path(folder) / "out.parquet", table) == ["nothing"]
        found = pq.read_table(Path(folder) / "out.parquet")
    assert found["point"].to_pylist() == finished
    assert found["square"].to_numpy().tobytes() == TRUTH["square"][finished].tobytes()
    assert found["trace"].to_pylist() == TRUTH["trace"][finished].tolist()
    assert found["grid"].to_pylist() == TRUTH["grid"][finished].reshape(-1, 4).tolist()
    phase = np.array(found["phase"].to_pylist(), "f4").view("c8")[:, 0]
    assert phase.tobytes() == TRUTH["phase"][finished].tobytes()
