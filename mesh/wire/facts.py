"""Facts that mesh rooms and their edge tell their own node; none of them ever crosses a wire."""

import msgspec

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId
from qallow_agent.base.message import Message
from qallow_agent.base.reading import Reading
from qallow_agent.mesh.wire.kinds import Credential, DeviceAdvert, MemberRecord


class MemberUp(Message, tag="fact.member-up"):
    """A member is alive (first seen, back, or with a new contact or epoch)."""

    record: MemberRecord


class MemberSuspect(Message, tag="fact.member-suspect"):
    """A member does not answer; it may still refute."""

    node: NodeId
    accusers: tuple[NodeId, ...]


class MemberDown(Message, tag="fact.member-down"):
    """A member is dead or has left; its work must move."""

    node: NodeId
    left: bool


class MemberMet(Message, tag="fact.member-met"):
    """A credential was verified: this node may be linked and, if new, added to the members."""

    credential: Credential
    contact: Contact


class MemberHeardOf(Message, tag="fact.member-heard"):
    """Somebody claims to be a member at this contact; the door will tell."""

    node: NodeId
    contact: Contact
    curve_key: bytes


class AdvertChanged(Message, tag="fact.advert"):
    """The book holds a new advert of this node (or dropped an expired one)."""

    node: NodeId


class LinkRefused(Message, tag="fact.link-refused"):
    """The transport saw a link refused or reset: evidence that a peer's process is gone."""

    node: NodeId


class DeviceFaults(msgspec.Struct, frozen=True):
    """How many faults a device's hardware has told of so far, and the newest of them."""

    count: int
    newest: Complaint


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """A reading and the monotonic second at which it was taken."""

    reading: Reading
    at_s: float


class Sensed(Message, tag="fact.sensed"):
    """The shell's sensors: host readings by name and devices as probed.

    ``read_s`` says when (monotonic) a device was read that was not read just now.
    ``faults`` are those of devices by name, ``complaints`` what keeps devices from being found.
    ``surroundings`` is what people and other programs here feel: it stays on this node.
    ``desktop``: somebody is logged in at the machine itself.
    """

    readings: dict[str, Reading]
    devices: tuple[DeviceAdvert, ...]
    read_s: dict[str, float] = msgspec.field(default_factory=dict)
    faults: dict[str, DeviceFaults] = msgspec.field(default_factory=dict)
    complaints: tuple[Complaint, ...] = ()
    surroundings: dict[str, Noted] = msgspec.field(default_factory=dict)
    desktop: bool = False


class NtpAnswer(Message, tag="fact.ntp"):
    """One checked NTP answer, or why there is none."""

    server: str
    offset_s: float | None
    bound_s: float | None
    why: str = ""
