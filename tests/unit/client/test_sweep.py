import os
import threading
import time
from pathlib import Path

import pytest

from qallow_agent.base.errors import JobCancelled, KernelFailed, NoDevice, UsageError
from qallow_agent.client.points import lay_out
from qallow_agent.client.results import Block
from qallow_agent.client.stream import MOST_AHEAD_BYTES, End, Gap, Stream
from qallow_agent.client.sweep import MapResults, Shelf
from qallow_agent.jobs.messages import JobProgress
from qallow_agent.jobs.parcels import ArrayHead


class Reader:
    """An iterator with its stream, and what it asked of the mesh."""

    def __init__(self, *, ordered: bool = True) -> None:
        self.stream = Stream()
        self.cancelled = 0
        self.woken = 0
        self.progress: list[JobProgress] = []
        self.results = MapResults(
            self.stream,
            Shelf(ordered=ordered),
            find_job=lambda: "job-1",
            cancel=self._cancel,
            wake=self._wake,
            on_progress=self.progress.append,
            line=None,
            points=lay_out(None, {"a": [5.0, 6.0, 7.0, 8.0]}, {}),
        )

    def _cancel(self) -> None:
        self.cancelled += 1

    def _wake(self) -> None:
        self.woken += 1


def block(start: int, points: int, size: int = 1) -> Block:
    head = ArrayHead("x", "u1", (points, size))
    return Block([head], [bytes(points * size)], start=start, points=points)


def gap(start: int, points: int = 1) -> Gap:
    return Gap(start, points, KernelFailed(f"point {start}"))


def test_ordered_results_wait_for_their_turn() -> None:
    reader = Reader()
    for item in (block(3, 2), block(0, 1), block(1, 2), End()):
        reader.stream.put(item)
    assert [result.index for result in reader.results] == [0, 1, 2, 3, 4]


def test_unordered_results_come_as_they_arrive() -> None:
    reader = Reader(ordered=False)
    for item in (block(3, 2), block(0, 1), End()):
        reader.stream.put(item)
    assert [result.index for result in reader.results] == [3, 4, 0]


def test_ordered_a_failed_point_is_raised_in_its_turn() -> None:
    reader = Reader()
    for item in (gap(2), block(3, 2), block(0, 2), End()):
        reader.stream.put(item)
    assert [next(reader.results).index, next(reader.results).index] == [0, 1]
    with pytest.raises(KernelFailed, match="point 2"):
        next(reader.results)
    assert list(reader.results) == []
    assert reader.cancelled == 1


def test_unordered_a_failed_point_is_raised_after_every_result() -> None:
    reader = Reader(ordered=False)
    for item in (gap(2), gap(9), block(3, 2), block(0, 2), End()):
        reader.stream.put(item)
    assert [next(reader.results).index for _ in range(4)] == [3, 4, 0, 1]
    with pytest.raises(KernelFailed, match="point 2"):
        next(reader.results)


def test_a_job_that_ends_early_says_why_after_what_is_there() -> None:
    reader = Reader(ordered=False)
    reader.stream.put(block(0, 1))
    reader.stream.put(End(NoDevice("none")))
    assert next(reader.results).index == 0
    with pytest.raises(NoDevice):
        next(reader.results)


def test_closing_cancels_once_and_ends_the_iteration() -> None:
    reader = Reader()
    reader.stream.put(block(0, 5))
    with reader.results as results:
        next(results)
    results.close()
    assert list(results) == []
    assert reader.cancelled == 1


def test_dropping_an_iterator_that_never_began_cancels_too() -> None:
    reader = Reader()
    del reader.results
    assert reader.cancelled == 1


def test_progress_is_reported_in_the_readers_thread() -> None:
    reader = Reader()
    reader.stream.put(JobProgress("job-1", 3, 0, 0))
    reader.stream.put(End())
    assert list(reader.results) == []
    assert [progress.done for progress in reader.progress] == [3]
    assert reader.results.job == "job-1"


def test_a_reader_that_is_far_behind_fills_the_stream_and_says_when_it_caught_up() -> None:
    reader = Reader()
    reader.stream.put(block(0, 1, MOST_AHEAD_BYTES))
    assert not reader.stream.full
    reader.stream.put(block(1, 1))
    assert reader.stream.full
    next(reader.results)
    assert not reader.stream.full
    assert reader.woken == 1


