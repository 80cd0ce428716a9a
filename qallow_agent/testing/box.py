"""A box: one machine with one agent on it, from its first boot to its last.

Keys and disk outlive every boot, as they do on a real machine; nothing else does.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from qallow_agent.base.codec import Codec
from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import JoinRefused, PeerError, QallowError, revive
from qallow_agent.base.ids import SENSORS, NodeId, Sender
from qallow_agent.base.keys import KEY_BYTES, CurveKey, NodeKeys, SigningKey
from qallow_agent.base.message import Failure, Message, kinds
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.port import Arrival, KnockFailed, Packet
from qallow_agent.mesh.trust import invites, standing
from qallow_agent.mesh.trust.invites import Invitation
from qallow_agent.mesh.trust.standing import Standing
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.kinds import JoinWelcome
from qallow_agent.mesh.wire.seal import Sealer
from qallow_agent.node.build import Ingredients, build_node
from qallow_agent.node.commands import CONTROL_KINDS
from qallow_agent.node.node import Node
from qallow_agent.node.post import make_post
from qallow_agent.testing.host import Clocks, Disk
from qallow_agent.testing.network import Network
from qallow_agent.testing.premises import LOAD, Onlooker, Rules, device_of, simulated_catalog
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.shell import Shell, Watch
from qallow_agent.testing.timeline import Process
from qallow_agent.testing.transport import VirtualTransport
from qallow_agent.testing.yard import VirtualYard

JOIN_DEADLINE_S: Seconds = 14.0
RELEASE = "0.0.0+simulated"
SENSE_S: Seconds = 10.0
"""How often a virtual machine's sensors are read."""

_JOINING: Sender = "@trust/joining"
_STREAM, _DOOR, _DATAGRAM = 7946, 7947, 7946
_CONTROL_LIMIT_BYTES = 16 << 20
_CONTROL = Codec(kinds(CONTROL_KINDS), _CONTROL_LIMIT_BYTES)

TellClient = Callable[[Sender, Message], None]


@dataclass(slots=True)
class Agent:
    """One boot of an agent that is a member."""

    node: Node
    shell: Shell
    transport: VirtualTransport
    yard: VirtualYard
    process: Process


