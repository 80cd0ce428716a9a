"""The post room: every message to a peer gets our name and a clock stamp; every one is judged."""

from dataclasses import dataclass

from qallow_agent.base.errors import BadSignature, PeerError, PeerLost, StorageError
from qallow_agent.base.hlc import HybridClock
from qallow_agent.base.ids import TRANSPORT, NodeId, Sender, is_local
from qallow_agent.base.machine import Instant, Lane, Reply, Send
from qallow_agent.base.message import Failure, Message, failure, kinds
from qallow_agent.base.notice import Notice
from qallow_agent.ethics.messages import POLICY_KINDS
from qallow_agent.jobs.messages import JOB_KINDS
from qallow_agent.ledger.kinds import COUNCIL_KINDS
from qallow_agent.ledger.mirror_kinds import MIRROR_KINDS
from qallow_agent.mesh.io.port import Arrival, KnockFailed, LinkEvent
from qallow_agent.mesh.wire.codec import MeshCodec
from qallow_agent.mesh.wire.facts import LinkRefused
from qallow_agent.mesh.wire.kinds import DATAGRAM_KINDS, DOOR_KINDS, MESH_KINDS

_WHO_ASK = ("@control/", "@door/")

MEMBER_KINDS = kinds((*MESH_KINDS, *JOB_KINDS, *POLICY_KINDS, *COUNCIL_KINDS, *MIRROR_KINDS))
"""What a member may say."""

SHOUTED_KINDS = kinds(DATAGRAM_KINDS)
"""What is believed of it when it comes by datagram."""

STRANGER_KINDS = kinds((*DOOR_KINDS, Failure))
"""What may be said at a door, in either direction."""


@dataclass(frozen=True, slots=True)
class Post:
    """Encodes and decodes what travels between nodes.

    Args:
        me: The name put on every letter.
        members: Codec of what members say over their links.
        shouted: Codec of what is believed when it comes by datagram.
        strangers: Codec of what is said at doors.
        clock: Stamps what leaves and observes what arrives.
    """

    me: NodeId
    members: MeshCodec
    shouted: MeshCodec
    strangers: MeshCodec
    clock: HybridClock

    def seal(self, message: Message, now: Instant, *, at_door: bool = False) -> bytes:
        """Return the bytes of a message to a member, or of one spoken at a door."""
        codec = self.strangers if at_door else self.members
        return codec.encode(message, self.me, self.clock.stamp(now.wall_ns))

    def open(self, sender: Sender, data: bytes, now: Instant, lane: Lane = Lane.STREAM) -> Message:
        """Return the message in a letter whose bearer the transport named.

        Raises:
            PeerError: The bytes are wrong in any way, or name another sender than their bearer.
        """
        at_door = is_local(sender)
        codec = self.shouted if lane is Lane.DATAGRAM else self.members
        letter = (self.strangers if at_door else codec).decode(data)
        if not at_door and letter.sender != sender:
            raise BadSignature(f"a letter signed {letter.sender} was brought by {sender}")
        if not at_door:
            self.clock.observe(letter.stamp, now.wall_ns)
        return letter.message

    def read(self, arrival: Arrival) -> tuple[Sender, Message] | Notice | None:
        """Return who says what by an arrival; a Notice when it was dropped, None for nothing."""
        if isinstance(arrival, LinkEvent):
            return None if arrival.kind == "up" else (TRANSPORT, LinkRefused(arrival.node))
        if isinstance(arrival, KnockFailed):
            return arrival.reply_as, failure(PeerLost(arrival.reason))
        try:
            message = self.open(arrival.sender, arrival.data, arrival.received, arrival.lane)
        except PeerError as error:
            facts: dict[str, str | int | float | bool | None] = {
                "node": arrival.sender,
                "code": error.code,
                "why": error.message,
            }
            return Notice("wire.dropped", "a message was dropped", "warning", facts)
        return arrival.sender, message


def make_post(me: NodeId, clock: HybridClock | None = None) -> Post:
    """Return the post room of a node; with its clock, if anything else is stamped by it."""
    return Post(
        me,
        MeshCodec(MEMBER_KINDS),
        MeshCodec(SHOUTED_KINDS),
        MeshCodec(STRANGER_KINDS),
        clock or HybridClock(),
    )


def instead(effect: Send | Reply, error: StorageError) -> Reply | None:
    """Return what to say when the disk lost what an effect depends on; None for nothing.

    Nothing that depends on lost bytes is said; whoever asked, and can be told, hears why.
    """
    if isinstance(effect, Reply) and effect.to.startswith(_WHO_ASK):
        return Reply(effect.to, failure(error))
    return None
