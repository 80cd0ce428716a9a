"""Which beliefs travel next, and how many fit into one datagram."""

import math
from dataclasses import dataclass

import msgspec

from qallow_agent.base.message import Message
from qallow_agent.mesh.membership.state import encoded_bytes
from qallow_agent.mesh.wire.kinds import MemberRecord

ENVELOPE_BYTES = 200
"""What seal (54 bytes), envelope, stamp and a 55-character trace add around a message body."""

PAGE_BYTES = 48_000
"""Records in one push-pull message: well under the wire's 64 KiB with its envelope."""

_LIST_BYTES = 5
"""Header of a MessagePack array plus the omitted field's name growing it never exceeds this."""

_FIELD_BYTES = 8
"""The key ``records`` or ``gossip``, absent from an empty message whose defaults are omitted."""

_SCAN = 32
"""Candidates looked at per datagram: about 5 fit, so a long queue need not be walked."""

_ENCODER = msgspec.msgpack.Encoder()


def transmissions(members: int, factor: int) -> int:
    """Return how often a belief is told before it rests: factor * ceil(log10(members + 1)).

    Source: SWIM (Das, Gupta, Motivala, 2002), section 4.1: lambda log n suffices with high
    probability; memberlist uses the same form with lambda 4.
    """
    return factor * max(1, math.ceil(math.log10(members + 1)))


def room_for_gossip(message: Message, datagram_bytes: int) -> int:
    """Return the bytes left for records when a message without any goes into a datagram."""
    return (
        datagram_bytes - ENVELOPE_BYTES - len(_ENCODER.encode(message)) - _LIST_BYTES - _FIELD_BYTES
    )


@dataclass(slots=True)
class _Item:
    record: MemberRecord
    size: int
    order: int
    told: int = 0


class GossipQueue:
    """Beliefs that still travel: at most one per member, the least told first, then the newest.

    Source: SWIM (2002), section 4.1: prefer elements that were gossiped fewer times.
    """

    def __init__(self) -> None:
        self._items: dict[str, _Item] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, record: MemberRecord) -> None:
        """Start telling a belief; it replaces an older one about the same member."""
        self._order += 1
        self._items[record.node] = _Item(record, encoded_bytes(record), self._order)

    def withdraw(self, node: str) -> None:
        """Stop telling anything about a member."""
        self._items.pop(node, None)

    def draw(
        self, room_bytes: int, limit: int, first: tuple[MemberRecord, ...] = ()
    ) -> tuple[MemberRecord, ...]:
        """Return the records for one datagram and count them as told.

        Args:
            room_bytes: Bytes for records.
            limit: Tellings after which a belief rests.
            first: Records that go before all others, such as what the receiver must refute.
        """
        chosen: list[MemberRecord] = []
        for record in first:
            size = encoded_bytes(record)
            if size <= room_bytes:
                chosen.append(record)
                room_bytes -= size
        named = {record.node for record in chosen}
        ranked = sorted(self._items.values(), key=lambda item: (item.told, -item.order))
        for item in ranked[:_SCAN]:
            if item.size > room_bytes or item.record.node in named:
                continue
            chosen.append(item.record)
            room_bytes -= item.size
            item.told += 1
            if item.told >= limit:
                del self._items[item.record.node]
        return tuple(chosen)


def pages(records: tuple[MemberRecord, ...]) -> list[tuple[MemberRecord, ...]]:
    """Return records in as few messages as their size allows; at least one, maybe empty."""
    result: list[tuple[MemberRecord, ...]] = []
    page: list[MemberRecord] = []
    used = 0
    for record in records:
        size = encoded_bytes(record)
        if page and used + size > PAGE_BYTES:
            result.append(tuple(page))
            page, used = [], 0
        page.append(record)
        used += size
    return [*result, tuple(page)]
