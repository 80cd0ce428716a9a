"""Putting a damaged log back from a copy, without ever giving it a second history."""

import os
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from qallow_agent.base.errors import ConfigError, StorageCorrupt
from qallow_agent.ledger.checkpoint import Checkpoint
from qallow_agent.ledger.proofs import root_of
from qallow_agent.ledger.signing import NoteKey
from qallow_agent.ledger.tiles import WIDTH, Tile, TiledTree
from qallow_agent.runtime.logaudit import audit
from qallow_agent.runtime.logfiles import CHECKPOINT, LogFiles
from qallow_agent.runtime.mirrors import MIRRORED
from qallow_agent.runtime.store import storage_error


def restore(
    own: LogFiles, copy: LogFiles, keys: Sequence[NoteKey], seen: int | None
) -> tuple[Checkpoint, Path | None]:
    """Replace a log's files by those of a copy; return its head, and where the old files went.

    Args:
        own: The damaged log; whoever calls holds the state directory's lock.
        copy: A mirror's folder or an export.
        keys: The log's own.
        seen: The newest size that anybody saw of the log, when its checkpoint cannot tell.

    Raises:
        ConfigError: The copy is older than what was signed, so that going on from it would fork.
        StorageCorrupt: The copy is damaged, or of another history.
        BadSignature: It is not signed by the log's key.
        StorageError: The disk failed; the old files are where they were, or beside.
    """
    head = audit(copy, keys).checkpoint
    newest = _newest(own, copy, head, seen)
    if head.size < newest:
        raise ConfigError(
            f"the copy has {head.size} entries, {newest} were signed: going on from it would be a "
            "second history of this log",
            hint="find a newer copy at another mirror; or begin a new log: move the old one, "
            "ledger.key and rooms/ledger away",
        )
    fresh = own.directory.with_name(own.directory.name + ".new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        _copy(copy, fresh, head.size)
        os.sync()
        away = _put_away(own.directory)
        fresh.rename(own.directory)
        if away is not None and (away / MIRRORED).exists():
            (away / MIRRORED).rename(own.directory / MIRRORED)  # others' logs are not damaged
    except OSError as error:
        raise storage_error(fresh, error, own.directory.parent) from error
    return head, away


def _newest(own: LogFiles, copy: LogFiles, head: Checkpoint, seen: int | None) -> int:
    """Return how many entries were signed for all that is known."""
    try:
        found = own.head()
    except StorageCorrupt:
        found = None
    if found is None:
        if seen is None:
            raise ConfigError(
                "the log's own checkpoint is gone, so nobody here knows how much was signed",
                hint="ask its witnesses for the newest size they saw, and give it as --seen SIZE",
            )
        return seen
    mine = found[1]
    if 0 < mine.size <= head.size:
        tree = TiledTree(mine.size, copy.read)
        if root_of(mine.size, tree.node) != mine.root:
            raise StorageCorrupt(
                f"{copy.directory} holds another history of this log",
                hint="keep both: two histories under one key are evidence",
            )
    return max(mine.size, seen or 0)


def _copy(copy: LogFiles, target: Path, size: int) -> None:
    """Write bundles and checkpoint; hashes are made anew when they are read."""
    for index in range(-(-size // WIDTH)):
        width = min(WIDTH, size - index * WIDTH)
        path = LogFiles(target).path(Tile(-1, index))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(copy.read(Tile(-1, index, width)))
        path.chmod(0o600)
        if width == WIDTH:
            tile = LogFiles(target).path(Tile(0, index))
            tile.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            tile.write_bytes(copy.read(Tile(0, index)))
            tile.chmod(0o600)
    target.chmod(0o700)
    (target / CHECKPOINT).write_bytes((copy.directory / CHECKPOINT).read_bytes())
    (target / CHECKPOINT).chmod(0o600)


def _put_away(folder: Path) -> Path | None:
    """Rename a folder out of the way; return its new name, None when there was none."""
    if not folder.exists():
        return None
    for number in count(1):
        away = folder.with_name(f"{folder.name}.damaged{number}")
        if not away.exists():
            folder.rename(away)
            return away
    return None
