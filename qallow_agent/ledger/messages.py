"""What is said about logs, within a node; what members say to one another is listed apart."""

from qallow_agent.base.message import Message


class HeadSigned(Message, tag="fact.head-signed"):
    """This node signed a new head of its own log, and it is durable with all it covers.

    Args:
        origin: The log's name.
        size: Entries that it covers.
        root: The root over them.
        note: The signed checkpoint, as it is published.
    """

    origin: str
    size: int
    root: bytes
    note: bytes


class LogKept(Message, tag="fact.log-kept"):
    """The driver made what an Append said durable.

    Args:
        size: Entries that are durable now.
        head: The signed checkpoint that was kept with them; empty for none.
    """

    size: int
    head: bytes = b""


class LogFailed(Message, tag="fact.log-failed"):
    """The driver could not make what an Append said durable.

    Args:
        size: Entries that are durable.
        why: The system's words, with the file.
        final: The disk may have lost what it said it had: nothing is signed until a restart.
    """

    size: int
    why: str
    final: bool
