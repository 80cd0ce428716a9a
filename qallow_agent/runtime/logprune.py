"""Retention: bodies go by rule, hashes and heads stay for ever, so that proofs outlive entries."""

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.ledger.leaf import parse_leaf
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.tiles import WIDTH, Tile
from qallow_agent.runtime.logaudit import newest
from qallow_agent.runtime.logfiles import PRUNED, LogFiles
from qallow_agent.runtime.store import storage_error, write_atomically


def prune(files: LogFiles, before_ms: int) -> tuple[int, int]:
    """Delete the bundles of a log whose entries are all older; return entries and bytes deleted.

    Only full bundles below the newest head go, from the beginning on. An agent that writes the log
    may run: it never changes a full bundle.

    Args:
        files: The log's folder.
        before_ms: Milliseconds since 1970.

    Raises:
        StorageCorrupt: A bundle does not fit its hashes: it is evidence, and is kept.
        StorageError: The disk failed.
    """
    first = files.pruned() // WIDTH
    end = max(first, (newest(files)[1].size - 1) // WIDTH)
    size_bytes = 0
    for index in range(first, end):
        entries = files.entries(index)
        if tuple(map(leaf_hash, entries)) != files.hashes(0, index):
            path = files.path(Tile(-1, index))
            raise StorageCorrupt(f"{path} does not fit its hashes", hint="run 'ledger verify'")
        if parse_leaf(entries[-1]).stamp.wall_ms >= before_ms:
            end = index
            break
    try:
        write_atomically(files.directory / PRUNED, str(end * WIDTH).encode())
        for index in range(first, end):
            path, tile = files.path(Tile(-1, index)), files.path(Tile(0, index))
            if not tile.exists():
                tile.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(tile, b"".join(files.hashes(0, index)))
            size_bytes += path.stat().st_size
            path.unlink()
    except OSError as error:
        raise storage_error(files.directory, error, files.directory) from error
    return (end - first) * WIDTH, size_bytes
