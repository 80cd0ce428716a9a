"""The jury: which answers are alike, what is told of them, and what a reader must know."""

import numpy as np
import numpy.typing as npt
import pytest

from qallow_agent.client.arrays import alike
from qallow_agent.client.jury import Jury, digest_of, task_digest
from qallow_agent.client.results import Block
from qallow_agent.jobs.panel import Answer, Panel
from qallow_agent.jobs.parcels import ArrayHead
from qallow_agent.jobs.work import Piece

Array = npt.NDArray[np.float64]


def block(*values: float, name: str = "y", dtype: str = "f8") -> Block:
    array = np.array(values, dtype=dtype)
    return Block([ArrayHead(name, dtype, array.shape)], [array.tobytes()])


def piece_of(*blocks: Block, delivered: int | None = None) -> Piece:
    piece = Piece(1, 40, 1, None, None)
    piece.panel = panel = Panel(len(blocks), shadow=delivered is not None)
    for number, each in enumerate(blocks):
        answer = Answer(f"n{number}/cpu0", f"box{number}/cpu0")
        answer.content = each
        answer.delivered = number == delivered
        panel.answers.append(answer)
    return piece


def judged(jury: Jury, *blocks: Block, delivered: int | None = None) -> str:
    piece = piece_of(*blocks, delivered=delivered)
    assert piece.panel is not None
    piece.panel.classes = jury.classes(piece.panel)
    return jury.note(piece, b"task")


def classes(*blocks: Block, **tolerances: tuple[float, float]) -> tuple[int, ...]:
    panel = piece_of(*blocks).panel
    assert panel is not None
    return Jury(tolerances).classes(panel)


def test_equal_bits_are_alike_and_others_are_not() -> None:
    assert classes(block(1.0, 2.0), block(1.0, 2.0)) == (0, 0)
    assert classes(block(1.0, 2.0), block(1.0, np.nextafter(2.0, 3.0))) == (0, 1)


def test_nan_equals_nan_and_minus_zero_is_zero() -> None:
    other_nan = np.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\x7f", dtype="f8")[0]
    assert classes(block(np.nan, 0.0), block(float(other_nan), -0.0)) == (0, 0)
    assert classes(block(np.nan), block(0.0)) == (0, 1)


def test_floats_may_differ_by_what_the_kernel_declares() -> None:
    one, other = block(100.0), block(100.05)
    assert classes(one, other) == (0, 1)
    assert classes(one, other, y=(0.1, 0.0)) == (0, 0)
    assert classes(one, other, y=(0.0, 1e-3)) == (0, 0)
    assert classes(one, other, x=(0.1, 0.0)) == (0, 1)


def test_a_tolerance_excuses_no_infinity_and_no_nan() -> None:
    assert classes(block(np.inf), block(1e308), y=(1e9, 1.0)) == (0, 1)
    assert classes(block(np.inf), block(-np.inf), y=(1e9, 1.0)) == (0, 1)
    assert classes(block(np.inf), block(np.inf), y=(1e9, 1.0)) == (0, 0)
    assert classes(block(np.nan), block(1.0), y=(1e9, 1.0)) == (0, 1)


def test_whole_numbers_are_exact_whatever_is_declared() -> None:
    one, other = block(1, dtype="i8"), block(2, dtype="i8")
    assert classes(one, other, y=(10.0, 0.0)) == (0, 1)


@pytest.mark.parametrize(
    "other", [block(1.0, name="z"), block(1.0, dtype="f4"), block(1.0, 1.0), block()]
)
def test_other_names_types_and_shapes_are_another_answer(other: Block) -> None:
    assert classes(block(1.0), other) == (0, 1)


def test_closeness_is_judged_in_the_order_of_places_not_of_arrival() -> None:
    panel = piece_of(block(0.0), block(0.6), block(1.2)).panel
    assert panel is not None
    panel.answers.reverse()
    assert Jury({"y": (0.7, 0.0)}).classes(panel) == (0, 0, 1)
    assert [answer.place for answer in panel.answers] == ["n0/cpu0", "n1/cpu0", "n2/cpu0"]


def test_equal_comparisons_are_told_as_one_and_each_split_by_itself() -> None:
    jury = Jury({})
    for _ in range(5):
        judged(jury, block(1.0), block(1.0))
    judged(jury, block(1.0), block(2.0), block(1.0))
    same, split = jury.take()
    assert (same.places, same.classes, same.times) == (("n0/cpu0", "n1/cpu0"), (0, 0), 5)
    assert (split.classes, split.task, split.point) == ((0, 1, 0), b"task", 40)
    assert split.digests[0] == split.digests[2] == digest_of(block(1.0)) != split.digests[1]
    assert jury.take() == ()


def test_splits_without_end_are_bounded_and_counted() -> None:
    jury = Jury({})
    for number in range(300):
        judged(jury, block(1.0), block(float(number + 2)))
    assert len(jury.take()) == 256
    assert jury.untold == 44


def test_a_result_that_was_delivered_and_is_wrong_is_said_to_be() -> None:
    jury = Jury({})
    said = judged(jury, block(1.0), block(2.0), block(2.0), delivered=0)
    assert "box0/cpu0 gave and that was delivered is wrong" in said
    assert "box0/cpu0 against box1/cpu0 and box2/cpu0" in said
    assert judged(jury, block(2.0), block(1.0), block(2.0), delivered=0) == ""
    assert "may be wrong" in judged(jury, block(1.0), block(2.0), delivered=0)


def test_a_task_is_named_by_its_parameters() -> None:
    one = task_digest({"a": 1, "b": 2.0}, [b"xy"])
    assert one == task_digest({"b": 2.0, "a": 1}, [b"xy"])
    assert len({one, task_digest({"a": 1}, [b"xy"]), task_digest({"a": 1, "b": 2.0}, [])}) == 3


def test_complex_numbers_are_compared_as_such() -> None:
    one: dict[str, npt.NDArray[np.generic]] = {"y": np.array([1 + 1j, np.nan], dtype="c16")}
    other: dict[str, npt.NDArray[np.generic]] = {"y": np.array([1 + 1.01j, np.nan], dtype="c16")}
    assert not alike(one, other, {})
    assert alike(one, other, {"y": (0.1, 0.0)})
