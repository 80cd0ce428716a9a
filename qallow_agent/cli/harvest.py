"""Results on their way to a folder: gathered by point, written whole or not at all."""

import errno
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import StorageError, StorageFull
from qallow_agent.runtime.store import write_atomically

Array = npt.NDArray[Any]

RESULTS_NAME = "results.npz"
SUMMARY_NAME = "summary.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Harvest:
    """Gathers the outputs of a job's points into arrays with a leading axis of points.

    Args:
        points: How many points there will be.
    """

    def __init__(self, points: int) -> None:
        self.points = points
        self.count = 0
        """How many points have their results."""
        self.where: Counter[str] = Counter()
        self._done = np.zeros(points, dtype=bool)
        self._columns: dict[str, Array] = {}

    def add(self, start: int, points: int, values: Mapping[str, Any], where: str) -> None:
        """Take in the outputs of consecutive points; the first result of a point stays."""
        rows = slice(start, start + points)
        fresh = ~self._done[rows]
        new = int(fresh.sum())
        if not new:
            return
        self._done[rows] = True
        self.count += new
        self.where[where] += new
        for name, value in values.items():
            column = self._columns.get(name)
            if column is None:
                column = np.zeros((self.points, *value.shape[1:]), dtype=value.dtype)
                self._columns[name] = column
            if new == points:
                column[rows] = value
            else:
                column[rows][fresh] = value[fresh]

    def arrays(self) -> dict[str, Array]:
        """Return what was gathered: ``point`` names the finished points, in order."""
        chosen = np.flatnonzero(self._done)
        everything = self.count == self.points
        return {"point": chosen} | {
            name: column if everything else column[chosen] for name, column in self._columns.items()
        }


def open_folder(directory: Path) -> None:
    """Make the folder for results and see that it takes files, before anything is computed.

    Raises:
        StorageFull: No space.
        StorageError: The folder cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise _unwritable(directory, error) from error


def write_results(
    directory: Path, arrays: Mapping[str, Array], summary: Mapping[str, Any]
) -> list[Path]:
    """Write ``results.npz`` and then ``summary.json`` into a folder, each atomically.

    Raises:
        StorageFull: No space; files that were there before are untouched.
        StorageError: The folder cannot be made or written.
    """
    results, text = directory / RESULTS_NAME, directory / SUMMARY_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_npz(results, arrays)
        body = msgspec.json.format(msgspec.json.encode(summary), indent=2)
        write_atomically(text, body + b"\n", mode=0o644)
    except OSError as error:
        raise _unwritable(directory, error) from error
    return [results, text]


def _unwritable(directory: Path, error: OSError) -> StorageError:
    kind = StorageFull if error.errno in _FULL else StorageError
    why = "it is a file" if isinstance(error, FileExistsError) else error.strerror or str(error)
    return kind(
        f"the results cannot be written to {directory}: {why}",
        hint="choose another folder with -o, or free space",
    )


def _write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as opened:
            np.savez(opened, allow_pickle=False, **arrays)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
