"""What a job's work is made of: futures submitted one by one, or the points of one sweep."""

from collections.abc import Iterable
from typing import Any, Protocol

from qallow_agent.base.errors import KernelFailed, QallowError
from qallow_agent.client.futures import JobFuture, copy_of
from qallow_agent.client.points import Points
from qallow_agent.client.results import Block, Result
from qallow_agent.client.stream import End, Gap, Stream
from qallow_agent.jobs.messages import JobProgress
from qallow_agent.jobs.parcels import TaskHead
from qallow_agent.jobs.work import Piece


class Payload(Protocol):
    """Makes tasks of pieces, and gives their outcomes to whoever waits."""

    sweeps: bool
    """Whether it is one sweep, whose results have an axis of points."""

    @property
    def full(self) -> bool:
        """Whether results pile up unread, so that no more should be computed for now."""
        ...

    def task(self, piece: Piece) -> tuple[TaskHead, Iterable[Any]]:
        """Return a piece as it travels: head and arrays."""
        ...

    def finished(self, piece: Piece, block: Block) -> None:
        """Deliver a result."""
        ...

    def failed(self, piece: Piece, error: Exception) -> None:
        """Deliver the reason why there is none."""
        ...

    def recall(self, pieces: Iterable[Piece], block: Block) -> None:
        """Deliver the retained result of the whole job for the pieces that were still open."""
        ...

    def progress(self, progress: JobProgress) -> None:
        """Tell how far the job is."""
        ...

    def end(self, error: Exception | None) -> None:
        """Tell that nothing more will come."""
        ...


class Singles:
    """Evaluations submitted one by one: the token of each piece is its future."""

    sweeps = False
    full = False

    def task(self, piece: Piece) -> tuple[TaskHead, Iterable[Any]]:
        """Return a future's evaluation as it travels."""
        future = _future(piece)
        given = future.arguments
        trail = future.trail
        if trail is not None and trail.tip is not None and not piece.whole:
            state, buffer = trail.tip.as_array()
            head = TaskHead(piece.number, piece.attempt, 1, given.scalars, (), (state,))
            return head, (buffer,)
        head = TaskHead(piece.number, piece.attempt, 1, given.scalars, (), given.heads)
        return head, given.buffers

    def finished(self, piece: Piece, block: Block) -> None:
        """Complete the future."""
        block.points = 0
        _future(piece).settle(Result(block))

    def failed(self, piece: Piece, error: Exception) -> None:
        """Fail the future."""
        _future(piece).settle(None, error)

    def recall(self, pieces: Iterable[Piece], block: Block) -> None:
        """Complete every open future with the one retained result."""
        for piece in pieces:
            self.finished(piece, block)

    def progress(self, progress: JobProgress) -> None:
        """Nobody asks."""

    def end(self, error: Exception | None) -> None:
        """Every future has been told already."""


class Survey:
    """The points of one sweep: every piece is a slice of it.

    Args:
        points: What to evaluate.
        stream: Where results go.
    """

    sweeps = True

    def __init__(self, points: Points, stream: Stream) -> None:
        self._points = points
        self._stream = stream

    @property
    def full(self) -> bool:
        """Whether the reader is far behind."""
        return self._stream.full

    def task(self, piece: Piece) -> tuple[TaskHead, Iterable[Any]]:
        """Return a slice as it travels: its columns and what all points share."""
        columns, buffers = self._points.columns(piece.start, piece.points)
        shared = self._points.fixed
        head = TaskHead(
            piece.number, piece.attempt, piece.points, shared.scalars, columns, shared.heads
        )
        return head, (*buffers, *shared.buffers)

    def finished(self, piece: Piece, block: Block) -> None:
        """Hand a slice's results on, unless they are not those of a slice."""
        if block.fits():
            self._stream.put(block)
            return
        error = KernelFailed(f"{block.where} answered {piece.points} points with other shapes")
        self.failed(piece, error)

    def failed(self, piece: Piece, error: Exception) -> None:
        """Hand the reason on; a slice was halved until the guilty point stood alone: name it."""
        if piece.points == 1 and isinstance(error, QallowError):
            error = copy_of(error, f"point {piece.start}: ")
        self._stream.put(Gap(piece.start, piece.points, error))

    def recall(self, pieces: Iterable[Piece], block: Block) -> None:
        """Hand the retained results on, all at once."""
        del pieces
        self._stream.put(block)

    def progress(self, progress: JobProgress) -> None:
        """Hand it on."""
        self._stream.put(progress)

    def end(self, error: Exception | None) -> None:
        """Close the stream."""
        self._stream.put(End(error))


def _future(piece: Piece) -> JobFuture:
    """Return the future of a piece, which is its token."""
    future = piece.token
    assert isinstance(future, JobFuture)  # noqa: S101 - for the type checker; we put it there
    return future
