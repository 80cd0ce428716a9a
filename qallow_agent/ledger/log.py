"""This node's own log: gathers entries, signs one head an epoch, and proves what it holds.

Nothing is said of a head before it is durable with everything it covers: the driver answers each
Append with LogKept, and only then is HeadSigned announced. Entries that could not be written are
kept in order and tried again, so the tree never has two futures within one run.
"""

from collections.abc import Callable
from math import isfinite

from qallow_agent.base.errors import InvariantBroken, StorageCorrupt, UnknownKind, WireError
from qallow_agent.base.hlc import HybridClock
from qallow_agent.base.ids import MeshId, NodeId, Sender
from qallow_agent.base.keys import LatticeKey, SigningKey, derive
from qallow_agent.base.machine import Announce, Append, Effect, Instant, Persist, soonest
from qallow_agent.base.message import Message, kind_of
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.checkpoint import Checkpoint, parse_checkpoint
from qallow_agent.ledger.growth import Growth, Past
from qallow_agent.ledger.leaf import NEVER_US, NO_POLICY, Leaf, LeafKind
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.messages import HeadSigned, LogClosing, LogFailed, LogKept
from qallow_agent.ledger.note import Note, parse_note, verified
from qallow_agent.ledger.proofs import prove_consistency, prove_inclusion
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.ledger.signing import NoteKey, cosign, cosigner_key, log_key, sign_checkpoint
from qallow_agent.ledger.tiles import HEIGHT, WIDTH, Tile, TiledTree, unpack_entries

RETRY_S: Seconds = 5.0
"""How long after a full disk the log tries again."""

MAX_WAITING_BYTES = 16 << 20
"""Entries beyond this wait for no disk; they are refused, and ``trouble`` says so."""

RESTORE = (
    "restore ledger.key and the log's folder from a mirror or a backup; or, giving the history up, "
    "move away that folder, ledger.key and rooms/ledger"
)
"""A key that signed one history must not sign another: witnesses would take it for a fork."""

Read = Callable[[Tile], bytes]
"""Tile -> its bytes; level -1 gives the bundle of entries, cut to the tile's width."""


def origin_of(mesh: MeshId, node: NodeId) -> str:
    """Return the name of a node's log."""
    return f"qallow-agent/{mesh}/{node}"


def keys_of(seed: bytes, origin: str) -> tuple[NoteKey, NoteKey]:
    """Return the public halves of what signs a log's heads: Ed25519 and ML-DSA-44."""
    key, lattice = _signers(seed)
    return log_key(origin, key), cosigner_key(origin, lattice)


def _signers(seed: bytes) -> tuple[SigningKey, LatticeKey]:
    return SigningKey(derive(seed, "log")), LatticeKey(derive(seed, "log-lattice"))


def mark_of(mesh: MeshId) -> str:
    """Return the name under which a node remembers that its log of a mesh has signed heads."""
    return f"ledger/{mesh}"


def no_statement(_: Instant) -> bytes | None:
    """Return nothing to state at the end of an epoch."""
    return None


