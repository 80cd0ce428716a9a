"""The shelf: adverts with their expiry, and the memory that keeps expired ones from returning."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from qallow_agent.base.ids import NodeId
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.kinds import Advert

Edition = tuple[int, int]
"""(epoch, version): what a node says of its own advert's order."""

NEVER: Edition = (-1, -1)

BATCH_BYTES = 48 * 1024
"""One push stays under this, so that envelope and framing fit the wire's 64 KiB."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An advert, when it stops being believed (monotonic), and its size on the wire."""

    advert: Advert
    expires_s: Seconds
    size_bytes: int

    @property
    def edition(self) -> Edition:
        """The order of this advert among those of its node."""
        return (self.advert.epoch, self.advert.version)


class Shelf:
    """Keeps the newest advert of each node until it expires.

    ``seen`` outlives expiry: it is the newest edition ever believed of a node.

    Args:
        max_nodes: Nodes kept; :meth:`has_room` is False for further ones.
    """

    def __init__(self, max_nodes: int) -> None:
        self.max_nodes = max_nodes
        self._entries: dict[NodeId, Entry] = {}
        self._seen: dict[NodeId, Edition] = {}
        self._view: Mapping[NodeId, Advert] | None = None
        self._expiry_s: Seconds | None = None

    def get(self, node: NodeId) -> Entry | None:
        """Return the entry of a node, if one is held."""
        return self._entries.get(node)

    def seen(self, node: NodeId) -> Edition:
        """Return the newest edition ever held of a node, even if expired since."""
        return self._seen.get(node, NEVER)

    def has_room(self, node: NodeId) -> bool:
        """Return whether an advert of this node could be put."""
        return node in self._seen or len(self._seen) < self.max_nodes

    def put(self, entry: Entry) -> None:
        """Hold an entry in place of the node's earlier one."""
        node = entry.advert.node
        self._entries[node] = entry
        self._seen[node] = entry.edition
        if self._expiry_s is None or entry.expires_s < self._expiry_s:
            self._expiry_s = entry.expires_s
        self._view = None

    def drop(self, node: NodeId) -> bool:
        """Stop holding a node's advert; return whether one was held."""
        if self._entries.pop(node, None) is None:
            return False
        self._view = None
        return True

    def forget(self, node: NodeId) -> None:
        """Drop a node's advert and the memory of its editions."""
        self.drop(node)
        self._seen.pop(node, None)

    def expire(self, mono_s: Seconds) -> list[NodeId]:
        """Drop every entry whose time is over and return their nodes."""
        if self._expiry_s is None or mono_s < self._expiry_s:
            return []
        over = [node for node in sorted(self._entries) if self._entries[node].expires_s <= mono_s]
        for node in over:
            self.drop(node)
        self._expiry_s = min((entry.expires_s for entry in self._entries.values()), default=None)
        return over

    def next_expiry_s(self) -> Seconds | None:
        """Return a time not later than the next expiry; early is harmless, late is not."""
        return self._expiry_s if self._entries else None

    def snapshot(self) -> Mapping[NodeId, Advert]:
        """Return an immutable view of all adverts, by node id in order; shared until a change."""
        if self._view is None:
            self._view = MappingProxyType(
                {node: self._entries[node].advert for node in sorted(self._entries)}
            )
        return self._view

    def editions(self) -> dict[NodeId, Edition]:
        """Return what is held, for a digest."""
        return {node: self._entries[node].edition for node in sorted(self._entries)}

    def newer_than(self, held: Mapping[NodeId, Edition]) -> list[Entry]:
        """Return the entries that somebody who holds ``held`` lacks, in order of node id."""
        return [
            self._entries[node]
            for node in sorted(self._entries)
            if self._entries[node].edition > held.get(node, NEVER)
        ]


def batches(entries: Iterable[Entry]) -> list[tuple[Advert, ...]]:
    """Return adverts in groups that each fit one message."""
    groups: list[list[Advert]] = []
    room_bytes = 0
    for entry in entries:
        if not groups or entry.size_bytes > room_bytes:
            groups.append([])
            room_bytes = BATCH_BYTES
        groups[-1].append(entry.advert)
        room_bytes -= entry.size_bytes
    return [tuple(group) for group in groups]
