"""Coming by a standing: kept from last time, granted at a host's door, or as a mesh's founder."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import zmq

from qallow_agent.base.errors import ConfigError, JoinRefused, PeerError, revive
from qallow_agent.base.ids import NodeId, Sender
from qallow_agent.base.keys import KEY_BYTES, NodeKeys, SigningKey
from qallow_agent.base.machine import Instant
from qallow_agent.base.message import Failure, Message
from qallow_agent.mesh.io.port import KnockFailed, Packet, Transport
from qallow_agent.mesh.trust import invites, standing
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.mesh.trust.standing import Standing
from qallow_agent.mesh.wire.kinds import JoinWelcome
from qallow_agent.node.post import make_post
from qallow_agent.runtime.keyring import ensure_key
from qallow_agent.runtime.store import StateStore

JOIN_DEADLINE_S = 15.0
"""A host that has not answered by then will not; the error says what to check."""

_JOINING: Sender = "@trust/joining"


class Entrance:
    """Obtains this node's standing before the node exists.

    Args:
        store: The state directory, already ours.
        keys: This node's keys.
        name: What the node is called.
        epoch: This boot's epoch.
        settings: The trust room's settings.
        clock: Reads both time axes.
    """

    def __init__(
        self,
        *,
        store: StateStore,
        keys: NodeKeys,
        name: str,
        epoch: int,
        settings: TrustSettings,
        clock: Callable[[], Instant],
    ) -> None:
        self._store = store
        self._keys = keys
        self._name = name
        self._epoch = epoch
        self._settings = settings
        self._clock = clock

    def kept(self) -> Standing | None:
        """Return the standing of an earlier boot, bound to this one; None when there is none.

        Raises:
            StorageCorrupt: The kept bytes do not decode.
            ConfigError: They belong to another node key.
        """
        data = self._store.kept("trust").get(standing.NAME)
        if data is None:
            return None
        kept = standing.decode_standing(data)
        return standing.rebind(kept, self._keys, self._epoch, self._now_s())

    def found(self, mesh_name: str) -> tuple[Standing, NodeKeys]:
        """Make a mesh key and return the standing of its first node, with the keys to use now.

        Raises:
            ConfigError: A name cannot be one, or the mesh key cannot be written.
        """
        mesh_key = SigningKey(ensure_key(self._store.directory / "mesh.key"))
        keys = replace(self._keys, mesh=mesh_key)
        founded = standing.found_mesh(
            keys,
            self._name,
            mesh_name,
            os.urandom(KEY_BYTES),
            self._epoch,
            self._now_s(),
            self._settings,
        )
        return self._keep(founded), keys

    def join(self, token: str, transport: Transport) -> Standing:
        """Knock at the host that an invite names and return the standing it grants.

        Raises:
            UsageError: The token is mangled.
            JoinRefused: The host says no, and why.
            PeerError: The host cannot be reached or its answer is not genuine.
        """
        invitation = invites.decode_invitation(token)
        request = standing.join_request(
            invitation, self._keys, self._name, transport.contact, self._epoch, self._now_s()
        )
        post = make_post(NodeId(self._keys.identity.id))
        sealed = post.seal(request, self._clock(), at_door=True)
        hosts = ", ".join(invitation.contact.addresses(invitation.contact.door))
        transport.knock(
            invitation.contact, invitation.host_key, sealed, _JOINING, JOIN_DEADLINE_S - 1
        )
        answer = self._await_answer(transport, hosts)
        message = post.open(answer.sender, answer.data, answer.received)
        return self._keep(_welcomed(message, invitation, self._keys, self._now_s()))

    def _await_answer(self, transport: Transport, hosts: str) -> Packet:
        deadline_s = time.monotonic() + JOIN_DEADLINE_S
        poller = zmq.Poller()
        for descriptor in transport.pollables():
            poller.register(descriptor, zmq.POLLIN)
        reason = f"no answer within {JOIN_DEADLINE_S:.0f} s"
        while time.monotonic() < deadline_s:
            poller.poll(50)
            for event in transport.drain():
                if isinstance(event, Packet) and event.sender == _JOINING:
                    return event
                if isinstance(event, KnockFailed) and event.reply_as == _JOINING:
                    reason, deadline_s = event.reason, 0.0
        raise PeerError(
            f"the host of this invite cannot be reached at {hosts}: {reason}",
            hint="check that it runs, that this box can reach it, and that a firewall lets its "
            "door port in; or make the invite anew with --host ADDRESS",
            retryable=True,
        )

    def _keep(self, granted: Standing) -> Standing:
        self._store.put(standing.NAME, standing.encode_standing(granted))
        return granted

    def _now_s(self) -> int:
        return self._clock().wall_ns // 1_000_000_000


def _welcomed(
    message: Message, invitation: invites.Invitation, keys: NodeKeys, now_s: int
) -> Standing:
    if isinstance(message, Failure):
        raise revive(message.code, message.message, hint=message.hint, retryable=message.retryable)
    if not isinstance(message, JoinWelcome):
        raise JoinRefused("the host answered something else than a welcome")
    return standing.accept_welcome(message, invitation, keys, now_s)


def refuse_second_mesh(kept: Standing, token: str) -> None:
    """Check that an invite is for the mesh this node already belongs to.

    Raises:
        UsageError: The token is mangled.
        ConfigError: It is for another mesh.
    """
    wanted = invites.decode_invitation(token).mesh
    if wanted != kept.mesh:
        raise ConfigError(
            f"this node already belongs to the mesh {kept.mesh_name!r}, the invite is for another",
            hint="run 'qallow-agent leave' first, or give this agent its own node.state_dir",
        )


def forget_mesh(store: StateStore) -> None:
    """Delete what membership left behind; the node's identity stays."""
    for room in ("trust", "discovery", "membership"):
        store.forget(room)
    Path(store.directory / "mesh.key").unlink(missing_ok=True)
