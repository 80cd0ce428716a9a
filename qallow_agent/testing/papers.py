"""What makes a box somebody: its keys, what its disk keeps of its standing, and its knock."""

import hashlib
from dataclasses import replace
from random import Random

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import JoinRefused, PeerError, revive
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import KEY_BYTES, CurveKey, NodeKeys, SigningKey
from qallow_agent.base.message import Failure
from qallow_agent.mesh.io.port import Arrival, KnockFailed, Packet
from qallow_agent.mesh.trust import standing
from qallow_agent.mesh.trust.invites import Invitation
from qallow_agent.mesh.trust.standing import Standing
from qallow_agent.mesh.wire.kinds import JoinWelcome
from qallow_agent.node.post import make_post
from qallow_agent.testing.host import Clocks, Disk
from qallow_agent.testing.premises import Rules

_MESH_KEY = "mesh.key"
_EPOCH = "boot/epoch"


class Papers:
    """Founds, joins and comes back, as ``runtime/joining`` does, from seeded keys.

    Args:
        name: The box.
        rules: Holds the seed.
        disk: Where standing, epoch and mesh key are kept.
        clocks: Date everything.
    """

    def __init__(self, name: str, rules: Rules, disk: Disk, clocks: Clocks) -> None:
        self._name = name
        self._rules = rules
        self._disk = disk
        self._clocks = clocks
        self._own = NodeKeys(
            SigningKey(self._secret("identity")),
            CurveKey(self._secret("curve")),
            ledger=self._secret("ledger"),
        )
        self.node = NodeId(self._own.identity.id)

    def keys(self) -> NodeKeys:
        """Return its keys, with the mesh key if this box has it."""
        mesh = self._disk.files.get(_MESH_KEY)
        return replace(self._own, mesh=SigningKey(mesh) if mesh else None)

    def next_epoch(self) -> int:
        """Return a boot epoch larger than every one before, already durable.

        Raises:
            StorageFull: The disk is full.
        """
        previous = int(self._disk.files.get(_EPOCH, b"0"))
        epoch = max(previous + 1, self._clocks.read().wall_ns // 1_000_000)
        self._disk.put(_EPOCH, str(epoch).encode())
        return epoch

    def found(self, mesh_name: str, epoch: int) -> Standing:
        """Return the standing of a mesh's first node."""
        self._disk.put(_MESH_KEY, self._secret("mesh"))
        trust, keyring = self._rules.rooms.trust, self._secret("keyring")
        keys, now_s = self.keys(), self._now_s()
        return self._keep(
            standing.found_mesh(keys, self._name, mesh_name, keyring, epoch, now_s, trust)
        )

    def request(self, invitation: Invitation, contact: Contact, epoch: int) -> bytes:
        """Return what to say at the door of an invite's host.

        Raises:
            JoinRefused: The invite has expired by this box's clock.
        """
        request = standing.join_request(
            invitation, self.keys(), self._name, contact, epoch, self._now_s()
        )
        return make_post(self.node).seal(request, self._clocks.read(), at_door=True)

    def welcomed(self, event: Arrival, invitation: Invitation) -> Standing:
        """Return the standing that the host's answer grants.

        Raises:
            QallowError: It grants none, and why.
        """
        if isinstance(event, KnockFailed):
            raise PeerError(f"the host of this invite cannot be reached: {event.reason}")
        if not isinstance(event, Packet):
            raise PeerError("the host went away")
        message = make_post(self.node).open(event.sender, event.data, event.received)
        if isinstance(message, Failure):
            raise revive(
                message.code, message.message, hint=message.hint, retryable=message.retryable
            )
        if not isinstance(message, JoinWelcome):
            raise JoinRefused("the host answered something else than a welcome")
        return self._keep(standing.accept_welcome(message, invitation, self.keys(), self._now_s()))

    def kept(self, epoch: int) -> Standing:
        """Return the standing of an earlier boot, bound to this one.

        Raises:
            PeerError: There is none.
            StorageCorrupt: It does not decode.
        """
        data = self._disk.kept("trust").get(standing.NAME)
        if data is None:
            raise PeerError(f"{self._name} belongs to no mesh")
        return standing.rebind(standing.decode_standing(data), self.keys(), epoch, self._now_s())

    def entropy(self, boot: int, what: str) -> Random:
        """Return the entropy of one part of one boot."""
        return Random(f"{self._rules.seed}/{self._name}/{boot}/{what}")

    def _keep(self, granted: Standing) -> Standing:
        self._disk.put(standing.NAME, standing.encode_standing(granted))
        return granted

    def _now_s(self) -> int:
        return self._clocks.read().wall_ns // 1_000_000_000

    def _secret(self, what: str) -> bytes:
        text = f"{self._rules.seed}/{self._name}/{what}".encode()
        return hashlib.blake2b(text, digest_size=KEY_BYTES, person=b"qallow-sim").digest()
