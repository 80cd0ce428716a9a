"""Places for results: tried before anything is computed, written whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from qallow_agent.base.errors import StorageError, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT)


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
        raise unwritable(directory, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes a path's place, durably, when the block ends without an error.

    Raises:
        StorageFull: No space; the old file is untouched.
        StorageError: It cannot be written.
    """
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as opened:
                yield opened
                opened.flush()
                os.fsync(opened.fileno())
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """Return the error that says why results cannot be written."""
    kind = StorageFull if error.errno in _FULL else StorageError
    why = "it is a file" if isinstance(error, FileExistsError) else error.strerror or str(error)
    return kind(
        f"the results cannot be written to {path}: {why}",
        hint="choose another place, or free space",
    )
