"""The address book: where every member ever met was last found, on disk and for ever."""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import KEY_BYTES

BOOK_FILE = "discovery/book"
"""Where the book is kept in the state directory."""

_VERSION = 1
_MAX_HOSTS = 16
_MAX_HOST = 253
"""Longest DNS name in text form (RFC 1035, section 2.3.4)."""
_PORT_LIMIT = 1 << 16


class BookEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one member was found.

    Args:
        node: The member.
        contact: Its addresses.
        curve_key: The key it proved.
        seen_s: Wall clock when it was last met or up.
        left_s: Wall clock when it left for good; None while it is expected back.
        met: Whether it proved who it is; others are claims, and are not kept on disk.
    """

    node: NodeId
    contact: Contact
    curve_key: bytes
    seen_s: int
    left_s: int | None = None
    met: bool = True


class _Page(msgspec.Struct, frozen=True):
    version: int
    entries: tuple[BookEntry, ...]


class AddressBook:
    """Entries by node; bounded, the longest unseen goes first, those that left before all others.

    Args:
        limit: Members met that are remembered at most.
        unmet_limit: Claims that are remembered at most.
        entries: What an earlier run knew.
    """

    def __init__(self, limit: int, unmet_limit: int, entries: Iterable[BookEntry] = ()) -> None:
        self._limit = limit
        self._unmet_limit = unmet_limit
        self._entries: dict[NodeId, BookEntry] = {entry.node: entry for entry in entries}
        self.changed = False

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, node: NodeId) -> BookEntry | None:
        """Return where a member was found, if it ever was."""
        return self._entries.get(node)

    def entries(self) -> tuple[BookEntry, ...]:
        """Return every entry, sorted by node."""
        return tuple(self._entries[node] for node in sorted(self._entries))

    def meet(self, node: NodeId, contact: Contact, curve_key: bytes, now_s: int) -> list[NodeId]:
        """Enter a member that proved who it is; return whom the bound pushed out."""
        known = self._entries.get(node)
        entry = BookEntry(node, contact, curve_key, now_s)
        if known is None or replace(known, seen_s=now_s) != entry:
            self.changed = True
        self._entries[node] = entry
        return self._trim(met=True, limit=self._limit)

    def claim(self, node: NodeId, contact: Contact, curve_key: bytes, now_s: int) -> list[NodeId]:
        """Enter a claim about a member never met; what was proved is never overwritten by it."""
        known = self._entries.get(node)
        if known is not None and known.met:
            return []
        self._entries[node] = BookEntry(node, contact, curve_key, now_s, met=False)
        return self._trim(met=False, limit=self._unmet_limit)

    def leave(self, node: NodeId, now_s: int) -> None:
        """Note that a member left for good; it is forgotten later, not tried again."""
        known = self._entries.get(node)
        if known is not None and known.left_s is None:
            self._entries[node] = replace(known, left_s=now_s)
            self.changed = True

    def forget(self, node: NodeId) -> None:
        """Drop a member at once, as after a revocation."""
        if self._entries.pop(node, None) is not None:
            self.changed = True

    def expire(self, before_s: int) -> list[NodeId]:
        """Forget, and return, members that left before a wall second."""
        gone = [
            node
            for node, entry in self._entries.items()
            if entry.left_s is not None and entry.left_s < before_s
        ]
        for node in gone:
            self.forget(node)
        return gone

    def _trim(self, *, met: bool, limit: int) -> list[NodeId]:
        kind = [entry for entry in self._entries.values() if entry.met is met]
        surplus = len(kind) - limit
        if surplus <= 0:
            return []
        kind.sort(key=lambda entry: (entry.left_s is None, entry.seen_s, entry.node))
        gone = [entry.node for entry in kind[:surplus]]
        for node in gone:
            del self._entries[node]
        return gone


def plausible(contact: Contact, curve_key: bytes) -> bool:
    """Return whether a claimed address is within every bound; others are not heard at all."""
    ports = (contact.stream, contact.door, contact.datagram)
    return (
        0 < len(contact.hosts) <= _MAX_HOSTS
        and all(len(host) <= _MAX_HOST for host in contact.hosts)
        and all(0 <= port < _PORT_LIMIT for port in ports)
        and len(curve_key) == KEY_BYTES
    )


def encode_book(book: AddressBook) -> bytes:
    """Return the bytes of the members that proved who they are."""
    kept = tuple(entry for entry in book.entries() if entry.met)
    return msgspec.msgpack.encode(_Page(_VERSION, kept))


def decode_book(data: bytes) -> tuple[BookEntry, ...]:
    """Return the entries that some bytes hold.

    Raises:
        StorageCorrupt: The bytes are no book of a version we know.
    """
    try:
        page = msgspec.msgpack.decode(data, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageCorrupt(
            f"{BOOK_FILE} does not decode: {error}",
            hint="remove that file; members are found again by beacon, seed or invite",
        ) from error
    if page.version != _VERSION:
        raise StorageCorrupt(
            f"{BOOK_FILE} has version {page.version}, this release knows {_VERSION}",
            hint="upgrade this agent, or remove that file",
        )
    return page.entries
