"""The simulator: complete agents on a virtual network in virtual time, faults at will.

The same seed gives the same run, message for message, whatever the hash seed;
``record.digest()`` names it.
Everything between the wires and the disk is the real thing: node, rooms, codec, seals, keys.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from qallow_agent.base.errors import InvariantBroken, QallowError, revive
from qallow_agent.base.message import Failure, Message, Report
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.node.build import RoomSettings
from qallow_agent.node.commands import CreateInvite, LeaveMesh, Revoke, StopAgent
from qallow_agent.testing.box import Box
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.effort import Order
from qallow_agent.testing.faults import Faults
from qallow_agent.testing.host import Clocks
from qallow_agent.testing.laws import CONVERGED_S, Laws
from qallow_agent.testing.network import Network, Weather
from qallow_agent.testing.premises import Rules, default_rooms
from qallow_agent.testing.record import Record
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.timeline import Timeline

LOOK_ROUND_S: Seconds = 1.0
LOOK_S: Seconds = 0.1
HOLD_S: Seconds = 2.0
"""Books that agree so long are not about to change."""
ANSWER_S: Seconds = 5.0


@dataclass(slots=True)
class Plan:
    """How a simulation is set up.

    Args:
        seed: Decides everything that chance decides.
        rooms: Settings of every room.
        transport: Settings of the transport.
        dispatch: Settings of clients' dispatchers.
        weather: The network's quality at first.
        craft: What each machine is good for.
        clock_off_s: Wall clocks start up to this far from the truth.
        drift_ppm: Clocks run up to this much fast or slow.
        strict_clocks: Machines whose clocks are apart take no work, as outside of simulations.
        check_every: Nodes check themselves after every so many steps; 1 but for large meshes.
    """

    seed: int = 0
    rooms: RoomSettings = field(default_factory=default_rooms)
    transport: TransportSettings = field(default_factory=TransportSettings)
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    weather: Weather = field(default_factory=Weather)
    craft: Craft = field(default_factory=Craft)
    clock_off_s: Seconds = 0.5
    drift_ppm: float = 50.0
    strict_clocks: bool = False
    check_every: int = 1


class Simulation:
    """Boxes, clients and the network between them.

    Args:
        plan: How it is set up; the defaults are a LAN in good weather.
    """

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or Plan()
        self.timeline = Timeline()
        self.rng = Random(f"qallow/{self.plan.seed}")
        self.network = Network(
            self.timeline, Random(f"qallow/{self.plan.seed}/network"), replace(self.plan.weather)
        )
        self.boxes: dict[str, Box] = {}
        self.clients: list[VirtualClient] = []
        self.laws = Laws(self.boxes, self.network)
        self.faults = Faults(self.boxes, self.network, self.laws)
        self.record = Record(self.timeline, self.laws, self.plan.check_every)
        plan = self.plan
        self._rules = Rules(f"{plan.seed}", plan.rooms, plan.transport, plan.strict_clocks)
        self.timeline.after(LOOK_ROUND_S, self._look_round)

    # --- time -------------------------------------------------------------------------------------

    @property
    def now(self) -> Seconds:
        """Seconds since the beginning."""
        return self.timeline.now

    def run(self, seconds: Seconds) -> None:
        """Let time pass."""
        self.timeline.run(self.now + seconds)

    def until(
        self, condition: Callable[[], bool], within_s: Seconds, every_s: Seconds = 0.0
    ) -> Seconds:
        """Let time pass until something holds; return how long that took.

        Args:
            condition: Looked at after everything that happens, or every ``every_s``.
            within_s: How long it may take.
            every_s: Above 0 for conditions that cost much to look at.

        Raises:
            InvariantBroken: It did not come to hold in time.
        """
        began_s = self.now
        if every_s:
            while not (holds := condition()) and self.now < began_s + within_s:
                self.run(every_s)
        else:
            holds = self.timeline.run(began_s + within_s, condition)
        if not holds:
            raise InvariantBroken(f"it did not come true within {within_s:g} s")
        return self.now - began_s

    # --- boxes ------------------------------------------------------------------------------------

    def add(self, name: str, *, lan: str = "lan", craft: Craft | None = None) -> Box:
        """Put a new machine on the network; nothing runs there yet."""
        number = len(self.boxes) + 1
        plan, rng = self.plan, self.rng
        off_s = plan.clock_off_s * (2 * rng.random() - 1)
        drift_ppm = plan.drift_ppm * (2 * rng.random() - 1)
        clocks = Clocks(self.timeline, 1000.0 * rng.random(), off_s, drift_ppm)
        box = Box(
            name=name,
            address=f"10.0.{number // 250}.{number % 250 + 1}",
            lan=lan,
            rules=self._rules,
            network=self.network,
            clocks=clocks,
            craft=craft or replace(plan.craft),
            look_on=self.record,
        )
        self.boxes[name] = box
        return box

    def found(self, name: str, *, mesh_name: str = "sim") -> Box:
        """Put up a machine whose agent founds the mesh."""
        box = self.boxes.get(name) or self.add(name)
        self.laws.disturb()
        box.found(mesh_name)
        return box

    def join(self, name: str, via: str, **invite: object) -> Box:
        """Put up a machine whose agent joins with a fresh invite; return when it is a member.

        Raises:
            QallowError: As the door says no.
        """
        return self.join_with(name, self.invite(via, **invite))

    def join_with(self, name: str, token: str) -> Box:
        """Put up a machine whose agent joins with this invite; return when it is a member.

        Raises:
            QallowError: As the door says no.
        """
        box = self.boxes.get(name) or self.add(name)
        self.laws.disturb()
        answers: list[QallowError | None] = []
        box.join(token, answers.append)
        self.until(lambda: bool(answers), 20.0)
        if answers[0] is not None:
            raise answers[0]
        return box

    def mesh(self, names: Sequence[str], **invite: object) -> None:
        """Found a mesh on the first of some machines and let the others join it, all at once."""
        self.found(names[0])
        if len(names) == 1:
            return
        token = self.invite(names[0], uses=len(names) - 1, **invite)
        answers: list[QallowError | None] = []
        for name in names[1:]:
            box = self.boxes.get(name) or self.add(name)
            box.join(token, answers.append)
        self.until(lambda: len(answers) == len(names) - 1, 20.0)
        for error in answers:
            if error is not None:
                raise error

    def invite(self, host: str, **wish: object) -> str:
        """Return an invite that a member made, as the command line would print it.

        Raises:
            QallowError: It may not, or cannot.
        """
        answer = self.ask(host, CreateInvite(**wish))  # type: ignore[arg-type]
        if not isinstance(answer, Report):
            raise InvariantBroken(f"an invite was answered by {answer}")
        return str(answer.document["token"])

    def ask(self, name: str, message: Message) -> Message:
        """Ask an agent over its control socket and return the answer.

        Raises:
            QallowError: What the agent answered, if it was a Failure.
            InvariantBroken: It did not answer in time.
        """
        box = self.boxes[name]
        box.running()
        answers: list[Message] = []
        prefix = box.connect(lambda _, answer: answers.append(answer))
        box.ask(f"{prefix}/1", message)
        self.until(lambda: bool(answers), ANSWER_S)
        box.disconnect(prefix)
        answer = answers[0]
        if isinstance(answer, Failure):
            raise revive(answer.code, answer.message, hint=answer.hint, retryable=answer.retryable)
        return answer

    # --- farewells --------------------------------------------------------------------------------

    def leave(self, name: str) -> None:
        """Let an agent leave the mesh for good."""
        self.laws.disturb()
        self.ask(name, LeaveMesh())

    def stop(self, name: str) -> None:
        """Let an agent drain and stop."""
        self.laws.disturb()
        self.ask(name, StopAgent())

    def revoke(self, by: str, name: str, reason: str = "lost") -> None:
        """End a member's membership for ever."""
        self.laws.disturb()
        self.ask(by, Revoke(name, reason))

    # --- jobs -------------------------------------------------------------------------------------

    def submit(self, name: str, order: Order | None = None) -> VirtualClient:
        """Start a client on a machine, with one job."""
        number = len(self.clients) + 1
        rng = Random(f"qallow/{self.plan.seed}/client/{number}")
        client = VirtualClient(
            self.boxes[name],
            self.network,
            order or Order(),
            rng,
            lambda text: self.record.news(client, text),
            self.plan.dispatch,
        )
        self.clients.append(client)
        client.start()
        return client

    # --- laws -------------------------------------------------------------------------------------

    def settle(self, within_s: Seconds = CONVERGED_S) -> Seconds:
        """Wait until all books agree, for a while, and every job of a living client is over.

        Returns:
            Seconds until that began.

        Raises:
            InvariantBroken: Not in time; says what is missing.
        """
        began_s = settled_s = self.now
        while self.now - settled_s < HOLD_S:
            trouble = self.unsettled()
            if trouble and self.now - began_s > within_s:
                raise InvariantBroken(f"not settled within {within_s:g} s: {trouble}")
            self.run(LOOK_S)
            if trouble:
                settled_s = self.now
        for client in self.clients:
            client.check()
        return settled_s - began_s

    def unsettled(self) -> str:
        """Return what is not as it should be in a mesh that was left alone for long."""
        for client in self.clients:
            if not client.over:
                return f"{client.job} of a client on {client.box.name} still runs"
        for box in self.boxes.values():
            if box.up and box.node.rooms.desk.running():
                return f"{box.name} still owns {box.node.rooms.desk.running()} jobs"
        return self.laws.converged()

    def _look_round(self) -> None:
        self.laws.look_round()
        self.timeline.after(LOOK_ROUND_S, self._look_round)
