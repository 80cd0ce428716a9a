"""Scratch: each runner's own folder for temporary files, gone soon after the runner."""

import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from qallow_agent.runtime.fences import Tenant

_PREFIX: Final = "qallow-scratch-"
_FAREWELL_S: Final = 2.0
_LOOKED_AT: Final = 2_000
"""Entries counted at a look: a folder with more is measured by its first ones."""


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


def used_bytes(folder: str) -> int:
    """Return about how much the files in a folder take; what vanishes meanwhile takes nothing."""
    total_bytes, looked_at, folders = 0, 0, [folder]
    while folders and looked_at < _LOOKED_AT:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                looked_at += 1
                with suppress(OSError):
                    total_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    return total_bytes


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
