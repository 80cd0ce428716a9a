"""The border to NumPy: arrays to raw frames and back. Imported only when an array is touched."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import BadParameter, StorageCorrupt
from qallow_agent.client.results import Block
from qallow_agent.jobs.manifest import Buffer
from qallow_agent.jobs.parcels import ITEM_BYTES, ArrayHead

Array = npt.NDArray[Any]

_NUMBERS = "iuf"
_UNREADABLE = (
    ValueError, OSError, KeyError, EOFError, NotImplementedError, RuntimeError,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""What NumPy and zipfile raise on bytes that are not theirs."""


def fill(memory: Any, array: Array) -> None:
    """Copy an array to the start of some writable memory; other threads run meanwhile."""
    np.copyto(np.frombuffer(memory, array.dtype, array.size).reshape(array.shape), array)


def view(head: ArrayHead, data: Buffer) -> Array:
    """Return some bytes as a read-only array, without a copy where their memory is aligned."""
    array = np.frombuffer(data, dtype="<" + head.dtype).reshape(head.shape)
    if not array.flags.aligned:
        array = array.copy()
    array.flags.writeable = False
    return array


def outgoing(where: str, value: Any, dtype: str = "") -> tuple[Array, str]:
    """Return a value as a C-contiguous little-endian array that can travel, and its dtype's code.

    Args:
        where: Names the parameter in errors.
        value: Anything NumPy takes.
        dtype: The wanted dtype; empty to keep the value's own.

    Raises:
        BadParameter: It is no array of numbers, or its kind is not the wanted one.
    """
    try:
        array = np.asarray(value)
        if dtype and not np.can_cast(array.dtype, np.dtype(dtype), casting="same_kind"):
            raise BadParameter(f"{where} has dtype {array.dtype}", hint=f"expected {dtype}")
        target = np.dtype(dtype or array.dtype).newbyteorder("<")
        code = target.str[1:]
        if code not in ITEM_BYTES:
            raise BadParameter(
                f"{where} is of {array.dtype}, which cannot be sent", hint="send numbers"
            )
        return np.asarray(array, dtype=target, order="C"), code
    except (ValueError, TypeError, OverflowError) as error:
        raise BadParameter(f"{where} is no array of numbers: {error}") from error


def axis_of(where: str, values: Any, dtype: str = "") -> tuple[Array, str]:
    """Return the values of a swept parameter as one axis of numbers.

    Whole-number parameters get whole numbers; for others the given precision is kept, since the
    kernel rounds and bounds are checked before it does.

    Raises:
        BadParameter: Not one axis of numbers, or fractions for a whole-number parameter.
    """
    axis, code = outgoing(where, values)
    if axis.ndim != 1 or axis.dtype.kind not in _NUMBERS:
        raise BadParameter(
            f"{where} has shape {axis.shape} of {axis.dtype}", hint="sweep over a list of numbers"
        )
    if dtype[:1] in {"i", "u"} and axis.dtype.kind == "f":
        if not bool(np.all(axis == np.rint(axis))):
            raise BadParameter(f"{where} takes whole numbers", hint="round the values yourself")
        return axis.astype("<i8"), "i8"
    return axis, code


def alike(
    one: Mapping[str, Array],
    other: Mapping[str, Array],
    tolerances: Mapping[str, tuple[float, float]],
) -> bool:
    """Return whether two answers agree: names, dtypes, shapes, and values within the tolerances.

    NaN equals NaN. Without a tolerance values must be equal, which 0.0 and -0.0 are.

    Args:
        one: Outputs by name.
        other: The same of another device.
        tolerances: Output -> absolute and relative difference that is allowed.
    """
    if one.keys() != other.keys():
        return False
    for name, array in one.items():
        another = other[name]
        if array.shape != another.shape or array.dtype != another.dtype:
            return False
        atol, rtol = tolerances.get(name, (0.0, 0.0))
        inexact = array.dtype.kind in "fc"
        same = array == another
        if inexact:
            same |= np.isnan(array) & np.isnan(another)
            if atol or rtol:
                with np.errstate(invalid="ignore", over="ignore"):
                    larger = np.maximum(np.abs(array), np.abs(another))
                    close = np.abs(array - another) <= atol + rtol * larger
                same |= close & np.isfinite(larger)
        if not bool(np.all(same)):
            return False
    return True


def extremes_of(axis: Array) -> tuple[float, float]:
    """Return the least and the greatest value; NaN spreads to both and is refused later."""
    return float(axis.min()), float(axis.max())


def cut(axis: Array, places: Array | slice) -> Array:
    """Return some values of an axis, contiguous."""
    return np.ascontiguousarray(axis[places])


def join(parts: Sequence[Array]) -> Array:
    """Return arrays one after the other; whole numbers beside fractions become fractions."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def unravel(start: int, points: int, lengths: Sequence[int]) -> tuple[Array, ...]:
    """Return where consecutive points of a grid lie on each axis; the last axis is the fastest."""
    return unravel_at(np.arange(start, start + points), lengths)


def unravel_at(places: Array, lengths: Sequence[int]) -> tuple[Array, ...]:
    """Return where some points of a grid lie on each axis; the last axis is the fastest."""
    return tuple(np.asarray(place) for place in np.unravel_index(places, tuple(lengths)))


def archive_of(blocks: Sequence[Block]) -> bytes:
    """Return the outputs of a whole job as the bytes of one NPZ archive.

    A single evaluation keeps its shapes; a sweep gets a leading axis and an array ``point``.

    Raises:
        BadParameter: Outputs differ in shape from point to point and do not stack.
    """
    ordered = sorted(blocks, key=lambda block: block.start)
    stacked: dict[str, Array] = {}
    if ordered and not ordered[0].points:
        stacked = dict(ordered[0].arrays())
    elif ordered:
        stacked["point"] = np.arange(sum(block.points for block in ordered))
        try:
            for name in ordered[0].arrays():
                stacked[name] = np.concatenate([block.arrays()[name] for block in ordered])
        except (ValueError, KeyError) as error:
            raise BadParameter(f"the outputs do not stack: {error}") from error
    opened = io.BytesIO()
    np.savez(opened, allow_pickle=False, **stacked)
    return opened.getvalue()


def block_of(data: bytes, points: int) -> Block:
    """Return the one block that an archive of :func:`archive_of` holds.

    Raises:
        StorageCorrupt: The bytes are no such archive.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays: Mapping[str, Array] = {name: archive[name] for name in archive.files}
    except _UNREADABLE as error:
        raise StorageCorrupt(f"the retained result is no archive: {error}") from error
    heads: list[ArrayHead] = []
    frames: list[Buffer] = []
    for name, array in arrays.items():
        if points and name == "point":
            continue
        sent, code = outgoing(name, array)
        heads.append(ArrayHead(name, code, sent.shape))
        frames.append(sent.tobytes())
    block = Block(heads, frames, points=points, where="retained")
    if not heads or not block.fits():
        raise StorageCorrupt(f"the retained result does not hold {points} points")
    return block
