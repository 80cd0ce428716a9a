"""What members say to one another about mirrors."""

from qallow_agent.base.message import Message
from qallow_agent.ledger.seats import Card


class EntriesWanted(Message, tag="mirror.wanted"):
    """A mirror asks a log's owner for what it lacks.

    Args:
        first: Entries that it has.
        offset: Bytes that it has of the next one, with its length before it.
    """

    first: int
    offset: int = 0


class EntriesSent(Message, tag="mirror.entries"):
    """A piece of a log: a part of its entries, packed as in a bundle.

    Args:
        card: Of the log.
        first: The entry that the packed bytes begin with.
        offset: Where in them this piece begins.
        data: The piece.
        end: Entries of the log that are complete with it.
        proof: That the log of so many entries lies under the head.
        head: The newest signed head.
    """

    card: Card
    first: int
    offset: int
    data: bytes
    end: int
    proof: tuple[bytes, ...]
    head: bytes


class CopyKept(Message, tag="mirror.kept"):
    """A mirror's cosignature "mirrored": everything under this head is durable at its place.

    Args:
        version: Of the committee whose keys sign it.
        size: Of the head.
        root: Of the head.
        line: The cosignature, as a line of a note.
    """

    version: int
    size: int
    root: bytes
    line: str


MIRROR_KINDS: tuple[type[Message], ...] = (EntriesWanted, EntriesSent, CopyKept)
