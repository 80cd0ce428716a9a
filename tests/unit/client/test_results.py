import numpy as np
import pytest
import zmq

from qallow_agent.base.errors import BadParameter, StorageCorrupt
from qallow_agent.client.arrays import archive_of, block_of
from qallow_agent.client.results import Block, Result
from qallow_agent.jobs.parcels import ArrayHead


def slice_of(start: int, *values: float) -> Block:
    array = np.array(values, dtype="<f4")
    head = ArrayHead("value", "f4", (len(values),))
    return Block([head], [array.tobytes()], start=start, points=len(values), where="a/cpu0")


def test_outputs_are_entries_and_attributes() -> None:
    heads = [ArrayHead("tick", "i8", (2,)), ArrayHead("stable", "b1", ())]
    frames = [np.array([1, 2], dtype="<i8").tobytes(), b"\x01"]
    result = Result(Block(heads, frames, where="a/cpu0", seconds=0.5))
    assert result.tick.tolist() == [1, 2]
    assert result.values["stable"].shape == ()
    assert bool(result.stable) is True
    assert (result.index, result.where, result.seconds) == (0, "a/cpu0", 0.5)
    assert "tick" in dir(result)
    assert "tick, stable" in repr(result)


def test_a_missing_output_is_an_attribute_error_that_names_the_others() -> None:
    with pytest.raises(AttributeError, match="value"):
        _ = Result(slice_of(0, 1.0)).vlaue


def test_results_of_a_slice_are_its_rows() -> None:
    block = slice_of(10, 1.0, 2.0, 3.0)
    block.seconds = 3.0
    result = Result(block, 1, 11)
    assert (result.index, float(result.value), result.seconds) == (11, 2.0, 1.0)
    assert result.value.shape == ()


def test_arrays_are_read_only_views_of_what_arrived() -> None:
    data = np.arange(100_000, dtype="<f8")
    frame = zmq.Frame(data.tobytes())
    array = Result(Block([ArrayHead("x", "f8", data.shape)], [frame])).x
    assert array.tolist() == data.tolist()
    assert not array.flags.writeable
    assert not array.flags.owndata


def test_misaligned_frames_are_copied() -> None:
    frame = memoryview(bytes(17))[1:]
    block = Block([ArrayHead("x", "f8", (2,))], [zmq.Frame(frame).buffer])
    assert block.arrays()["x"].flags.aligned


def test_a_block_knows_whether_every_output_has_one_row_a_point() -> None:
    assert slice_of(0, 1.0, 2.0).fits()
    block = slice_of(0, 1.0, 2.0)
    block.points = 3
    assert not block.fits()
    block.points = 0
    assert block.fits()


def test_a_retained_sweep_comes_back_as_it_was() -> None:
    data = archive_of([slice_of(2, 3.0), slice_of(0, 1.0, 2.0)])
    block = block_of(data, 3)
    assert block.arrays()["value"].tolist() == [1.0, 2.0, 3.0]
    assert block.points == 3
    assert block.fits()


def test_a_retained_evaluation_comes_back_as_it_was() -> None:
    block = Block([ArrayHead("x", "f8", ())], [np.float64(7).tobytes()])
    assert Result(block_of(archive_of([block]), 0)).x == 7.0


def test_outputs_that_do_not_stack_are_not_retained() -> None:
    odd = Block([ArrayHead("value", "f4", (1, 2))], [bytes(8)], start=1, points=1)
    with pytest.raises(BadParameter, match="stack"):
        archive_of([slice_of(0, 1.0), odd])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04nonsense", b"\x93NUMPY"])
def test_a_corrupt_archive_is_named_as_such(data: bytes) -> None:
    with pytest.raises(StorageCorrupt):
        block_of(data, 0)


def test_an_archive_of_other_points_is_corrupt() -> None:
    with pytest.raises(StorageCorrupt, match="4 points"):
        block_of(archive_of([slice_of(0, 1.0)]), 4)
