"""A scribe: one log without a node; what tests and benchmarks write with."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from qallow_agent.base.errors import StorageError
from qallow_agent.base.hlc import HybridClock
from qallow_agent.base.ids import STORE, MeshId, NodeId
from qallow_agent.base.machine import Announce, Append, Effect, Instant
from qallow_agent.ledger.growth import Past
from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.ledger.log import Log
from qallow_agent.ledger.messages import HeadSigned, LogFailed, LogKept
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.ledger.tiles import Tile

NODE, MESH = NodeId("n" * 26), MeshId("m" * 26)
SEED = b"scribe" + bytes(26)
DAWN_NS = 1_800_000_000_000_000_000


class Book(Protocol):
    """What keeps a log: ``runtime/logbook`` in files, ``testing/logbook`` in memory."""

    @property
    def size(self) -> int:
        """Entries that are durable."""
        ...

    def open(self) -> Past:
        """Return what the log holds."""
        ...

    def append(self, first: int, entries: Sequence[bytes], head: bytes = b"") -> None:
        """Make entries durable, then the signed head that covers them."""
        ...

    def read(self, tile: Tile) -> bytes:
        """Return a durable tile's bytes."""
        ...


class Scribe:
    """Writes a log as the driver has a node do it; every second is an epoch.

    Args:
        book: Keeps it; not open yet.
        settings: How often it signs.

    Raises:
        StorageCorrupt: The book holds a log that is not sound.
    """

    def __init__(self, book: Book, settings: LedgerSettings | None = None) -> None:
        self.book = book
        self.heads: list[HeadSigned] = []
        self.now_s = 0.0
        self.log = Log(
            node=NODE,
            mesh=MESH,
            seed=SEED,
            settings=settings or LedgerSettings(),
            past=self.book.open(),
            read=self.book.read,
            clock=HybridClock(),
            bound=lambda _: 0.01,
        )

    @property
    def now(self) -> Instant:
        """What time it is here."""
        return Instant(self.now_s, DAWN_NS + round(self.now_s * 1e9))

    def write(
        self, bodies: Iterable[bytes], kind: LeafKind = LeafKind.RECEIPT, *, at_once: bool = False
    ) -> None:
        """Write an entry for each body."""
        for body in bodies:
            self._do(self.log.write(kind, body, self.now, at_once=at_once))

    def wait(self, seconds: float) -> None:
        """Let time pass, and the log do what it demands."""
        self.now_s += seconds
        self._do(self.log.tick(self.now))

    def commit(self, bodies: Iterable[bytes]) -> None:
        """Write entries and let their epoch end."""
        self.write(bodies)
        self.wait(1.0)

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Append):
                self._do(self._append(effect))
            elif isinstance(effect, Announce) and isinstance(effect.message, HeadSigned):
                self.heads.append(effect.message)

    def _append(self, effect: Append) -> list[Effect]:
        try:
            self.book.append(effect.first, effect.entries, effect.head)
        except StorageError as error:
            failed = LogFailed(self.book.size, error.message, not error.retryable)
            return self.log.receive(STORE, failed, self.now)
        return self.log.receive(STORE, LogKept(self.book.size, effect.head), self.now)
