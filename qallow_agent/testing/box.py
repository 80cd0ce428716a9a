"""A box: one machine with one agent on it, from its first boot to its last.

Keys and disk outlive every boot, as they do on a real machine; nothing else does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from qallow_agent.base.codec import Codec
from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import PeerError, QallowError
from qallow_agent.base.hlc import HybridClock
from qallow_agent.base.ids import SENSORS, Sender
from qallow_agent.base.message import Message, kinds
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.io.port import Arrival
from qallow_agent.mesh.trust.invites import decode_invitation
from qallow_agent.mesh.trust.standing import Standing
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.seal import Sealer
from qallow_agent.node.build import Ingredients, build_node
from qallow_agent.node.commands import CONTROL_KINDS
from qallow_agent.node.node import Node
from qallow_agent.node.post import make_post
from qallow_agent.testing.host import Clocks, Disk
from qallow_agent.testing.links import Site
from qallow_agent.testing.network import Network
from qallow_agent.testing.papers import Papers
from qallow_agent.testing.premises import (
    LOAD,
    RELEASE,
    Lenient,
    Onlooker,
    Rules,
    device_of,
    simulated_catalog,
    surroundings_of,
)
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.shell import Shell, Watch
from qallow_agent.testing.timeline import Process
from qallow_agent.testing.transport import VirtualTransport
from qallow_agent.testing.yard import VirtualYard

JOIN_DEADLINE_S: Seconds = 14.0
SENSE_S: Seconds = 10.0
"""How often a virtual machine's sensors are read."""
METER_S: Seconds = 1.0
"""How often they are where there is a meter."""

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


@dataclass(slots=True)
class _Boot:
    """One start of the program: its process and transport, before and after it is a member."""

    epoch: int
    process: Process
    transport: VirtualTransport
    inlet: "_Inlet"


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
        look_on: Told of everything that happens here.
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
        self.papers = Papers(name, rules, self.disk, clocks)
        self.id = self.papers.node
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
        boot = self._power_on()
        self._start(self.papers.found(mesh_name, boot.epoch), boot)

    def join(self, token: str, done: Callable[[QallowError | None], None]) -> None:
        """Knock with an invite, and start the agent when it is granted a standing.

        Args:
            token: As ``invite`` printed it.
            done: Told how it went.

        Raises:
            UsageError: The token is mangled.
            JoinRefused: It has expired.
        """
        invitation = decode_invitation(token)
        boot = self._power_on()
        sealed = self.papers.request(invitation, boot.transport.contact, boot.epoch)

        def answered(event: Arrival) -> None:
            try:
                granted = self.papers.welcomed(event, invitation)
            except QallowError as error:
                self.kill(error.message)
                done(error)
                return
            self._start(granted, boot)
            done(None)

        boot.inlet.take = answered
        boot.transport.knock(
            invitation.contact, invitation.host_key, sealed, _JOINING, JOIN_DEADLINE_S
        )

    def boot(self) -> None:
        """Start the agent again from what its disk holds.

        Raises:
            PeerError: It belongs to no mesh.
            StorageCorrupt: The kept standing does not decode.
            StorageFull: The disk is full, so that the new epoch cannot be kept.
        """
        boot = self._power_on()
        self._start(self.papers.kept(boot.epoch), boot)

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
        self.tell(sender, _CONTROL.decode(_CONTROL.encode(message)))

    def tell(self, sender: Sender, message: Message) -> None:
        """Hand the agent a fact of its own machine."""
        if self.up:
            self.running().shell.deliver(sender, message)

    # --- how it is done ---------------------------------------------------------------------------

    def _power_on(self) -> _Boot:
        epoch = self.papers.next_epoch()
        self.boots += 1
        process = self._process = Process(self._network.timeline)
        inlet = _Inlet()
        transport = VirtualTransport(
            Site(self._network, process, self.address, self.lan, self.clocks.read, inlet.hand_over),
            contact=Contact((self.address,), _STREAM, _DOOR, _DATAGRAM),
            curve_key=self.papers.keys().curve.public,
            settings=self._rules.transport,
            rng=self.papers.entropy(self.boots, "transport"),
        )
        self._network.listen(transport)
        return _Boot(epoch, process, transport, inlet)

    def _start(self, granted: Standing, boot: _Boot) -> None:
        process, transport = boot.process, boot.transport
        sealer = Sealer(granted.keyring, granted.mesh, granted.node, boot.epoch)
        transport.unlock(sealer.seal, sealer.open)
        node = self._build(granted, boot)
        if not self._rules.strict_clocks:
            judges = node.governance.validators.judges
            law = Lenient(node.governance.law, judges.law)
            node.governance.law, judges.law = law, law.mesh
        yard = VirtualYard(
            network=self._network,
            agent=process,
            host=self.address,
            craft=self.craft,
            rng=self.papers.entropy(self.boots, "yard"),
            deliver=self.tell,
        )
        shell = Shell(
            node,
            post=make_post(node.me.node, node.rooms.ledger.clock),
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
        boot.inlet.take = shell.take
        self.ended = ""
        self.agent = Agent(node, shell, transport, yard, process)
        shell.start()
        process.after(0.0, partial(self._sense, process))

    def _build(self, granted: Standing, boot: _Boot) -> Node:
        logbook = self.disk.logbook(granted.mesh)
        return build_node(
            Ingredients(
                keys=self.papers.keys(),
                standing=granted,
                contact=boot.transport.contact,
                epoch=boot.epoch,
                release=RELEASE,
                catalog=simulated_catalog(),
                settings=self._rules.rooms,
                rng=self.papers.entropy(self.boots, "node"),
                kept=self.disk.kept,
                past=logbook.open(),
                read_tile=logbook.read,
                mirrored=lambda owner: self.disk.mirror(granted.mesh, owner).open(),
                clock=HybridClock(),
            )
        )

    def _stopped(self, process: Process, reason: str) -> None:
        self.ended = reason
        if reason == "left":
            for room in ("trust", "discovery", "membership"):
                self.disk.forget(room)
        process.after(0.0, process.die)

    def _sense(self, process: Process) -> None:
        """Read the machine's sensors, now and every so often."""
        worked_s = self.running().yard.worked_s()
        device = device_of(self.craft, self._network.timeline.now, worked_s)
        craft = self.craft
        felt = surroundings_of(craft, self.clocks.read().mono_s)
        self.tell(
            SENSORS,
            Sensed(
                {"load": LOAD} | craft.machine,
                (device,),
                surroundings=felt,
                desktop=craft.desktop,
            ),
        )
        closely = craft.idle_w or craft.desktop or craft.readings or craft.margin_c is not None
        rest_s = METER_S if closely else SENSE_S
        process.after(rest_s, partial(self._sense, process))

    def _reply(self, to: Sender, message: Message) -> None:
        tell = self._clients.get(to.rpartition("/")[0])
        if tell is not None:
            tell(to, _CONTROL.decode(_CONTROL.encode(message)))


class _Inlet:
    """Where a transport's arrivals go: to the joining first, to the shell later."""

    def __init__(self) -> None:
        self.take: Callable[[Arrival], None] | None = None

    def hand_over(self, event: Arrival) -> None:
        """Pass an arrival on."""
        if self.take is not None:
            self.take(event)
