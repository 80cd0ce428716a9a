import errno
import io
import json
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qallow_agent.base.errors import JobCancelled, KernelFailed, StorageError, UsageError
from qallow_agent.base.ids import JobId
from qallow_agent.cli.deliver import deliver, open_output, save_single, single_row
from qallow_agent.cli.inputs import Inputs
from qallow_agent.cli.main import main
from qallow_agent.cli.map import Survey
from qallow_agent.cli.run import carry_out
from qallow_agent.cli.show import print_csv
from qallow_agent.cli.work import EXIT_INTERRUPTED, Order, end_like_an_interrupt
from qallow_agent.client.files import read_columns
from qallow_agent.client.progress import ProgressLine, describe
from qallow_agent.jobs.messages import JobOptions, JobProgress

JOB = JobId("j-1")


@dataclass(frozen=True)
class Point:
    index: int
    values: Mapping[str, Any]
    where: str = "box1/cpu0"


@dataclass(frozen=True)
class Block:
    start: int
    outputs: Mapping[str, Any]
    points: int = 1
    where: str = "box1/cpu0"

    def arrays(self) -> Mapping[str, Any]:
        return self.outputs


class Pending:
    """A job that is done, or is interrupted when waited for."""

    job = "j-1"

    def __init__(self, trouble: BaseException | None) -> None:
        self.cancelled = False
        self._trouble = trouble

    def result(self, timeout: float | None = None) -> Point:
        assert timeout
        if self._trouble:
            raise self._trouble
        return Point(0, {"square": np.float32(9), "trace": np.arange(8)})

    def cancel(self) -> bool:
        self.cancelled = True
        return True


class Mesh:
    """Squares ``x`` in this process; after ``stop_after`` points comes the trouble."""

    def __init__(self, trouble: BaseException | None = None, stop_after: int = 2) -> None:
        self.pending = Pending(trouble)
        self.closed = False
        self._trouble = trouble
        self._stop_after = stop_after

    def submit_alone(
        self, kernel: str, *, options: JobOptions | None = None, **params: Any
    ) -> Pending:
        assert kernel
        assert options is not None
        assert params
        return self.pending

    def map(
        self,
        kernel: str,
        grid: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        ordered: bool = True,
        options: JobOptions | None = None,
        on_progress: Callable[[JobProgress], None] | None = None,
        **fixed: Any,
    ) -> "Sweep":
        assert kernel
        assert options is not None
        assert not ordered
        assert fixed == {"offset": 1}
        assert isinstance(grid, Mapping)
        return Sweep(self, grid["x"], on_progress)

    def stop_at(self, done: int) -> None:
        if self._trouble and self._stop_after == done:
            raise self._trouble

    def close(self) -> None:
        """Leave."""


class Sweep:
    """The squares as they come: the last point first, one in each block."""

    def __init__(
        self, mesh: Mesh, xs: Any, on_progress: Callable[[JobProgress], None] | None
    ) -> None:
        self._mesh = mesh
        self._xs = xs
        self._on_progress = on_progress

    def blocks(self) -> Iterator[Block]:
        for done, index in enumerate(reversed(range(len(self._xs)))):
            self._mesh.stop_at(done)
            if self._on_progress:
                self._on_progress(JobProgress(JOB, index, 0, 1))
            yield Block(index, {"square": np.float32(self._xs[index : index + 1] ** 2 + 1)})
        self.close()

    def close(self) -> None:
        self._mesh.closed = True


def order(tmp_path: Path | None = None, form: str = "table") -> Order:
    inputs = Inputs(fixed={"offset": 1}, sweeps={"x": np.arange(4.0)})
    return Order("square", inputs, JobOptions(), tmp_path, None, form)


def test_a_map_writes_every_point_with_its_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Survey(order(tmp_path)).carry_out(Mesh()) == 0
    with np.load(tmp_path / "results.npz") as archive:
        assert archive["point"].tolist() == [0, 1, 2, 3]
        assert archive["x"].tolist() == [0, 1, 2, 3]
        assert archive["square"].tolist() == [1, 2, 5, 10]
        assert archive["square"].dtype == np.float32
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["state"], summary["job"], summary["done"]) == ("succeeded", "j-1", 4)
    assert summary["share"] == {"box1/cpu0": 4}
    captured = capsys.readouterr()
    assert "4 of 4 points" in captured.out
    assert "1 re-run" in captured.out
    assert captured.err.splitlines()[0] == "job j-1"


def test_an_interrupted_map_is_cancelled_and_says_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qallow_agent.cli.map.leave_on_next_interrupt", lambda: None)
    mesh = Mesh(KeyboardInterrupt())
    assert Survey(order(tmp_path)).carry_out(mesh) == EXIT_INTERRUPTED
    assert mesh.closed
    assert "cancelled job j-1" in capsys.readouterr().err
    with np.load(tmp_path / "results.npz") as archive:
        assert archive["point"].tolist() == [2, 3]
        assert archive["square"].tolist() == [5, 10]
    assert json.loads((tmp_path / "summary.json").read_text())["state"] == "cancelled"


def test_a_failed_map_keeps_its_finished_points(tmp_path: Path) -> None:
    with pytest.raises(KernelFailed):
        Survey(order(tmp_path)).carry_out(Mesh(KernelFailed("x = 1 explodes")))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["state"], summary["done"]) == ("failed", 2)
    assert "explodes" in summary["error"]


def test_a_map_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    Survey(order(form="json")).carry_out(Mesh())
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "qallow.map/v1"
    assert document["values"]["square"] == [1, 2, 5, 10]
    assert document["swept"] == {"x": {"least": 0, "greatest": 3}}


