import numpy as np
import pytest

from qallow_agent.base.errors import BadParameter
from qallow_agent.client.arrays import axis_of, outgoing, unravel


def test_whole_number_parameters_take_whole_floats_only() -> None:
    axis, code = axis_of("n", [1.0, 2.0], "i8")
    assert (axis.tolist(), axis.dtype, code) == ([1, 2], np.dtype("<i8"), "i8")
    with pytest.raises(BadParameter, match="n takes whole numbers"):
        axis_of("n", [1.0, 2.5], "i8")


def test_a_float_axis_keeps_its_precision_since_bounds_are_checked_before_rounding() -> None:
    axis, code = axis_of("eps", [0.1], "f4")
    assert (axis[0], code) == (0.1, "f8")


def test_a_number_stays_without_axes() -> None:
    assert outgoing("x", 3.0)[0].shape == ()


def test_kinds_of_numbers_do_not_mix() -> None:
    with pytest.raises(BadParameter, match="x has dtype float64"):
        outgoing("x", [0.5], "i8")


def test_the_last_axis_of_a_grid_is_the_fastest() -> None:
    rows, columns = unravel(2, 3, (2, 3))
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 1], [2, 0, 1])
