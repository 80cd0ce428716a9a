"""Gathering a sweep whole: as arrays, or straight into a file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qallow_agent.base.errors import UsageError
from qallow_agent.client.harvest import Array, Harvest
from qallow_agent.client.parquet import check_parquet
from qallow_agent.client.places import open_folder
from qallow_agent.client.points import Points
from qallow_agent.client.results import Block
from qallow_agent.client.tables import ENDINGS, Table, table_of, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping


class Gathering:
    """The results of a sweep as they come, and what becomes of them.

    Args:
        points: What was swept; None when there was nothing.
        spool: A folder for what is too large for memory; None to keep everything there.
    """

    def __init__(self, points: Points | None, spool: Path | None) -> None:
        self._points = points
        self._harvest = Harvest(0 if points is None else points.count, spool)

    def add(self, block: Block) -> None:
        """Take in some results.

        Raises:
            StorageError: They wait on disk, and it is full or failed.
        """
        self._harvest.add(block.start, block.points, block.arrays(), block.where)

    def table(self) -> Table:
        """Return what was gathered."""
        at: Callable[[Array], Mapping[str, Array]] = lambda _: {}  # noqa: E731 - one of two
        if self._points is not None:
            at = self._points.at
        return table_of(self._harvest, at)

    def arrays(self) -> dict[str, Array]:
        """Return what was gathered, in memory."""
        return self.table().arrays()

    def save(self, path: Path) -> list[str]:
        """Write what was gathered; return the outputs that CSV has no place for.

        Raises:
            StorageError: It cannot be written.
        """
        return write_table(path, self.table())


def open_target(path: str | Path) -> Path:
    """Return a file's path, once it is sure that results can be written there.

    Raises:
        UsageError: Its ending names no kind of file that results are written to.
        StorageError: Its folder cannot be made or written.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{target} is no file for results", hint=f"one of {', '.join(ENDINGS)}")
    if ending == ".parquet":
        check_parquet()
    open_folder(target.parent)
    return target
