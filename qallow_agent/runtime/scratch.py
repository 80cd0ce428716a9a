"""Scratch: each runner's own folder for temporary files, gone soon after the runner."""

import fcntl
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from qallow_agent.base.units import Seconds, show_bytes
from qallow_agent.runtime.fences import Tenant

_PREFIX: Final = "qallow-runners-"
_FAREWELL_S: Final = 2.0
_BLOCK_BYTES: Final = 512
"""Source: stat(2)."""

MOST_FILES: Final = 2_000
"""The agent looks at every runner's folder four times a second: this many take it 2 ms."""


def make_scratch(lodger: Tenant) -> tuple[str, int]:
    """Make the folder in which the runners of one nursery have theirs.

    Folders of agents that were killed are removed.

    Returns:
        The folder, and a descriptor whose lock marks it as in use until it is closed.

    Raises:
        OSError: There is no folder for temporary files, or no space in it.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if left.lstat().st_uid == lodger.uid:
                os.close(_claim(str(left)))
                clear_away(str(left), wait_s=0.0)
    folder = tempfile.mkdtemp(prefix=_PREFIX)
    mark = _claim(folder)
    if lodger.changes:
        os.chown(folder, lodger.uid, lodger.gid)
    return folder, mark


def _claim(folder: str) -> int:
    """Return a descriptor that locks a folder; its owner's end unlocks it, however it comes.

    Raises:
        OSError: It is in use.
    """
    mark = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(mark)
        raise
    return mark


def move_in(folder: str) -> None:
    """Make a folder and use it for temporary files and as the working directory, from now on."""
    Path(folder).mkdir(mode=0o700)
    os.chdir(folder)
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = folder


def excess(folder: str, limit_bytes: int) -> str:
    """Return in words what a runner has too much of in its folder; empty if nothing.

    Counts as many files as one look may take, so more than that are too many. What vanishes
    meanwhile counts nothing, and neither do files that were deleted while open.
    """
    total_bytes, count, folders = 0, 0, [folder]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                count += 1
                if count > MOST_FILES:
                    return f"it made more than {MOST_FILES} temporary files"
                with suppress(OSError):
                    total_bytes += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    if total_bytes > limit_bytes:
        return f"its temporary files take more than {show_bytes(limit_bytes)}"
    return ""


def empty(folder: str) -> bool:
    """Remove a folder if nothing is left in it; return whether it is gone."""
    try:
        Path(folder).rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def clear_away(folder: str, wait_s: Seconds = _FAREWELL_S) -> None:
    """Remove a folder with all that is in it, without waiting long: the rest goes on by itself."""
    if folder and not empty(folder):
        remover = threading.Thread(target=shutil.rmtree, args=(folder, True), daemon=True)
        remover.start()
        remover.join(wait_s)
