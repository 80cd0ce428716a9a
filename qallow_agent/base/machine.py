"""The one interface of everything that decides: stimulus and time in, effects out.

A machine never reads a clock, entropy, a socket, a file or a thread. The driver executes effects
in order; a :class:`Persist` or :class:`Append` completes before any later :class:`Send` leaves.
After every step it asks ``next_deadline`` and calls ``tick`` then, so no timer lives inside a
machine.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import Address, NodeId, RunnerId, Sender
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds


@dataclass(frozen=True, slots=True)
class Instant:
    """Now, on both axes: ``mono_s`` for every timeout, ``wall_ns`` for stamps and expiry."""

    mono_s: Seconds
    wall_ns: int

    @property
    def wall_s(self) -> float:
        """Wall clock in seconds since 1970."""
        return self.wall_ns / 1e9


class Lane(Enum):
    """How a message travels to a peer."""

    STREAM = "stream"
    """ZeroMQ over CURVE: ordered, reliable while the link holds, up to 64 KiB."""
    DATAGRAM = "datagram"
    """Sealed UDP, at most about 1,300 bytes, may be lost; falls back to STREAM without UDP."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a member; dropped with a notice when no link to it exists."""

    to: NodeId
    message: Message
    lane: Lane = Lane.STREAM


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Shout a sealed beacon on loopback and every LAN interface, and at named addresses.

    ``targets`` are ``host:port`` of seeds; names are resolved anew each time by the transport.
    """

    message: Message
    targets: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Knock:
    """Speak to the door of a node that is not linked yet; every host is tried in parallel.

    The answer (or a Failure after ``timeout_s``) arrives from the sender ``reply_as``.
    """

    contact: Contact
    door_key: bytes
    message: Message
    reply_as: Sender
    timeout_s: Seconds = 5.0


@dataclass(frozen=True, slots=True)
class Admit:
    """Let a peer's CURVE key in as this node id and keep a link to it; again to update either."""

    node: NodeId
    curve_key: bytes
    contact: Contact


@dataclass(frozen=True, slots=True)
class Expel:
    """Close the link to a peer; with ``ban`` its key is refused from now on."""

    node: NodeId
    ban: bool = False


@dataclass(frozen=True, slots=True)
class Persist:
    """Make bytes durable under a name (relative path in the state directory); None deletes."""

    name: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Append:
    """Make entries of this node's own log durable, then the signed head that covers them.

    Every Append that holds is answered by ``LogKept`` from :data:`~qallow_agent.base.ids.STORE`;
    one that fails by ``LogFailed``, and nothing that depends on it is said.

    Args:
        first: Index of the first entry.
        entries: In order; may be none, when only a head is to be kept.
        head: A signed checkpoint over everything up to the last entry; empty for none yet.
    """

    first: int
    entries: tuple[bytes, ...]
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Start:
    """Start a runner process for one slot of a device of some kind (``cpu``, ``cuda``, ...)."""

    runner: RunnerId
    device: str
    kind: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a runner: politely (finish the task at hand) or at once."""

    runner: RunnerId
    kill: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a reserved local sender: a control connection, a knock at the door, a runner."""

    to: Sender
    message: Message


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the other rooms of this node a fact; the hallway delivers it, no driver sees it."""

    message: Message


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Stop the agent's loop once everything before this effect is carried out."""

    reason: str


Effect = (
    Send
    | Broadcast
    | Knock
    | Admit
    | Expel
    | Persist
    | Append
    | Start
    | Stop
    | Reply
    | Announce
    | Shutdown
    | Notice
)


class Machine(Protocol):
    """What decides. Implementations own their state and take rng, settings and keys at birth."""

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in one message and return what to do about it."""
        ...

    def tick(self, now: Instant) -> list[Effect]:
        """Do what time demands; safe to call early or late."""
        ...

    def next_deadline(self) -> Seconds | None:
        """Return the monotonic second at which ``tick`` has something to do; None for never."""
        ...

    def check(self) -> None:
        """Raise InvariantBroken when an always-true property is false."""
        ...


def soonest(*deadlines: Seconds | None) -> Seconds | None:
    """Return the earliest of some deadlines; None when there is none."""
    known = [deadline for deadline in deadlines if deadline is not None]
    return min(known) if known else None
