"""An audit of a log's folder: every entry read, every hash made anew, every signature checked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qallow_agent.base.errors import Malformed, StorageCorrupt, StorageError, UsageError
from qallow_agent.ledger.checkpoint import Checkpoint
from qallow_agent.ledger.growth import Growth
from qallow_agent.ledger.leaf import Leaf, parse_leaf
from qallow_agent.ledger.log import RESTORE
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.note import Note, verified
from qallow_agent.ledger.policy import TrustPolicy
from qallow_agent.ledger.proofs import root_of
from qallow_agent.ledger.signing import NoteKey
from qallow_agent.ledger.tiles import WIDTH, Tile, TiledTree, tiles_of, whole_entries
from qallow_agent.runtime.logfiles import CHECKPOINT, PRUNED, LogFiles
from qallow_agent.runtime.store import storage_error, write_atomically

KEYS = "vkey"
"""Where an export keeps the log's verifier keys, one a line."""


@dataclass(slots=True)
class Findings:
    """What an audit found; it ends at the first thing that is wrong.

    Args:
        checkpoint: The newest signed head.
        signers: Names of the known keys that signed it.
        strangers: Names of further signatures, which nobody here can check.
        kinds: How many entries of which kind.
        size_bytes: Of all entries.
        first: The first leaf.
        last: The last one.
        unsigned: Entries beyond the head, which no signature covers yet.
        pruned: Entries that were deleted by rule, of which only the hashes are proved.
    """

    checkpoint: Checkpoint
    signers: tuple[str, ...]
    strangers: tuple[str, ...]
    kinds: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    first: Leaf | None = None
    last: Leaf | None = None
    unsigned: int = 0
    pruned: int = 0


def audit(files: LogFiles, known: Sequence[NoteKey], policy: TrustPolicy | None = None) -> Findings:
    """Return what a log holds, after proving all of it.

    Args:
        files: The log's folder.
        known: Keys whose signatures are checked; one at least must have signed.
        policy: What the head must satisfy beyond that.

    Raises:
        StorageCorrupt: An entry, a tile or the head is damaged, missing or not what was signed.
        BadSignature: The head is not signed as it should be.
    """
    note, checkpoint = newest(files)
    if policy is not None:
        policy.check(note)
    found = _signed(note, checkpoint, known)
    growth = Growth()
    found.pruned = files.pruned()
    for index in range(found.pruned // WIDTH):
        for each in files.hashes(0, index):
            growth.append(each)  # proved by the root, like all others
    for index in range(found.pruned // WIDTH, -(-checkpoint.size // WIDTH)):
        for entry in files.entries(index, min(WIDTH, checkpoint.size - index * WIDTH)):
            _take(entry, found, growth.size, files.path(Tile(-1, index)))
            for tile, hashes in growth.append(leaf_hash(entry)):
                if files.read(tile) != hashes:
                    raise _differs(files, tile, hashes)
    if growth.root() != checkpoint.root:
        raise StorageCorrupt(
            f"the {checkpoint.size} entries in {files.directory} do not give the signed root",
            hint=RESTORE,
        )
    last = checkpoint.size // WIDTH
    found.unsigned = max(0, len(whole_entries(files.bundle(last))) - checkpoint.size % WIDTH)
    return found


def newest(files: LogFiles) -> tuple[Note, Checkpoint]:
    """Return the newest signed head of a log.

    Raises:
        UsageError: There is none.
        StorageCorrupt: It is no checkpoint.
    """
    found = files.head()
    if found is None:
        raise UsageError(
            f"{files.directory} holds no signed log: {CHECKPOINT} is missing",
            hint="name the folder that holds 'checkpoint' and 'tile'; a new node has none before "
            "its first entry",
        )
    return found


def export(files: LogFiles, target: Path, keys: Sequence[NoteKey]) -> tuple[Checkpoint, int]:
    """Copy a log into a folder that any client of C2SP tlog-tiles reads; return head and new tiles.

    What an earlier export left there is continued, if the log does.

    Raises:
        StorageCorrupt: The log is damaged, or the folder holds another one.
        StorageError: The folder cannot be written.
    """
    note, checkpoint = newest(files)
    tree = TiledTree(checkpoint.size, files.read)
    if checkpoint.size and root_of(checkpoint.size, tree.node) != checkpoint.root:
        raise StorageCorrupt(f"{files.directory} does not give the signed root", hint=RESTORE)
    before = LogFiles(target).head()
    after = _continued(before[1], checkpoint, files, target) if before else 0
    written, pruned = 0, files.pruned()
    try:
        for tile in tiles_of(checkpoint.size, after=after):
            if tile.level < 0 and tile.index * WIDTH < pruned:
                continue
            path = target / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files.read(tile))
            written += 1
        target.mkdir(parents=True, exist_ok=True)
        if pruned:
            (target / PRUNED).write_text(str(pruned))
        (target / KEYS).write_text("".join(f"{key.encode()}\n" for key in keys))
        write_atomically(target / CHECKPOINT, note.encode(), 0o644)
    except OSError as error:
        raise storage_error(target, error, target) from error
    return checkpoint, written


def _signed(note: Note, checkpoint: Checkpoint, known: Sequence[NoteKey]) -> Findings:
    signers = verified(note, known)
    checked = {(key.name, key.key_id) for key in known}
    strangers = tuple(
        each.name for each in note.signatures if (each.name, each.key_id) not in checked
    )
    names = tuple(f"{key.name} ({key.kind.name.lower()})" for key in known if key in signers)
    return Findings(checkpoint, names, strangers)


def _take(entry: bytes, found: Findings, index: int, path: Path) -> None:
    try:
        leaf = parse_leaf(entry)
    except Malformed as error:
        raise StorageCorrupt(f"entry {index} in {path}: {error.message}", hint=RESTORE) from error
    if leaf.node != found.checkpoint.origin.rpartition("/")[2]:
        raise StorageCorrupt(f"entry {index} in {path} is of node {leaf.node}", hint=RESTORE)
    found.first = found.first or leaf
    found.last = leaf
    found.kinds[leaf.kind.name.lower()] += 1
    found.size_bytes += len(entry)


def _differs(files: LogFiles, tile: Tile, hashes: bytes) -> StorageError:
    kept = files.read(tile)
    at = next(at for at in range(0, len(hashes), 32) if kept[at : at + 32] != hashes[at : at + 32])
    place = tile.index * WIDTH + at // 32
    what = f"entry {place}" if tile.level == 0 else f"hash {place} of level {tile.level}"
    return StorageCorrupt(
        f"{what} does not fit its hash in {files.path(tile)}: one of them was changed",
        hint=RESTORE,
    )


def _continued(before: Checkpoint, now: Checkpoint, files: LogFiles, target: Path) -> int:
    """Return how many entries an earlier export has."""
    same = before.origin == now.origin and before.size <= now.size
    if same and before.size:
        tree = TiledTree(before.size, files.read)
        same = root_of(before.size, tree.node) == before.root
    if not same:
        raise StorageCorrupt(
            f"{target} holds another log, or another history of it: {before.origin} with "
            f"{before.size} entries",
            hint="export into an empty folder, and keep this one: two histories are evidence",
        )
    return before.size
