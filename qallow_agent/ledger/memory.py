"""What a witness remembers of every log: the heads that it must be shown to continue."""

from collections.abc import Iterable, Mapping

import msgspec

from qallow_agent.base.errors import StorageCorrupt, WireError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Persist
from qallow_agent.ledger.certificate import Head, bare, open_head
from qallow_agent.ledger.manifest import MAX_HEADS, SeenHead
from qallow_agent.ledger.quorum import Mark, merge
from qallow_agent.ledger.seats import Card

FOLDER = "coherence/seen/"


class SeenLog(msgspec.Struct, frozen=True):
    """One log as it was seen: its card, and signed heads, the shortest first."""

    card: Card
    heads: tuple[bytes, ...]


class Memory:
    """The last heads of every log that was seen, one small file each.

    Args:
        kept: What was kept under ``coherence/``.

    Raises:
        StorageCorrupt: A file does not decode; names it.
    """

    def __init__(self, kept: Mapping[str, bytes]) -> None:
        self._logs: dict[NodeId, SeenLog] = {}
        self._marks: dict[NodeId, dict[Mark, bytes]] = {}
        for name in sorted(kept):
            if name.startswith(FOLDER):
                self._put(_decode(name, kept[name]))

    def marks(self, node: NodeId) -> tuple[Mark, ...]:
        """Return what a node's log must continue, the shortest first."""
        return merge(*self._marks.get(node, {}))

    def head_of(self, node: NodeId, mark: Mark) -> bytes | None:
        """Return the signed head of a mark."""
        return self._marks.get(node, {}).get(mark)

    def newest(self, node: NodeId) -> SeenHead | None:
        """Return the longest head seen of a node's log."""
        seen = self._logs.get(node)
        return SeenHead(seen.card, seen.heads[-1]) if seen is not None else None

    def heads(self) -> tuple[SeenHead, ...]:
        """Return every head that must be continued, by node."""
        return tuple(
            SeenHead(self._logs[node].card, head)
            for node in sorted(self._logs)
            for head in self._logs[node].heads
        )

    def room_for(self, node: NodeId) -> bool:
        """Return whether another log can be remembered, or this one is."""
        return node in self._logs or len(self._logs) < MAX_HEADS

    def keep(self, card: Card, marks: tuple[Mark, ...], heads: Iterable[Head]) -> Persist:
        """Remember what a log must continue; the caller sends nothing before this is durable.

        Args:
            card: Of the log.
            marks: All of them, the shortest first.
            heads: Those of new marks must be among them; checked by the caller.
        """
        known = dict(self._marks.get(card.node, {}))
        known |= {head.mark: bare(head, card) for head in heads}
        seen = SeenLog(card, tuple(known[mark] for mark in marks))
        self._logs[card.node] = seen
        self._marks[card.node] = {mark: known[mark] for mark in marks}
        return Persist(FOLDER + card.node, msgspec.msgpack.encode(seen))

    def _put(self, seen: SeenLog) -> None:
        node = seen.card.node
        self._logs[node] = seen
        self._marks[node] = {open_head(note, seen.card).mark: note for note in seen.heads}


def _decode(name: str, data: bytes) -> SeenLog:
    try:
        seen = msgspec.msgpack.decode(data, type=SeenLog)
        for note in seen.heads:
            open_head(note, seen.card)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, WireError) as error:
        raise _corrupt(name, str(error)) from error
    if FOLDER + seen.card.node != name or not seen.heads:
        raise _corrupt(name, "it holds another log, or no head")
    return seen


def _corrupt(name: str, why: str) -> StorageCorrupt:
    return StorageCorrupt(
        f"{name} does not decode: {why}",
        hint="delete it; this node then cosigns that log when enough others remember its head",
    )
