import threading

import numpy as np
import pytest

from qallow_agent.client.arguments import collect
from qallow_agent.client.fingerprint import SweepPrint, TaskPrint
from qallow_agent.client.inputprint import InputPrint
from qallow_agent.client.points import Columns, lay_out
from qallow_agent.client.results import Block
from qallow_agent.client.toll import Toll
from qallow_agent.jobs.parcels import ArrayHead


def slice_of(values: np.ndarray, start: int) -> Block:
    head = ArrayHead("y", values.dtype.str[1:], values.shape)
    return Block([head], [values.tobytes()], start=start, points=len(values))


def print_of(values: np.ndarray, *cuts: int) -> bytes:
    printed = SweepPrint(len(values), Toll())
    for start, stop in zip((0, *cuts), (*cuts, len(values)), strict=True):
        printed.done(slice_of(values[start:stop], start))
    return printed.root()


def test_one_point_has_the_fingerprint_of_one_evaluation() -> None:
    values = np.array([[1.0, 2.0]])
    task = TaskPrint(Toll())
    task.done(0, Block([ArrayHead("y", "f8", (2,))], [values.tobytes()]))
    assert print_of(values) == task.root(1)


@pytest.mark.parametrize("place", [0, 4_095, 4_096, 9_999])
def test_one_changed_bit_changes_the_fingerprint(place: int) -> None:
    values = np.arange(10_000.0)
    before = print_of(values)
    values[place] = np.nextafter(values[place], np.inf)
    assert print_of(values) != before


def test_wide_points_make_small_blocks_and_the_same_fingerprint() -> None:
    values = np.random.default_rng(7).random((40, 1 << 16))
    assert print_of(values) == print_of(values, 1, 2, 3, 39) != print_of(values[:39])


def test_points_of_different_shapes_have_no_fingerprint() -> None:
    printed = SweepPrint(2, Toll())
    printed.done(slice_of(np.zeros((1, 2)), 0))
    printed.done(slice_of(np.zeros((1, 3)), 1))
    assert printed.root() == b""


def test_evaluations_of_different_shapes_have_one_without_common_columns() -> None:
    printed, other = TaskPrint(Toll()), TaskPrint(Toll())
    one, two = (Block((ArrayHead("y", "f8", (n,)),), [bytes(8 * n)]) for n in (1, 2))
    printed.done(0, one)
    assert [each.shape for each in printed.columns] == [(1,)]
    printed.done(1, two)
    other.done(1, two)
    other.done(0, one)
    assert printed.columns == ()
    assert printed.root(2) == other.root(2)


def test_what_is_given_has_a_hash_of_kernel_values_and_order() -> None:
    def hashed(*given: object, kernel: str = "k", code: str = "c") -> bytes:
        printed = InputPrint(Toll())
        for value in given:
            printed.take(collect(None, {"x": value}))
        return printed.digest(kernel, code)

    big = np.arange(1 << 16, dtype="f8")
    assert hashed(1.0, big, 2.0) == hashed(1.0, big.copy(), 2.0)
    seen = {
        hashed(1.0, 2.0), hashed(2.0, 1.0), hashed(1.0), hashed(1.0, 2.0, kernel="l"),
        hashed(1.0, 2.0, code="d"), hashed(big), hashed(big[1:]), hashed(big.astype("f4")),
    }  # fmt: skip
    assert len(seen) == 8


def test_grids_and_columns_of_the_same_values_are_different_points() -> None:
    def hashed(grid: object, **fixed: object) -> bytes:
        points = lay_out(None, grid, fixed)
        assert points is not None
        return points.digest()

    seen = {
        hashed({"a": [1, 2], "b": [3, 4]}),
        hashed(Columns({"a": [1, 2], "b": [3, 4]})),
        hashed({"a": [1, 2], "b": [3, 5]}),
        hashed({"a": [1, 2], "b": [3, 4]}, c=1),
    }
    assert len(seen) == 4


def test_large_work_is_done_apart_and_waited_for() -> None:
    toll, where = Toll(), []
    toll.hash(1 << 20, lambda: where.append(threading.current_thread().name))
    toll.hash(1, lambda: where.append("second"))
    toll.wait()
    assert where == ["qallow-hash", "second"]


def test_what_goes_wrong_apart_is_raised_to_whoever_waits() -> None:
    toll = Toll()
    toll.hash(1 << 20, lambda: int("nothing"))
    with pytest.raises(ValueError, match="nothing"):
        toll.wait()