def test_a_map_prints_rows(capsys: pytest.CaptureFixture[str]) -> None:
    Survey(order(form="csv")).carry_out(Mesh())
    assert capsys.readouterr().out.splitlines()[:2] == ["point,x,square", "0,0.0,1.0"]


def test_a_run_shows_its_outputs_and_where_it_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Order("square", Inputs(fixed={"x": 3}), JobOptions(), tmp_path, None, "table")
    assert carry_out(Mesh(), asked) == 0
    captured = capsys.readouterr()
    assert re.search(r"^square +9$", captured.out, re.MULTILINE)
    assert "box1/cpu0" in captured.err
    with np.load(tmp_path / "results.npz") as archive:
        assert archive["square"].shape == ()
        assert archive["trace"].tolist() == list(range(8))


def test_an_interrupted_run_is_cancelled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qallow_agent.cli.run.leave_on_next_interrupt", lambda: None)
    mesh = Mesh(KeyboardInterrupt())
    asked = Order("square", Inputs(fixed={"x": 3}), JobOptions(), None, None, "table")
    assert carry_out(mesh, asked) == EXIT_INTERRUPTED
    assert mesh.pending.cancelled
    assert "cancelled job j-1" in capsys.readouterr().err


def test_results_replace_older_ones_whole(tmp_path: Path) -> None:
    deliver(tmp_path / "new", save_single({"y": np.zeros(3)}), {"schema": "x"})
    summary = {"schema": "x", "worst": float("nan")}
    deliver(tmp_path / "new", save_single({"y": np.ones(2)}), summary)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "results.npz",
        "summary.json",
    ]
    with np.load(tmp_path / "new" / "results.npz") as archive:
        assert archive["y"].tolist() == [1, 1]
    assert json.loads((tmp_path / "new" / "summary.json").read_text())["worst"] is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        deliver(tmp_path / "file" / "below", save_single({}), {})


@pytest.mark.parametrize(
    ("done", "elapsed_s", "line"),
    [
        (0, 0.0, "k  0/1,000    0%"),
        (250, 10.0, "k  250/1,000   25%  25/s  ETA 30 s  failed 1  re-run 2"),
        (1000, 1.0, "k  1,000/1,000  100%  1,000/s"),
    ],
)
def test_progress_says_rate_and_time_left(done: int, elapsed_s: float, line: str) -> None:
    troubled = done == 250
    assert describe("k", done, 1000, elapsed_s, 1 * troubled, 2 * troubled) == line


def test_a_map_that_somebody_else_cancels_is_not_called_failed(tmp_path: Path) -> None:
    with pytest.raises(JobCancelled):
        Survey(order(tmp_path)).carry_out(Mesh(JobCancelled("the job was cancelled")))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["state"], summary["done"]) == ("cancelled", 2)


def test_a_place_for_results_is_tried_before_anything_runs(tmp_path: Path) -> None:
    open_output(tmp_path / "new" / "below")
    assert list((tmp_path / "new" / "below").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="it is a file"):
        open_output(tmp_path / "file")


def test_a_file_of_an_unknown_kind_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not written as \.xlsx") as caught:
        open_output(tmp_path / "out.xlsx")
    assert ".csv, .npz, .parquet" in caught.value.hint
    open_output(tmp_path / "run.2")
    assert (tmp_path / "run.2").is_dir()


@pytest.mark.parametrize("name", ["out.csv", "out.npz", "out.parquet"])
def test_a_map_goes_into_the_one_file_that_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    open_output(path)
    assert Survey(order(path)).carry_out(Mesh()) == 0
    assert [each.name for each in path.parent.iterdir()] == [name]
    if name != "out.npz":
        columns = read_columns(path).by_name
    else:
        with np.load(path) as archive:
            columns = dict(archive)
    assert {key: each.tolist() for key, each in columns.items()} == {
        "point": [0, 1, 2, 3],
        "x": [0, 1, 2, 3],
        "square": [1, 2, 5, 10],
    }


def test_a_folder_that_looks_like_a_file_stays_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    assert Survey(order(tmp_path / "out.csv")).carry_out(Mesh()) == 0
    assert sorted(each.name for each in (tmp_path / "out.csv").iterdir()) == [
        "results.npz",
        "summary.json",
    ]


def test_outputs_too_wide_for_rows_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = {"y": np.arange(3.0), "image": np.zeros((9, 9))}
    assert deliver(tmp_path / "one.csv", save_single(arrays), {}) == (
        [tmp_path / "one.csv"],
        ["image"],
    )
    assert (tmp_path / "one.csv").read_text() == "point,y[0],y[1],y[2]\n0,0.0,1.0,2.0\n"
    print_csv(single_row(arrays))
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "point,y[0],y[1],y[2]"
    assert "image" in said.err


@pytest.mark.parametrize("words", [("map", "--sweep", "coupling=0:0.001:3"), ("run",)])
def test_no_job_starts_without_a_place_for_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    for more in ((), ("--detach",)):
        given = [words[0], "harmonic", *words[1:], "-o", str(tmp_path / "file"), *more]
        assert main([*given, "--socket", str(tmp_path / "nobody")]) == 1
        assert "it is a file" in capsys.readouterr().err


@pytest.fixture
def signals() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_ends_a_job_as_ctrl_c_does(number: signal.Signals) -> None:
    end_like_an_interrupt()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    signal.raise_signal(number)


@pytest.mark.usefixtures("signals")
def test_nohup_is_respected() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_like_an_interrupt()
    signal.raise_signal(signal.SIGHUP)


def test_a_progress_line_outlives_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, text)

    monkeypatch.setattr("sys.stderr", Gone())
    line = ProgressLine("k", 10, on=True)
    line.show(10)
    line.end()
