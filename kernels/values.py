"""Scalars and shapes at the border: conversion, bounds and did-you-mean, without NumPy."""

import difflib
import math
import numbers
from collections.abc import Iterable, Sequence

from qallow_agent.base.errors import BadParameter

Scalar = bool | int | float

ITEM_BYTES = {
    "u1": 1, "i1": 1, "u2": 2, "i2": 2, "u4": 4, "i4": 4, "u8": 8, "i8": 8,
    "f2": 2, "f4": 4, "f8": 8, "c8": 8, "c16": 16, "b1": 1,
}  # fmt: skip
"""The dtypes a kernel may use (little-endian), with their item sizes: those that may travel."""

GREATEST = {"f2": 65504.0, "f4": float.fromhex("0x1.fffffep+127"), "f8": math.inf}
"""Greatest finite value of each float type."""

_LONG = 1_000_000_000


def closest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known word, or all of them."""
    words = sorted(known)
    near = difflib.get_close_matches(name, words, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(words)}"


def converted(where: str, dtype: str, value: object) -> Scalar:
    """Return a value as the Python number that a dtype can hold.

    Raises:
        BadParameter: Wrong type, not finite, or beyond what the dtype can hold.
    """
    if dtype == "b1":
        if isinstance(value, bool):
            return value
        raise BadParameter(f"{where} = {value!r} is no boolean", hint="true or false")
    number = _number(where, dtype, value)
    if isinstance(number, float) and not math.isfinite(number):
        raise BadParameter(f"{where} = {value!r} is not finite", hint="give a finite number")
    if dtype[0] in "iu":
        return _whole(where, dtype, number)
    try:
        result = float(number)
    except OverflowError:
        result = math.inf
    if abs(result) > GREATEST.get(dtype, math.inf) or math.isinf(result):
        raise BadParameter(f"{where} = {value!r} does not fit {dtype}")
    return result


def _number(where: str, dtype: str, value: object) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value  # the checks below are ten times slower
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise BadParameter(f"{where} = {value!r} is no number", hint=f"its type is {dtype}")
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _whole(where: str, dtype: str, number: float) -> int:
    whole = int(number)
    if whole != number:
        raise BadParameter(f"{where} = {number!r} is no whole number", hint=f"its type is {dtype}")
    bits = 8 * ITEM_BYTES[dtype]
    low, high = (0, 2**bits - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not low <= whole <= high:
        raise BadParameter(
            f"{where} = {whole} does not fit {dtype}", hint=f"at least {low} and at most {high}"
        )
    return whole


def bounded(where: str, value: Scalar, ge: float | None, le: float | None, unit: str = "") -> None:
    """Check a value against its bounds.

    Raises:
        BadParameter: Out of bounds; the hint names the bound with its unit.
    """
    suffix = f" {unit}" if unit else ""
    if ge is not None and value < ge:
        raise BadParameter(
            f"{where} = {value} is too small", hint=f"at least {show_bound(ge)}{suffix}"
        )
    if le is not None and value > le:
        raise BadParameter(
            f"{where} = {value} is too large", hint=f"at most {show_bound(le)}{suffix}"
        )


def show_bound(bound: float) -> str:
    """Return a bound for people: whole numbers below a billion with every digit."""
    whole = abs(bound) < _LONG and bound == int(bound)
    return f"{bound:.0f}" if whole else f"{bound:g}"


def match_shape(
    where: str, axes: Sequence[str | int], shape: Sequence[int], sizes: dict[str, int]
) -> None:
    """Check a shape against its axes; named axes are learnt into ``sizes`` and must agree.

    Raises:
        BadParameter: Another rank, another fixed length, or a named axis with two lengths.
    """
    if len(axes) != len(shape):
        raise BadParameter(
            f"{where} has {len(shape)} axes {tuple(shape)}",
            hint=f"its shape is ({', '.join(map(str, axes))})",
        )
    for axis, length in zip(axes, shape, strict=True):
        wanted = sizes.setdefault(axis, length) if isinstance(axis, str) else axis
        if length != wanted:
            raise BadParameter(
                f"{where} has length {length} on axis {axis}", hint=f"expected {wanted}"
            )
