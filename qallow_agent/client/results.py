"""Results: what came back, as views of the very bytes that arrived, built when looked at."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qallow_agent.jobs.manifest import Buffer, Parts
from qallow_agent.jobs.parcels import ArrayHead

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]


class Block:
    """The outputs of one task: of a single evaluation, or of consecutive points of a sweep.

    Args:
        heads: Names, dtypes and shapes of the outputs.
        frames: Their bytes, one buffer a head, already checked against it.
        start: The first point.
        points: How many; 0 for a single evaluation, whose outputs have no axis of points.
        where: ``node-name/device``.
        seconds: How long the device took for all of them.
    """

    __slots__ = ("_arrays", "_frames", "_heads", "points", "seconds", "start", "where")

    def __init__(
        self,
        heads: Sequence[ArrayHead],
        frames: Iterable[Buffer],
        *,
        start: int = 0,
        points: int = 0,
        where: str = "",
        seconds: float = 0.0,
    ) -> None:
        self._heads = heads
        self._frames = frames
        self._arrays: dict[str, Array] | None = None
        self.start = start
        self.points = points
        self.where = where
        self.seconds = seconds

    @property
    def heads(self) -> Sequence[ArrayHead]:
        """Names, dtypes and shapes of the outputs."""
        return self._heads

    @property
    def frames(self) -> Iterable[Buffer]:
        """Their bytes, in the same order."""
        return self._frames

    def lone(self) -> Buffer | None:
        """Return the bytes of the only output, if there is one only and it is small."""
        return self._frames.lone() if isinstance(self._frames, Parts) else None

    @property
    def size_bytes(self) -> int:
        """Bytes of all outputs."""
        return sum(len(frame) for frame in self._frames)

    def parts(self) -> Iterable[tuple[ArrayHead, Buffer]]:
        """Return every output's head with its bytes."""
        return zip(self._heads, self._frames, strict=True)

    def same_bytes(self, other: "Block") -> bool:
        """Return whether another block holds the same outputs, bit for bit."""
        mine, theirs = list(self.parts()), list(other.parts())
        if [_shape_of(head) for head, _ in mine] != [_shape_of(head) for head, _ in theirs]:
            return False
        pairs = zip(mine, theirs, strict=True)
        return all(one == another for (_, one), (_, another) in pairs)

    def arrays(self) -> "Mapping[str, Array]":
        """Return the outputs by name, read-only."""
        if self._arrays is None:
            from qallow_agent.client.arrays import view  # noqa: PLC0415 - brings NumPy

            self._arrays = {
                head.name: view(head, frame)
                for head, frame in zip(self._heads, self._frames, strict=True)
            }
        return self._arrays

    def only(self, row: int) -> "Block":
        """Return a copy of one point's outputs, as a block of its own."""
        arrays = self.arrays()
        rows = {name: array[row : row + 1] for name, array in arrays.items()}
        return Block(
            [ArrayHead(head.name, head.dtype, rows[head.name].shape) for head in self._heads],
            [rows[head.name].tobytes() for head in self._heads],
            start=self.start + row,
            points=1,
            where=self.where,
            seconds=self.seconds / self.points,
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as copies of the bytes."""
        frames = [bytes(each) for each in self._frames]
        about = (self.start, self.points, self.where, self.seconds)
        return (_block, (tuple(self._heads), frames, *about))

    def fits(self) -> bool:
        """Return whether every output has one row a point."""
        if not self.points:
            return True
        return all(head.shape[:1] == (self.points,) for head in self._heads)


class Result:
    """The outputs of one evaluation.

    Every output is an entry of ``values`` and, unless its name is taken here, an attribute:
    ``result.avg_coherence``. The arrays are read-only views; ``.copy()`` one to change it, or to
    let go of the slice it belongs to.

    Args:
        block: Where the outputs are.
        row: Which point of it.
        index: Which point of the whole sweep; 0 for a single evaluation.
    """

    __slots__ = ("_block", "_row", "_values", "index")

    def __init__(self, block: Block, row: int = 0, index: int = 0) -> None:
        self._block = block
        self._row = row
        self._values: dict[str, Array] | None = None
        self.index = index

    @property
    def values(self) -> "dict[str, Array]":
        """Every output by name; those without axes are arrays of shape ``()``."""
        if self._values is None:
            arrays = self._block.arrays()
            if self._block.points:
                self._values = {name: array[self._row, ...] for name, array in arrays.items()}
            else:
                self._values = dict(arrays)
        return self._values

    @property
    def where(self) -> str:
        """``node-name/device`` that computed it."""
        return self._block.where

    @property
    def seconds(self) -> float:
        """Device seconds it took; for a point of a slice its share of the slice."""
        return self._block.seconds / max(self._block.points, 1)

    @property
    def size_bytes(self) -> int:
        """Bytes of all outputs; for a point of a slice its share of the slice."""
        return self._block.size_bytes // max(self._block.points, 1)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as a copy of this result alone, not of the slice it belongs to."""
        if self._block.points:
            return (Result, (self._block.only(self._row), 0, self.index))
        return (Result, (self._block, 0, self.index))

    def __getattr__(self, name: str) -> Any:
        """Return an output."""
        if not name.startswith("_"):
            found = self.values.get(name)
            if found is not None:
                return found
        raise AttributeError(f"no output is called {name!r}; there are {', '.join(self.values)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.values]

    def __repr__(self) -> str:
        return f"<Result {self.index} from {self.where or 'nowhere'}: {', '.join(self.values)}>"


def _shape_of(head: ArrayHead) -> tuple[object, ...]:
    return head.name, head.dtype, head.shape


def _block(heads: Sequence[ArrayHead], frames: Sequence[Buffer], *about: Any) -> Block:
    start, points, where, seconds = about
    return Block(heads, frames, start=start, points=points, where=where, seconds=seconds)
