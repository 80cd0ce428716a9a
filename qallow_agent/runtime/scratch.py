"""Scratch: each runner's own folder for temporary files, gone soon after the runner."""

import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from qallow_agent.base.units import show_bytes
from qallow_agent.runtime.fences import Tenant

_PREFIX: Final = "qallow-scratch-"
_FAREWELL_S: Final = 2.0
_BLOCK_BYTES: Final = 512
"""Source: stat(2)."""

MOST_FILES: Final = 2_000
"""The agent looks at every runner's folder four times a second: this many take it 2 ms."""


def make_scratch(lodger: Tenant) -> str:
    """Make the folder in which the runners of one nursery have theirs.

    Raises:
        OSError: There is no folder for temporary files, or no space in it.
    """
    folder = tempfile.mkdtemp(prefix=_PREFIX)
    if lodger.changes:
        os.chown(folder, lodger.uid, lodger.gid)
    return folder


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


def clear_away(folder: str) -> None:
    """Remove a folder with all that is in it, without waiting long: the rest goes on by itself."""
    if folder and not empty(folder):
        remover = threading.Thread(target=shutil.rmtree, args=(folder, True), daemon=True)
        remover.start()
        remover.join(_FAREWELL_S)