def test_a_reader_that_waits_is_never_behind() -> None:
    reader = Reader()
    reader.stream.put(block(1, 1, MOST_AHEAD_BYTES + 1))
    assert reader.stream.full
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(next(reader.results).index))
    thread.start()
    end_s = time.monotonic() + 5
    while reader.stream.full and time.monotonic() < end_s:
        os.sched_yield()
    assert not reader.stream.full
    reader.stream.put(block(0, 1))
    thread.join(5)
    assert seen == [0]


def test_a_deadline_of_the_reader_is_a_timeout_and_cancels() -> None:
    reader = Reader()
    reader.results.until_s = time.monotonic()
    with pytest.raises(TimeoutError):
        next(reader.results)
    assert reader.cancelled == 1


def test_blocks_are_the_same_results_a_slice_at_a_time() -> None:
    reader = Reader()
    for item in (block(1, 2), block(0, 1), End()):
        reader.stream.put(item)
    assert [(each.start, each.points) for each in reader.results.blocks()] == [(0, 1), (1, 2)]


def test_blocks_end_with_why_there_are_no_more() -> None:
    reader = Reader(ordered=False)
    for item in (block(0, 3), gap(3), End()):
        reader.stream.put(item)
    blocks = reader.results.blocks()
    assert next(blocks).start == 0
    with pytest.raises(KernelFailed, match="point 3"):
        next(blocks)
    assert reader.cancelled == 1


def test_what_nobody_reads_is_done_and_not_kept() -> None:
    reader = Reader()
    reader.stream.put(block(0, 2))
    reader.results.let_go()
    assert not reader.results.over
    reader.stream.put(block(2, 1, MOST_AHEAD_BYTES + 1))
    assert not reader.stream.full
    reader.stream.put(End())
    assert reader.results.over
    assert reader.stream.get(0.0) is None
    assert list(reader.results) == []
    assert reader.cancelled == 0


def test_withdrawing_leaves_what_is_there_to_be_read() -> None:
    reader = Reader()
    reader.stream.put(block(0, 1))
    reader.results.retire(cancel=True)
    reader.stream.put(End(JobCancelled("no more")))
    assert next(reader.results).index == 0
    with pytest.raises(JobCancelled):
        next(reader.results)
    assert reader.cancelled >= 1


def test_without_a_bound_a_reader_is_never_behind() -> None:
    reader = Reader()
    reader.results.retire(cancel=False)
    reader.stream.put(block(0, 1, MOST_AHEAD_BYTES + 1))
    assert not reader.stream.full
    assert reader.woken == 1


def test_all_results_are_arrays_in_the_order_of_the_points() -> None:
    reader = Reader()
    for item in (block(2, 2), block(0, 2), End()):
        reader.stream.put(item)
    arrays = reader.results.arrays()
    assert {name: each.tolist() for name, each in arrays.items()} == {
        "point": [0, 1, 2, 3],
        "a": [5, 6, 7, 8],
        "x": [[0]] * 4,
    }


def test_a_failed_sweep_writes_what_is_finished_and_says_why(tmp_path: Path) -> None:
    reader = Reader()
    for item in (block(3, 1), gap(2), block(0, 2), End()):
        reader.stream.put(item)
    with pytest.raises(KernelFailed, match="point 2"):
        reader.results.save(tmp_path / "new" / "out.csv")
    rows = (tmp_path / "new" / "out.csv").read_text().splitlines()
    assert rows == ["point,a,x", "0,5.0,0", "1,6.0,0", "3,8.0,0"]


def test_results_are_either_taken_or_gathered() -> None:
    reader = Reader()
    reader.stream.put(block(0, 2))
    next(reader.results)
    with pytest.raises(UsageError, match="taken already"):
        reader.results.arrays()


@pytest.mark.parametrize("name", ["out", "out.txt"])
def test_a_file_of_another_kind_is_refused_before_anything_is_read(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="no file for results") as caught:
        Reader().results.save(tmp_path / name)
    assert ".csv, .npz, .parquet" in caught.value.hint


def test_an_interrupted_sweep_writes_what_is_finished_and_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader()
    items = [block(1, 2)]

    def get(timeout_s: float) -> Block:
        assert timeout_s > 0
        if not items:
            raise KeyboardInterrupt
        return items.pop()

    monkeypatch.setattr(reader.stream, "get", get)
    with pytest.raises(KeyboardInterrupt):
        reader.results.save(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == ["point,a,x", "1,6.0,0", "2,7.0,0"]
    assert reader.cancelled == 1
