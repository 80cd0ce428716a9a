"""What a job was given, as one hash: the kernel, the parameters and the points.

It is SHA-256 over ``canonical("qallow/inputs/v1", [kernel, kernel hash, evaluations, given])``.
``given`` is SHA-256 over what each evaluation was given, in the order of their submission: its
scalars as MessagePack with sorted keys or, where there are arrays, the hash of both.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.client.arguments import Arguments
from qallow_agent.client.toll import Toll
from qallow_agent.jobs.parcels import ArrayHead

INPUTS: Final = "qallow/inputs/v1"

_BATCH: Final = 128
_ENCODER = msgspec.msgpack.Encoder(order="sorted")

Shown = list[list[object]]


class InputPrint:
    """The hash of what single evaluations were given.

    Args:
        toll: Hashes what is large.
    """

    def __init__(self, toll: Toll) -> None:
        self._toll = toll
        self._hashed = hashlib.sha256()
        self._count = 0
        self._batch: list[dict[str, Any] | bytes] = []

    def take(self, given: Arguments) -> None:
        """Take in the parameters of an evaluation; its arrays are hashed before it is done."""
        self._count += 1
        if not given.buffers:
            self._batch.append(given.scalars)
            if len(self._batch) >= _BATCH:
                self._flush()
            return
        self._flush()
        self._toll.hash(given.input_bytes, lambda: self._hashed.update(_hash(given)))

    def settle(self) -> None:
        """Wait for arrays that are not hashed yet: whoever owns them may change them soon."""
        self._toll.wait()

    def digest(self, kernel: str, kernel_hash: str) -> bytes:
        """Return the hash."""
        self._flush()
        self._toll.wait()
        return sealed(kernel, kernel_hash, self._count, self._hashed.digest())

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            data = b"".join(map(_ENCODER.encode, batch))
            self._toll.hash(len(data), lambda: self._hashed.update(data))


def hash_sweep(shared: Arguments, axes: Sequence[tuple[ArrayHead, Any]], *, product: bool) -> bytes:
    """Return the hash of what the points of a sweep were given.

    Args:
        shared: What all points share.
        axes: Head and values of each swept parameter.
        product: Whether every combination of the axes is a point.
    """
    swept = [head for head, _ in axes]
    hashed = hashlib.sha256(
        canonical(INPUTS, [shared.scalars, _shown(shared.heads), _shown(swept), product])
    )
    for buffer in (*shared.buffers, *(values for _, values in axes)):
        hashed.update(_bytes_of(buffer))
    return hashed.digest()


def sealed(kernel: str, kernel_hash: str, count: int, given: bytes) -> bytes:
    """Return the hash of what some evaluations were given, with the kernel that got it."""
    return hashlib.sha256(canonical(INPUTS, [kernel, kernel_hash, count, given])).digest()


def _hash(given: Arguments) -> bytes:
    hashed = hashlib.sha256(canonical(INPUTS, [given.scalars, _shown(given.heads)]))
    for buffer in given.buffers:
        hashed.update(_bytes_of(buffer))
    return hashed.digest()


def _shown(heads: Sequence[ArrayHead]) -> Shown:
    return [[head.name, head.dtype, list(head.shape)] for head in heads]


def _bytes_of(buffer: Any) -> memoryview:
    """Return the bytes of an array of NumPy, or of cargo, without a copy."""
    array = getattr(buffer, "array", buffer)
    return memoryview(array).cast("B") if array.nbytes else memoryview(b"")
