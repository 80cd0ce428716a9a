"""Every message that mesh rooms exchange with peers."""

from enum import StrEnum

import msgspec

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.message import Message
from qallow_agent.base.reading import Reading
from qallow_agent.mesh.wire.gate import GateReport

PROTOCOL = 1
"""The wire protocol this build speaks."""
OLDEST_PROTOCOL = 1
"""The oldest protocol it still accepts (N-2 once there are three)."""


class Role(StrEnum):
    """What a member may do; every request is checked against its sender's roles."""

    WORKER = "worker"
    SUBMITTER = "submitter"
    OBSERVER = "observer"
    VALIDATOR = "validator"
    ISSUER = "issuer"
    OWNER = "owner"
    OPERATOR = "operator"


# --- trust: certificates and the door ------------------------------------------------------------


class CurveBinding(msgspec.Struct, frozen=True):
    """A node's word that this CURVE key is its own, so that the key rotates without the identity.

    ``signature`` is by the node key over the canonical (curve_key, not_before_s, epoch).
    """

    curve_key: bytes
    not_before_s: int
    epoch: int
    signature: bytes


class Certificate(msgspec.Struct, frozen=True):
    """The mesh's word that a node belongs to it.

    ``issuer`` is the mesh id (signed by the mesh key) or the node id of a member that holds the
    issuing role; ``signature`` covers every other field.
    """

    mesh: MeshId
    node: NodeId
    node_key: bytes
    name: str
    roles: tuple[Role, ...]
    zone: str
    issued_s: int
    expires_s: int
    protocol: tuple[int, int]
    issuer: str
    signature: bytes = b""


class Credential(msgspec.Struct, frozen=True):
    """What a node shows at a door: its certificate, its CURVE binding, its issuer's certificate."""

    certificate: Certificate
    binding: CurveBinding
    issuer: Certificate | None = None


class JoinRequest(Message, tag="door.join"):
    """A stranger shows an invite's secret and asks for a certificate."""

    secret: bytes
    node_key: bytes
    name: str
    protocol: tuple[int, int]
    binding: CurveBinding
    contact: Contact


class JoinWelcome(Message, tag="door.welcome"):
    """The certificate, what a member must know, and whom to meet first.

    ``mesh_key`` is the public key of the mesh, ``keyring`` the datagram secrets, newest first.
    """

    credential: Credential
    mesh_name: str
    mesh_key: bytes
    keyring: tuple[bytes, ...]
    host: Credential
    contact: Contact


class Hello(Message, tag="door.hello"):
    """A member shows its credential to one that may not know it yet; answered in kind.

    ``signature`` is by the node key over every other field, so that nobody can repeat a member's
    Hello to a third node or bend its contact; ``to`` is the node it is meant for.
    """

    credential: Credential
    contact: Contact
    answer: bool = False
    to: NodeId = NodeId("")
    signature: bytes = b""


class Renew(Message, tag="trust.renew"):
    """A member asks an issuer for a fresh certificate at half of its life."""

    credential: Credential


class Renewed(Message, tag="trust.renewed"):
    """The fresh certificate."""

    certificate: Certificate


class Revocation(msgspec.Struct, frozen=True):
    """A signed end of membership; gossiped, kept for ever.

    ``authority`` is the issuer's own certificate, unless the mesh key signed, so that anybody can
    judge a revocation by itself.
    """

    mesh: MeshId
    node: NodeId
    revoked_s: int
    reason: str
    issuer: str
    authority: Certificate | None = None
    signature: bytes = b""


class Revoked(Message, tag="trust.revoked"):
    """Revocations the sender knows; merged by the receiver."""

    revocations: tuple[Revocation, ...]


# --- discovery ------------------------------------------------------------------------------------


class Beacon(Message, tag="beacon"):
    """I am here: sealed under the mesh keyring, so a stranger neither reads nor forges it."""

    mesh: MeshId
    node: NodeId
    contact: Contact
    curve_key: bytes
    reply: bool = False


# --- membership -----------------------------------------------------------------------------------


class MemberState(StrEnum):
    """What the mesh believes about a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


class Incarnation(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A member's own version: its boot epoch, and a counter it raises to refute suspicion."""

    epoch: int
    counter: int = 0


class MemberRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One belief about one member, as it is gossiped.

    ``accusers`` are the nodes that failed to reach a suspect, ``refused`` those of them that saw
    its link refused; ``advert`` is the newest advert version known of it, so that a reader learns
    cheaply that something changed.
    """

    node: NodeId
    state: MemberState
    incarnation: Incarnation
    name: str
    contact: Contact
    curve_key: bytes
    accusers: tuple[NodeId, ...] = ()
    advert: int = 0
    refused: tuple[NodeId, ...] = ()


class Probe(Message, tag="swim.probe"):
    """Are you there? Carries gossip."""

    seq: int
    gossip: tuple[MemberRecord, ...] = ()


class ProbeRelay(Message, tag="swim.relay"):
    """Please probe ``target`` for me and tell me under ``seq``."""

    seq: int
    target: NodeId


class Ack(Message, tag="swim.ack"):
    """I am here (or, with ``target``, the relayed one answered me)."""

    seq: int
    target: NodeId | None = None
    gossip: tuple[MemberRecord, ...] = ()


class Nack(Message, tag="swim.nack"):
    """I tried ``target`` for you and heard nothing: the relay is well, the target may not be."""

    seq: int
    target: NodeId


class Gossip(Message, tag="swim.gossip"):
    """Recent beliefs, nothing asked."""

    records: tuple[MemberRecord, ...]


class LiveSet(Message, tag="swim.live-set"):
    """Whom the sender holds for alive, itself included: the first 8 bytes of each id's digest.

    ``calm_s`` is for how long that has not changed: what just changed is compared by nobody.
    """

    members: bytes
    calm_s: float


class PushPull(Message, tag="swim.pushpull"):
    """All the sender believes; with ``answer`` the receiver need not send its own."""

    records: tuple[MemberRecord, ...]
    answer: bool = False


# --- adverts --------------------------------------------------------------------------------------


class DeviceState(StrEnum):
    """What a device is good for right now."""

    WARMING = "warming"
    OK = "ok"
    HOT = "hot"
    QUARANTINED = "quarantined"
    LOST = "lost"


HEAT_THROTTLES = ("heat", "heat-hardware")
"""Names in ``DeviceAdvert.throttle`` that mean heat; others tell of power or of a setting."""


class DeviceAdvert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One device: what it is, how it is, how much of it is free.

    ``why`` is what is wrong with it or worth knowing, ``fix`` what a person can do about that.
    ``rates`` maps a kernel to its measured ops per second on one slot of this device; of those in
    ``tried`` only a canary is known. ``joules`` maps one to the joules that one op takes, gross,
    where a meter counts them. ``warm`` runners are up and free, ``waiting`` slots are asked
    for and not granted yet, ``reserved_bytes`` of memory are promised to leases.
    ``throttle`` names why it runs slower than it could. A device without slots is only shown.
    ``gate`` says whether it takes new work; None where its node has no gate.
    """

    name: str
    kind: str
    model: str
    state: DeviceState
    slots: int
    busy: int
    memory_bytes: int
    why: str = ""
    readings: dict[str, Reading] = msgspec.field(default_factory=dict)
    rates: dict[str, float] = msgspec.field(default_factory=dict)
    simulated: bool = False
    joules: dict[str, float] = msgspec.field(default_factory=dict)
    warm: int = 0
    waiting: int = 0
    reserved_bytes: int = 0
    tried: tuple[str, ...] = ()
    fix: str = ""
    throttle: tuple[str, ...] = ()
    gate: GateReport | None = None


class KernelAdvert(msgspec.Struct, frozen=True):
    """One kernel this node can run: its name, version, content hash and the device kinds."""

    name: str
    version: int
    hash: str
    backends: tuple[str, ...]


class Advert(msgspec.Struct, frozen=True):
    """What a node can do right now, signed by it; a higher version replaces a lower one."""

    node: NodeId
    epoch: int
    version: int
    issued_ms: int
    ttl_s: float
    devices: tuple[DeviceAdvert, ...]
    kernels: tuple[KernelAdvert, ...]
    readings: dict[str, Reading]
    release: str
    signature: bytes = b""


class Adverts(Message, tag="advert.push"):
    """Adverts of any nodes; each is judged by its own signature."""

    adverts: tuple[Advert, ...]


class AdvertDigest(Message, tag="advert.digest"):
    """Which advert (epoch, version) of which node the sender holds; the receiver fills gaps."""

    held: dict[NodeId, tuple[int, int]]


# --- sync pulses ----------------------------------------------------------------------------------


class Pulse(Message, tag="sync.pulse"):
    """A sync pulse: the sender's wall clock at departure, in nanoseconds."""

    seq: int
    t1_ns: int
    cycle_s: float


class PulseEcho(Message, tag="sync.echo"):
    """Its answer: the pulse's departure, its arrival here and this answer's departure."""

    seq: int
    t1_ns: int
    t2_ns: int
    t3_ns: int
    cycle_s: float


MESH_KINDS: tuple[type[Message], ...] = (
    Revoked, Renew, Renewed, Beacon, Probe, ProbeRelay, Ack, Nack, Gossip, PushPull,
    LiveSet, Adverts, AdvertDigest, Pulse, PulseEcho,
)  # fmt: skip
"""Kinds a member may send; anything else from the wire is an unknown kind."""

DATAGRAM_KINDS: tuple[type[Message], ...] = (Beacon, Probe, Ack, Gossip, Pulse, PulseEcho)
"""The only kinds believed when they come by datagram: its seal proves a member, not which one."""

DOOR_KINDS: tuple[type[Message], ...] = (JoinRequest, JoinWelcome, Hello)
"""Kinds that are spoken at the door (with Failure as an answer)."""