class Box:
    """One machine.

    Args:
        name: Its name, and its agent's.
        address: Its IP address.
        lan: Where its beacons are heard.
        rules: What all boxes share.
        network: The wires.
        clocks: Its clocks.
        craft: How well it works.
        look_on: Told of everything: (box, event, ...).
    """

    def __init__(
        self,
        *,
        name: str,
        address: str,
        lan: str,
        rules: Rules,
        network: Network,
        clocks: Clocks,
        craft: Craft,
        look_on: Onlooker,
    ) -> None:
        self.name = name
        self.address = address
        self.lan = lan
        self.clocks = clocks
        self.craft = craft
        self.disk = Disk()
        self.agent: Agent | None = None
        self.keys = NodeKeys(
            SigningKey(_secret(rules.seed, name, "identity")),
            CurveKey(_secret(rules.seed, name, "curve")),
        )
        self.id = NodeId(self.keys.identity.id)
        self.boots = 0
        self.ended = ""
        """Why its agent is not running, if it is not."""
        self._rules = rules
        self._network = network
        self._look_on = look_on
        self._clients: dict[str, TellClient] = {}
        self._connections = 0
        self._process: Process | None = None

    @property
    def node(self) -> Node:
        """The node that runs here; a member must."""
        return self.running().node

    @property
    def up(self) -> bool:
        """Whether a member's agent runs here, frozen or not."""
        return self.agent is not None and self.agent.process.alive

    def running(self) -> Agent:
        """Return the agent that runs here.

        Raises:
            PeerError: None does.
        """
        if self.agent is None or not self.agent.process.alive:
            raise PeerError(f"no agent runs on {self.name}: {self.ended or 'never started'}")
        return self.agent

    # --- boots ------------------------------------------------------------------------------------

    def found(self, mesh_name: str) -> None:
        """Make a mesh and start its first agent."""
        seed = self._rules.seed
        self.disk.put("mesh.key", _secret(seed, self.name, "mesh"))
        epoch = self._next_epoch()
        granted = standing.found_mesh(
            self._all_keys(),
            self.name,
            mesh_name,
            _secret(seed, self.name, "keyring"),
            epoch,
            self._now_s(),
            self._rules.rooms.trust,
        )
        self._start(self._keep(granted), epoch, *self._power_on())

    def join(self, token: str, done: Callable[[QallowError | None], None]) -> None:
        """Knock with an invite, and start the agent when it is granted a standing.

        Args:
            token: As ``invite`` printed it.
            done: Told how it went.
        """
        epoch = self._next_epoch()
        invitation = invites.decode_invitation(token)
        request = standing.join_request(
            invitation, self.keys, self.name, self._contact(), epoch, self._now_s()
        )
        process, transport, inlet = self._power_on()

        def answered(event: Arrival) -> None:
            try:
                granted = self._keep(self._welcomed(event, invitation))
            except QallowError as error:
                self.ended = error.message
                process.die()
                done(error)
                return
            self._start(granted, epoch, process, transport, inlet)
            done(None)

        inlet.take = answered
        sealed = make_post(self.id).seal(request, self.clocks.read(), at_door=True)
        transport.knock(invitation.contact, invitation.host_key, sealed, _JOINING, JOIN_DEADLINE_S)

    def boot(self) -> None:
        """Start the agent again from what its disk holds.

        Raises:
            StorageCorrupt: The kept standing does not decode.
            StorageFull: The disk is full, so that the new epoch cannot be kept.
        """
        epoch = self._next_epoch()
        kept = standing.decode_standing(self.disk.kept("trust")[standing.NAME])
        granted = standing.rebind(kept, self._all_keys(), epoch, self._now_s())
        self._start(granted, epoch, *self._power_on())

    def kill(self, why: str = "killed") -> None:
        """End the agent as SIGKILL does, and its runners with it."""
        if self._process is not None and self._process.alive:
            self.ended = why
            self._process.die()

    # --- its control socket -----------------------------------------------------------------------

    def connect(self, tell: TellClient) -> str:
        """Open a control connection; return its prefix, to which clients add request numbers."""
        self._connections += 1
        prefix = f"@control/{self._connections}"
        self._clients[prefix] = tell
        return prefix

    def disconnect(self, prefix: str) -> None:
        """Close a control connection."""
        self._clients.pop(prefix, None)

    def ask(self, sender: Sender, message: Message) -> None:
        """Send a message over a control connection."""
        if self.up:
            heard = _CONTROL.decode(_CONTROL.encode(message))
            self.running().shell.deliver(sender, heard)

    def tell(self, sender: Sender, message: Message) -> None:
        """Hand the agent a fact of its own machine."""
        if self.up:
            self.running().shell.deliver(sender, message)

    # --- how it is done ---------------------------------------------------------------------------

    def _power_on(self) -> "tuple[Process, VirtualTransport, _Inlet]":
        self.boots += 1
        process = self._process = Process(self._network.timeline)
        inlet = _Inlet()
        transport = VirtualTransport(
            network=self._network,
            process=process,
            host=self.address,
            lan=self.lan,
            contact=self._contact(),
            curve_key=self.keys.curve.public,
            settings=self._rules.transport,
            rng=self._entropy("transport"),
            clock=self.clocks.read,
            take=lambda event: inlet.take(event),
        )
        self._network.transports[self.address] = transport
        process.at_death(lambda: self._network.transports.pop(self.address, None))
        return process, transport, inlet

    def _start(
        self,
        granted: Standing,
        epoch: int,
        process: Process,
        transport: VirtualTransport,
        inlet: "_Inlet",
    ) -> None:
        sealer = Sealer(granted.keyring, granted.mesh, granted.node, epoch)
        transport.unlock(sealer.seal, sealer.open)
        node = build_node(
            Ingredients(
                keys=self._all_keys(),
                standing=granted,
                contact=transport.contact,
                epoch=epoch,
                release=RELEASE,
                catalog=simulated_catalog(),
                settings=self._rules.rooms,
                rng=self._entropy("node"),
                kept=self.disk.kept,
            )
        )
        yard = VirtualYard(
            network=self._network,
            agent=process,
            host=self.address,
            craft=self.craft,
            rng=self._entropy("yard"),
            deliver=self.tell,
        )
        shell = Shell(
            node,
            post=make_post(node.me.node),
            transport=transport,
            yard=yard,
            disk=self.disk,
            clocks=self.clocks,
            process=process,
            watch=Watch(
                notice=partial(self._look_on.notice, self.name),
                step=partial(self._look_on.step, self.name),
                sent=partial(self._look_on.sent, self.name),
                reply=self._reply,
                stopped=partial(self._stopped, process),
            ),
        )
        inlet.take = shell.take
        self.ended = ""
        self.agent = Agent(node, shell, transport, yard, process)
        shell.start()
        process.after(0.0, partial(self._sense, process))

    def _stopped(self, process: Process, reason: str) -> None:
        self.ended = reason
        if reason == "left":
            for room in ("trust", "discovery", "membership"):
                self.disk.forget(room)
        process.after(0.0, process.die)

    def _sense(self, process: Process) -> None:
        """Read the machine's sensors, now and every so often."""
        self.tell(SENSORS, Sensed(readings={"load": LOAD}, devices=(device_of(self.craft),)))
        process.after(SENSE_S, partial(self._sense, process))

    def _reply(self, to: Sender, message: Message) -> None:
        tell = self._clients.get(to.rpartition("/")[0])
        if tell is not None:
            tell(to, _CONTROL.decode(_CONTROL.encode(message)))

    def _welcomed(self, event: Arrival, invitation: Invitation) -> Standing:
        if isinstance(event, KnockFailed):
            raise PeerError(f"the host of this invite cannot be reached: {event.reason}")
        if not isinstance(event, Packet):
            raise PeerError("the host went away")
        message = make_post(self.id).open(event.sender, event.data, event.received)
        if isinstance(message, Failure):
            raise revive(
                message.code, message.message, hint=message.hint, retryable=message.retryable
            )
        if not isinstance(message, JoinWelcome):
            raise JoinRefused("the host answered something else than a welcome")
        return standing.accept_welcome(message, invitation, self.keys, self._now_s())

    def _keep(self, granted: Standing) -> Standing:
        self.disk.put(standing.NAME, standing.encode_standing(granted))
        return granted

    def _contact(self) -> Contact:
        return Contact((self.address,), _STREAM, _DOOR, _DATAGRAM)

    def _all_keys(self) -> NodeKeys:
        mesh = self.disk.files.get("mesh.key")
        return NodeKeys(self.keys.identity, self.keys.curve, SigningKey(mesh) if mesh else None)

    def _next_epoch(self) -> int:
        previous = int(self.disk.files.get("boot/epoch", b"0"))
        epoch = max(previous + 1, self.clocks.read().wall_ns // 1_000_000)
        self.disk.put("boot/epoch", str(epoch).encode())
        return epoch

    def _now_s(self) -> int:
        return self.clocks.read().wall_ns // 1_000_000_000

    def _entropy(self, what: str) -> Random:
        return Random(f"{self._rules.seed}/{self.name}/{self.boots}/{what}")


class _Inlet:
    """Where a transport's arrivals go: to the joining first, to the shell later."""

    def __init__(self) -> None:
        self.take: Callable[[Arrival], None] = lambda _: None


def _secret(seed: str, name: str, what: str) -> bytes:
    text = f"{seed}/{name}/{what}".encode()
    return hashlib.blake2b(text, digest_size=KEY_BYTES, person=b"qallow-sim").digest()
