import csv
from pathlib import Path

import numpy as np
import pytest

from qallow_agent.base.errors import UsageError
from qallow_agent.client.fingerprint import SweepPrint
from qallow_agent.client.harvest import Harvest
from qallow_agent.client.reprint import find_results, fingerprint_of
from qallow_agent.client.results import Block
from qallow_agent.client.tables import table_of, write_table
from qallow_agent.client.toll import Toll
from qallow_agent.jobs.parcels import ArrayHead
from qallow_agent.ledger.receipt import Column, Receipt
from qallow_agent.testing.receipts import example

POINTS = 5_000
RNG = np.random.default_rng(1)
VALUES = {
    "y": RNG.random((POINTS, 3)),
    "n": RNG.integers(-(1 << 40), 1 << 40, POINTS),
    "x": RNG.random((POINTS, 1)).astype("f4"),
    "z": (RNG.random(POINTS) + 1j * RNG.random(POINTS)).astype("c16"),
    "even": RNG.integers(0, 2, POINTS).astype(bool),
}


def computed(names: str, lost: range = range(0)) -> tuple[Receipt, Harvest]:
    """Return the receipt of a sweep and what was gathered of it."""
    chosen = {name: VALUES[name] for name in names.split()}
    printed, harvest = SweepPrint(POINTS, Toll()), Harvest(POINTS)
    cuts = [0, lost.start, lost.stop, POINTS] if lost else [0, POINTS]
    for start, stop in zip(cuts[::2], cuts[1::2], strict=True):
        rows = {name: each[start:stop] for name, each in chosen.items()}
        heads = [ArrayHead(name, each.dtype.str[1:], each.shape) for name, each in rows.items()]
        frames = [each.tobytes() for each in rows.values()]
        printed.done(Block(heads, frames, start=start, points=stop - start))
        harvest.add(start, stop - start, rows, "box/cpu0")
    columns = tuple(Column(each.name, each.dtype, each.shape) for each in printed.columns)
    receipt = example(outputs=printed.root(), columns=columns, points=POINTS)
    return receipt, harvest


def written(path: Path, harvest: Harvest) -> Path:
    places = np.arange(POINTS)
    write_table(path, table_of(harvest, lambda at: {"swept": places[at] * 0.5}))
    return path


@pytest.mark.parametrize(
    ("ending", "names"),
    [(".npz", "y n x z even"), (".csv", "y n x even"), (".parquet", "y n x z even")],
)
@pytest.mark.parametrize("lost", [range(0), range(100, 4_200)])
def test_results_in_a_file_have_the_fingerprint_of_what_was_computed(
    tmp_path: Path, ending: str, names: str, lost: range
) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    receipt, harvest = computed(names, lost)
    path = written(tmp_path / f"out{ending}", harvest)
    assert fingerprint_of(path, receipt) == receipt.outputs


def test_one_changed_digit_of_a_csv_file_is_seen(tmp_path: Path) -> None:
    receipt, harvest = computed("x n")
    path = written(tmp_path / "out.csv", harvest)
    with path.open(newline="") as opened:
        rows = list(csv.reader(opened))
    rows[3][-1] = str(int(float(rows[3][-1])) + 1)
    with path.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)
    assert fingerprint_of(path, receipt) != receipt.outputs


def test_a_missing_point_is_seen(tmp_path: Path) -> None:
    receipt, _ = computed("x n")
    _, fewer = computed("x n", range(10, 11))
    assert fingerprint_of(written(tmp_path / "out.npz", fewer), receipt) != receipt.outputs


def test_a_file_that_cannot_be_compared_says_why(tmp_path: Path) -> None:
    receipt, harvest = computed("x n")
    path = written(tmp_path / "out.npz", harvest)
    with pytest.raises(UsageError, match="there are no results"):
        find_results(tmp_path / "nowhere")
    assert find_results(path) == path
    for other, reason in (
        ({"outputs": b""}, "no fingerprint"),
        ({"points": 0, "done": 5, "failed": 0}, "5 single evaluations"),
        ({"points": 10}, "other points"),
        ({"columns": (*receipt.columns, Column("v", "f8", ()))}, "lacks the output 'v'"),
        ({"columns": (Column("x", "f4", (2,)),)}, "not laid out"),
        ({"columns": (Column("x", "O8", (1,)),)}, "O8"),
    ):
        fields = {"outputs": receipt.outputs, "columns": receipt.columns, "points": POINTS}
        with pytest.raises(UsageError, match=reason):
            fingerprint_of(path, example(**(fields | other)))
    bare = tmp_path / "bare.npz"
    np.savez(bare, x=VALUES["x"], n=VALUES["n"])
    with pytest.raises(UsageError, match="does not number"):
        fingerprint_of(bare, receipt)


def test_the_outputs_of_one_evaluation_need_no_numbers(tmp_path: Path) -> None:
    value = np.arange(6.0).reshape(2, 3)
    printed = SweepPrint(1, Toll())
    printed.done(Block([ArrayHead("y", "f8", (1, 2, 3))], [value.tobytes()], points=1))
    receipt = example(
        outputs=printed.root(), columns=(Column("y", "f8", (2, 3)),), points=0, done=1, failed=0
    )
    np.savez(tmp_path / "results.npz", y=value)
    assert fingerprint_of(find_results(tmp_path), receipt) == receipt.outputs
