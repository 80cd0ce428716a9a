"""The trail of one run: its checkpoints, each proven to follow from the one before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from qallow_agent.base.errors import CheckpointCorrupt, JobNotFound
from qallow_agent.client.book import KernelBook
from qallow_agent.jobs.parcels import STATE, ArrayHead
from qallow_agent.jobs.thinning import surplus
from qallow_agent.kernels.state import blob_digest, decode_checkpoint

_MOST: Final = 8
_MOST_BYTES: Final = 256 << 20
_MOST_KNOWN: Final = 10_000
"""Digests remembered of states that were let go: what follows from them is still believed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One checkpoint: where in the run it is, its digest and that of the one before, its blob."""

    epoch: int
    tick: int
    digest: str
    previous: str
    blob: bytes

    def as_array(self) -> tuple[ArrayHead, Any]:
        """Return it as the array with which a task goes on from here."""
        from qallow_agent.client.arrays import view  # noqa: PLC0415 - brings NumPy
        from qallow_agent.client.cargo import loaded  # noqa: PLC0415 - needs it

        head = ArrayHead(STATE, "u1", (len(self.blob),))
        return head, loaded(view(head, self.blob))


class Trail:
    """The checkpoints of one run that are worth keeping; the newest is where it goes on.

    Args:
        kernel_hash: Which kernel runs.
        scalars: With which parameters.
    """

    def __init__(self, kernel_hash: str, scalars: Mapping[str, Any]) -> None:
        self.scalars = dict(scalars)
        """The parameters of the run."""
        self._kernel_hash = kernel_hash
        self._marks: list[Mark] = []
        self._ticks: dict[str, int] = {"": 0}
        """Of every checkpoint believed so far, by its digest."""

    @property
    def tip(self) -> Mark | None:
        """The newest."""
        return self._marks[-1] if self._marks else None

    @property
    def marks(self) -> tuple[Mark, ...]:
        """All that are kept, oldest first."""
        return tuple(self._marks)

    def add(self, blob: bytes, *, root: bool = False) -> Mark | None:
        """Keep a checkpoint; None when it is of an earlier tick than one that is kept.

        Args:
            blob: As it came.
            root: It was kept elsewhere, and what came before it is not here.

        Raises:
            CheckpointCorrupt: It is damaged, of another run, or follows from none that is known.
        """
        found = decode_checkpoint(blob, kernel_hash=self._kernel_hash)
        name = f"the checkpoint of epoch {found.epoch} at tick {found.tick}"
        if dict(found.scalars) != self.scalars:
            raise CheckpointCorrupt(f"{name} is of a run with other parameters")
        before = self._ticks.get(found.previous, 0 if root else None)
        if before is None or found.tick <= before:
            raise CheckpointCorrupt(f"{name} follows from none that is known")
        digest = blob_digest(blob)
        if len(self._ticks) >= _MOST_KNOWN:
            del self._ticks[next(digest for digest in self._ticks if digest)]
        self._ticks[digest] = found.tick
        if self._marks and self._marks[-1].tick >= found.tick:
            return None
        mark = Mark(found.epoch, found.tick, digest, found.previous, blob)
        self._marks.append(mark)
        self._thin()
        return mark

    def blob(self, epoch: int) -> bytes:
        """Return the checkpoint of an epoch.

        Raises:
            JobNotFound: It is not kept; the hint names those that are.
        """
        for mark in self._marks:
            if mark.epoch == epoch:
                return mark.blob
        there = ", ".join(str(mark.epoch) for mark in self._marks)
        raise JobNotFound(f"there is no checkpoint of epoch {epoch}", hint=f"there are: {there}")

    def doubt(self) -> Mark | None:
        """Let go of the newest, which was no good, and return it."""
        return self._marks.pop() if self._marks else None

    def _thin(self) -> None:
        most = _MOST
        while True:
            for place in reversed(surplus([mark.tick for mark in self._marks], most)):
                del self._marks[place]
            most = len(self._marks) - 1
            if most < 1 or sum(len(mark.blob) for mark in self._marks) <= _MOST_BYTES:
                return


def retrace(blob: bytes, book: KernelBook) -> tuple[str, Trail]:
    """Return the kernel of a checkpoint and the trail that goes on from it.

    Args:
        blob: The checkpoint.
        book: The kernels known here.

    Raises:
        CheckpointCorrupt: It is damaged, or no kernel here is the one it was taken of.
    """
    found = decode_checkpoint(blob)
    kernel = book.called(found.kernel_hash)
    if not kernel:
        raise CheckpointCorrupt(
            f"the checkpoint at tick {found.tick} is of kernel {found.kernel_hash[:12]}, which is "
            "not installed here",
            hint="its code changed since, or belongs to a plug-in: run the job again",
        )
    trail = Trail(found.kernel_hash, found.scalars)
    trail.add(blob, root=True)
    return kernel, trail
