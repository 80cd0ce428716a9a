"""The logbook: a node's own log on its disk, of which nothing is half true.

Order: entries, fdatasync, checkpoint. The growing bundle is the write-ahead log. Hashes are written
when their tile is full, above the leaves also while it grows, so that a start reads no more than
the growing tiles. A history that is not the one that was signed is refused.

When fdatasync fails, the kernel may drop what it could not write and say that all is well the next
time; so nothing is written any more until the files were opened, and thereby read, anew.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from qallow_agent.base.errors import InvariantBroken, StorageCorrupt, StorageError, StorageFull
from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.growth import Growth, Past, widths
from qallow_agent.ledger.log import RESTORE
from qallow_agent.ledger.merkle import EMPTY_ROOT, leaf_hash
from qallow_agent.ledger.note import parse_note
from qallow_agent.ledger.proofs import root_of
from qallow_agent.ledger.tiles import HEIGHT, WIDTH, Tile, TiledTree, pack_entries
from qallow_agent.runtime.logfiles import CHECKPOINT, LogFiles, sound, whole_entries
from qallow_agent.runtime.store import write_atomically

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Logbook:
    """Writes one log's folder, which only one agent may use at a time.

    Args:
        directory: The folder; made with mode 0700 when missing.
    """

    def __init__(self, directory: Path) -> None:
        self.files = LogFiles(directory)
        self._growth = Growth()
        self._descriptor = -1
        self._length = 0
        self._broken = ""

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return self._growth.size

    def read(self, tile: Tile) -> bytes:
        """Return a durable tile's bytes; level -1 gives a bundle cut to the tile's width.

        Raises:
            StorageCorrupt: The files do not hold it.
        """
        return self.files.read(tile)

    def close(self) -> None:
        """Close the growing bundle."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- opening ----------------------------------------------------------------------------------

    def open(self) -> Past:
        """Return what the log holds, after checking it against its newest signed head.

        Raises:
            StorageCorrupt: What was signed is damaged or missing; the message names file and entry.
            StorageFull: No space to write what a crash left unsigned.
            StorageError: The disk failed.
        """
        try:
            self.files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.files.head()
            signed = found[1].size if found else 0
            bundles, last = self._recover(signed)
            size = bundles * WIDTH + len(last)
            self._growth = Growth(size, self._levels(bundles, last))
        except OSError as error:
            self._refuse(error, self.files.directory)
        if found is None:
            return Past(size, self._growth.levels)
        root = root_of(signed, TiledTree(signed, self.files.read).node) if signed else EMPTY_ROOT
        if root != found[1].root:
            raise StorageCorrupt(
                f"the {signed} entries in {self.files.directory} are not those that were signed"
                f"{self._culprit(signed)}",
                hint=RESTORE,
            )
        return Past(size, self._growth.levels, found[0].encode())

    def _recover(self, signed: int) -> tuple[int, list[bytes]]:
        """Return how many full bundles there are, and the entries of the growing one."""
        index = max(signed - 1, 0) // WIDTH
        while True:
            kept = self._recover_bundle(index, signed)
            if len(kept) < WIDTH:
                return index, kept
            index += 1

    def _recover_bundle(self, index: int, signed: int) -> list[bytes]:
        path = self.files.path(Tile(-1, index))
        data = self.files.bundle(index)
        kept: list[bytes] = []
        for entry in whole_entries(data):
            if not sound(entry):
                break
            kept.append(entry)
        first = index * WIDTH
        if first + len(kept) < signed and len(kept) < WIDTH:
            raise StorageCorrupt(
                f"entry {first + len(kept)} of {signed} that were signed is damaged or missing in "
                f"{path}",
                hint=RESTORE,
            )
        whole = pack_entries(kept)
        if first + len(kept) > signed or data != whole:
            # What is not signed may stand in the kernel's memory only, after an fsync that failed
            # in an earlier run; and a torn end has to go. So it is written once more.
            write_atomically(path, whole)
        return kept

    def _levels(self, bundles: int, last: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        levels = [tuple(leaf_hash(entry) for entry in last)]
        for level in range(1, len(widths(bundles)) + 1):
            index, width = divmod(bundles >> (HEIGHT * (level - 1)), WIDTH)
            levels.append(self.files.hashes(level, index, width))
        return levels if bundles or last else []

    def _culprit(self, signed: int) -> str:
        """Return which entry does not fit its stored hash, as the end of a sentence."""
        for index in range(-(-signed // WIDTH)):
            width = min(WIDTH, signed - index * WIDTH)
            made = [leaf_hash(entry) for entry in self.files.entries(index, width)]
            for at, (here, kept) in enumerate(
                zip(made, self.files.hashes(0, index, width), strict=True)
            ):
                if here != kept:
                    path = self.files.path(Tile(-1, index))
                    return f": entry {index * WIDTH + at} in {path} was changed"
        return ""

    # --- writing ----------------------------------------------------------------------------------

    def append(self, first: int, entries: Sequence[bytes], head: bytes = b"") -> None:
        """Make entries durable, then the signed head that covers them.

        Args:
            first: Index of the first entry.
            entries: In order.
            head: A signed checkpoint over everything up to the last one; empty for none.

        Raises:
            StorageFull: No space; ``size`` says up to where entries are durable, and trying again
                from there is right.
            StorageError: The disk failed; nothing is written any more until it is opened anew.
            InvariantBroken: The head is not that of these entries.
        """
        if self._broken:
            raise StorageError(self._broken, hint="check the disk, then start the agent again")
        if first != self.size:
            raise StorageError(
                f"entry {first} waits for entry {self.size}, which was not written", retryable=True
            )
        at = 0
        while at < len(entries):
            room = WIDTH - self.size % WIDTH
            self._grow(entries[at : at + room])
            at += room
        if head:
            self._keep(head)

    def _grow(self, chunk: Sequence[bytes]) -> None:
        """Make entries durable that fit into the growing bundle."""
        index, held = divmod(self.size, WIDTH)
        path = self.files.path(Tile(-1, index))
        data = pack_entries(chunk)
        try:
            descriptor = self._bundle(path, fresh=not held)
        except OSError as error:
            self._refuse(error, path)
        try:
            _write(descriptor, data, self._length)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(descriptor, self._length)
            self._refuse(error, path)
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            self._fail(error, path)
        self._length += len(data)
        for entry in chunk:
            for tile, hashes in self._growth.append(leaf_hash(entry)):
                self._store(tile, hashes)
        if self.size % WIDTH == 0:
            self._store_growing()
            self.close()

    def _bundle(self, path: Path, *, fresh: bool) -> int:
        """Return the descriptor of the growing bundle, and know its length."""
        if self._descriptor < 0:
            known = path.parent.is_dir()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
            self._descriptor = os.open(path, flags, 0o600)
            self._length = os.fstat(self._descriptor).st_size
            if fresh:
                try:
                    _sync_folders(
                        path.parent, path.parent if known else self.files.directory.parent
                    )
                except OSError:
                    self.close()
                    raise
        return self._descriptor

    def _store(self, tile: Tile, hashes: bytes) -> None:
        """Write a tile of hashes; no space for one is no loss, since it can be made anew."""
        path = self.files.path(tile)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, hashes)
        except OSError as error:
            if error.errno not in _FULL:
                self._fail(error, path)

    def _store_growing(self) -> None:
        """Write the growing tiles above the leaves, and delete what they grew from."""
        for level, hashes in enumerate(self._growth.levels):
            if level == 0 or not hashes:
                continue
            index, _ = self._growth.growing(level)
            self._store(Tile(level, index, len(hashes)), b"".join(hashes))
            with suppress(OSError):
                self.files.path(Tile(level, index, len(hashes) - 1)).unlink()

    def _keep(self, head: bytes) -> None:
        checkpoint = parse_checkpoint(parse_note(head).text)
        if (checkpoint.size, checkpoint.root) != (self.size, self._growth.root()):
            raise InvariantBroken(f"a head of {checkpoint.size} entries is not that of the log")
        path = self.files.directory / CHECKPOINT
        try:
            write_atomically(path, head)
        except OSError as error:
            self._refuse(error, path)

    def _refuse(self, error: OSError, path: Path) -> NoReturn:
        if error.errno in _FULL:
            raise StorageFull(
                f"cannot write {path}: {error.strerror}",
                hint=f"free space on the disk of {self.files.directory}",
            ) from error
        self._fail(error, path)

    def _fail(self, error: OSError, path: Path) -> NoReturn:
        self._broken = f"cannot write {path}: {error.strerror}"
        raise StorageError(
            self._broken, hint="check the disk, then start the agent again"
        ) from error


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset += written
        view = view[written:]


def _sync_folders(folder: Path, top: Path) -> None:
    """Make the names in a folder durable, and in every folder above it up to ``top``."""
    for each in (folder, *folder.parents):
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if each == top:
            break