class Log:
    """The log of one node.

    Args:
        node: Whose it is.
        mesh: Of which mesh; another mesh is another log.
        seed: The secret that its keys are derived from.
        settings: How often it signs.
        past: What its storage found, and whether it has ever signed anything.
        read: Reads tiles and bundles that are durable; immutable data.
        clock: Stamps the entries.
        bound: How far this node's wall clock may be from the truth now; infinite when unknown.

    Raises:
        StorageCorrupt: The newest checkpoint is not of this log or not by its key, or is gone.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        mesh: MeshId,
        seed: bytes,
        settings: LedgerSettings,
        past: Past,
        read: Read,
        clock: HybridClock,
        bound: Callable[[Instant], Seconds],
    ) -> None:
        self.origin = origin_of(mesh, node)
        self.clock = clock
        self.statement: Callable[[Instant], bytes | None] = no_statement
        self.policy = NO_POLICY
        """Digest of the policy in force; stands in every leaf."""
        self.head: Note | None = None
        self.trouble = ""
        """Why the log is not written; empty while all is well."""
        self.refused = 0
        """Entries that were not added since the disk last took any."""
        self.stopped = False
        """Whether the disk lost what it said it had; nothing is signed then until a restart."""
        self._node = node
        self._key, self._lattice = _signers(seed)
        self.keys = keys_of(seed, self.origin)
        """The public halves of what signs the heads: Ed25519 and ML-DSA-44."""
        self._settings = settings
        self._read = read
        self._bound = bound
        self._growth = Growth(past.size, past.levels)
        self._fresh: dict[Tile, bytes] = {}
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._kept = past.size
        self._said = past.size
        self._signed = 0
        self._due_s: Seconds | None = None
        self._lattice_due_s: Seconds | None = None
        self._lattice_s = -float("inf")
        self._mark = mark_of(mesh)
        self._marked = past.began
        self._take_up(past)

    def _take_up(self, past: Past) -> None:
        """Go on from what the storage found."""
        if past.began and not past.head:
            raise StorageCorrupt(
                "this node's log is gone: it has signed heads, and its folder holds none",
                hint=RESTORE,
            )
        if past.head:
            self.head = _own_head(past, self.keys, self.origin)
            self._signed = parse_checkpoint(self.head.text).size
            if self._settings.lattice_s and len(self.head.signatures) < len(self.keys):
                self._lattice_due_s = 0.0
        if past.size > self._signed:
            self._due_s = 0.0

    @property
    def size(self) -> int:
        """Entries written, those included that are not signed or durable yet."""
        return self._growth.size

    @property
    def next_index(self) -> int:
        """The index that the next entry gets."""
        return self._growth.size

    # --- writing ----------------------------------------------------------------------------------

    def write(
        self,
        kind: LeafKind,
        body: bytes,
        now: Instant,
        *,
        at_once: bool = False,
        policy: bytes = b"",
    ) -> list[Effect]:
        """Add an entry; it is signed with the epoch's others.

        Args:
            kind: What the body holds.
            body: Opaque to the log; at most ``leaf.MAX_BODY_BYTES``.
            now: When it happens.
            at_once: Make it durable in this step, not with the epoch.
            policy: Digest of the policy that it was decided by; empty for the one in force now.

        Returns:
            What to do. An entry that cannot be added, as ``trouble`` tells, is counted in
            ``refused``; a Notice says so once.

        Raises:
            ValueError: The body is too long.
        """
        if self.stopped or self._waiting_bytes > MAX_WAITING_BYTES:
            self.refused += 1
            if self.refused > 1:
                return []
            facts: dict[str, str | int | float | bool | None] = {
                "kind": kind.name,
                "why": self.trouble,
            }
            return [Notice("ledger.refused", "an entry was not logged", "error", facts)]
        self._add(kind, body, now, policy)
        if self._due_s is None:
            self._due_s = now.mono_s + self._settings.epoch_s
        if at_once and not self.trouble:
            return [self._append()]
        return []

    def _add(self, kind: LeafKind, body: bytes, now: Instant, policy: bytes = b"") -> None:
        earliest_us, latest_us = _interval(now, self._bound(now))
        stamp = self.clock.stamp(now.wall_ns)
        by = policy or self.policy
        entry = Leaf(kind, self._node, stamp, earliest_us, latest_us, by, body).encode()
        self._waiting.append(entry)
        self._waiting_bytes += len(entry)
        self._fresh.update(self._growth.append(leaf_hash(entry)))

    def _append(self, head: bytes = b"") -> Append:
        first, self._said = self._said, self._growth.size
        return Append(first, tuple(self._waiting[first - self._kept :]), head)

    # --- the Machine interface --------------------------------------------------------------------

    def receive(self, _: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in what the disk made of an Append, or that the agent stops."""
        if isinstance(message, LogKept | LogFailed) and message.log:
            return []  # of a mirrored log
        if isinstance(message, LogClosing):
            self._due_s = now.mono_s if self._growth.size > self._signed else self._due_s
            return self.tick(now)
        if isinstance(message, LogKept):
            return self._note_kept(message)
        if isinstance(message, LogFailed):
            return self._note_failed(message, now)
        raise UnknownKind(f"a log does not take {kind_of(message)!r}")

    def tick(self, now: Instant) -> list[Effect]:
        """Sign a head when an epoch is over, or when the head is due its second signature."""
        due = self._due_s is not None and self._due_s <= now.mono_s
        again = self._lattice_due_s is not None and self._lattice_due_s <= now.mono_s
        if self.stopped or not (due or again):
            return []
        if self._growth.size > self._signed:
            stated = self.statement(now)
            if stated is not None:
                self._add(LeafKind.EPOCH, stated, now)
        self._due_s = None
        return [self._append(self._sign(now))]

    def next_deadline(self) -> Seconds | None:
        """Return when there is something to sign; None while nothing is written."""
        return None if self.stopped else soonest(self._due_s, self._lattice_due_s)

    def check(self) -> None:
        """Raise InvariantBroken when entries were lost between memory and disk."""
        if self._kept + len(self._waiting) != self._growth.size:
            raise InvariantBroken(f"the log lost entries at {self._kept} of {self._growth.size}")
        if not self._kept <= self._said <= self._growth.size:
            raise InvariantBroken(f"the log said {self._said} of {self._growth.size} entries")

    def _sign(self, now: Instant) -> bytes:
        checkpoint = Checkpoint(self.origin, self._growth.size, self._growth.root())
        signatures = [sign_checkpoint(checkpoint, self._key)]
        every_s = self._settings.lattice_s
        if every_s and now.mono_s >= self._lattice_s + every_s:
            seconds = now.wall_ns // 1_000_000_000
            signatures.append(cosign(checkpoint, self.origin, self._lattice, seconds))
            self._lattice_s, self._lattice_due_s = now.mono_s, None
        elif every_s:
            self._lattice_due_s = self._lattice_s + every_s
        self._signed = checkpoint.size
        return Note(checkpoint.text(), tuple(signatures)).encode()

    def _note_kept(self, kept: LogKept) -> list[Effect]:
        self._forget(kept.size)
        self.trouble, self.refused = "", 0
        if not kept.head:
            return []
        self.head = parse_note(kept.head)
        root = parse_checkpoint(self.head.text).root
        effects: list[Effect] = [Announce(HeadSigned(self.origin, kept.size, root, kept.head))]
        if not self._marked:
            self._marked = True
            effects.append(Persist(self._mark, self.origin.encode()))
        return effects

    def _note_failed(self, failed: LogFailed, now: Instant) -> list[Effect]:
        self._forget(failed.size)
        self._said = self._kept
        self._signed = parse_checkpoint(self.head.text).size if self.head else 0
        self._lattice_s = -float("inf")
        self._due_s = now.mono_s + RETRY_S
        self.stopped = self.stopped or failed.final
        self.trouble = failed.why
        facts: dict[str, str | int | float | bool | None] = {
            "why": failed.why,
            "durable_entries": failed.size,
            "final": failed.final,
        }
        return [Notice("ledger.failed", "the log could not be written", "error", facts)]

    def _forget(self, size: int) -> None:
        """Let go of what is durable up to ``size``."""
        gone = max(0, min(size, self._growth.size) - self._kept)
        self._waiting_bytes -= sum(map(len, self._waiting[:gone]))
        del self._waiting[:gone]
        self._kept += gone
        self._fresh = {tile: data for tile, data in self._fresh.items() if _end(tile) > self._kept}

    # --- proving ----------------------------------------------------------------------------------

    def entry(self, index: int) -> bytes:
        """Return an entry's bytes.

        Raises:
            ValueError: There is no such entry.
        """
        if not 0 <= index < self._growth.size:
            raise ValueError(f"a log of {self._growth.size} entries has no entry {index}")
        if index >= self._kept:
            return self._waiting[index - self._kept]
        bundle, at = divmod(index, WIDTH)
        width = min(WIDTH, self._kept - bundle * WIDTH)
        return unpack_entries(self._read(Tile(-1, bundle, width)))[at]

    def entries(self, first: int, end: int, most_bytes: int) -> list[bytes]:
        """Return entries from ``first`` to below ``end`` until they are so many bytes together.

        Raises:
            ValueError: There are no such entries.
        """
        found: list[bytes] = []
        size = 0
        while first < end and size < most_bytes:
            bundle, at = divmod(first, WIDTH)
            width = min(WIDTH, self._kept - bundle * WIDTH)
            held = (self.entry(first),) if width <= at else ()
            for entry in held or unpack_entries(self._read(Tile(-1, bundle, width)))[at:]:
                if first < end and size < most_bytes:
                    found.append(entry)
                    first, size = first + 1, size + len(entry)
        return found

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return the proof that an entry is under a head.

        Args:
            index: The entry's place.
            size: Entries that the head covers; None for the newest head.

        Raises:
            ValueError: The head does not cover it, or the log is not that long.
        """
        if size is None:
            size = parse_checkpoint(self.head.text).size if self.head else 0
        if size > self._growth.size:
            raise ValueError(f"a log of {self._growth.size} entries has no head of {size}")
        return prove_inclusion(index, size, TiledTree(size, self._tile).node)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Return the proof that the log of ``new`` entries continues that of ``old`` entries.

        Raises:
            ValueError: The log is not that long, or ``old`` is not between 1 and ``new``.
        """
        if new > self._growth.size:
            raise ValueError(f"a log of {self._growth.size} entries has no head of {new}")
        return prove_consistency(old, new, TiledTree(new, self._tile).node)

    def _tile(self, tile: Tile) -> bytes:
        index, hashes = self._growth.growing(tile.level)
        if tile.index == index:
            return b"".join(hashes[: tile.width])
        full = Tile(tile.level, tile.index)
        data = self._fresh.get(full)
        return (self._read(full) if data is None else data)[: tile.width * 32]


def _end(tile: Tile) -> int:
    """Return how long a log is when this tile of it is full."""
    return (tile.index + 1) << (HEIGHT * (tile.level + 1))


def _interval(now: Instant, bound_s: Seconds) -> tuple[int, int]:
    """Return the earliest and latest time that a moment can have been, in microseconds."""
    if not isfinite(bound_s):
        return 0, NEVER_US
    now_us, half_us = max(now.wall_ns, 0) // 1_000, round(bound_s * 1e6)
    return max(now_us - half_us, 0), min(now_us + half_us, NEVER_US)


def _own_head(past: Past, keys: tuple[NoteKey, NoteKey], origin: str) -> Note:
    try:
        head = parse_note(past.head)
        named = parse_checkpoint(head.text).origin
        signers = verified(head, keys)
    except WireError as error:
        raise StorageCorrupt(
            f"the newest checkpoint of the log is not by this node's key: {error.message}",
            hint=RESTORE,
        ) from error
    if named != origin or keys[0] not in signers:
        raise StorageCorrupt(
            f"the newest checkpoint belongs to {named!r}, not to {origin!r}",
            hint=RESTORE,
        )
    return head
