"""Submissions: judge a job against its kernel's spec, and find devices when the desk asks."""

from qallow_agent.base.errors import InvariantBroken, NotAllowed
from qallow_agent.base.ids import Entropy, NodeId, Sender
from qallow_agent.base.machine import Announce, Effect, Instant
from qallow_agent.base.message import Message
from qallow_agent.jobs.local import Choice, PlacementMade, PlacementWanted
from qallow_agent.jobs.messages import Demand, SubmitJob
from qallow_agent.jobs.model import Needs, Terms
from qallow_agent.mesh.wire.kinds import Advert, DeviceAdvert, Role
from qallow_agent.node.permissions import SUBMITTERS
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.router import choose


class Submissions:
    """Carries jobs between the kernels' specs, the desk, the advert book and the router.

    Args:
        me: Who this node is.
        rooms: Its rooms.
        rng: Entropy for the router's draws.
    """

    def __init__(self, me: Self, rooms: Rooms, rng: Entropy) -> None:
        self._me = me
        self._rooms = rooms
        self._rng = rng

    def submit(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Validate a job against its kernel and hand it to the desk.

        Raises:
            NotAllowed: This node may not submit: no bench would serve it.
            UnknownKernel: This node does not know the kernel; the hint names the closest.
            BadParameter: A parameter is wrong; the message names kernel, parameter and bounds.
        """
        if not isinstance(message, SubmitJob):
            raise InvariantBroken(f"{type(message).__name__} is no submission")
        roles = self._rooms.doorkeeper.roles_of(self._me.node)
        if not any(role in SUBMITTERS for role in roles):
            raise NotAllowed(
                f"this node may not submit jobs: it holds the roles {', '.join(roles) or 'none'}",
                hint="submit from another node, or join it again with an invite --role submitter",
            )
        entry = self._rooms.catalog.entry(message.kernel)
        spec = entry.kernel.spec
        values = spec.validate(message.sample, swept=message.extremes, shapes=message.shapes)
        needed = spec.demand(values, shapes=message.shapes)
        demand = Demand(
            ops=needed.ops,
            memory_bytes=needed.memory_bytes,
            input_bytes=needed.input_bytes,
            output_bytes=needed.output_bytes,
        )
        warnings = spec.warnings(values, message.extremes)
        return self._rooms.desk.submit(sender, message, Terms(entry.hash, demand, warnings), now)

    def place(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Answer the desk's wish for leases from the newest adverts."""
        del sender, now
        if not isinstance(message, PlacementWanted):
            raise InvariantBroken(f"{type(message).__name__} is no wish for leases")
        needs = self._rooms.desk.needs(message.job)
        if needs is None:
            return []
        decision = choose(
            _request(message, needs), self._candidates(needs), self._rooms.placement, self._rng
        )
        choices = tuple(
            Choice(each.node, each.device, each.slots, each.why) for each in decision.choices
        )
        made = PlacementMade(
            message.job, choices, decision.reason, decision.hint, never=decision.never
        )
        return [Announce(made)]

    def _candidates(self, needs: Needs) -> tuple[Candidate, ...]:
        """Return every device of every live worker, as its advert describes it."""
        rooms = self._rooms
        found: list[Candidate] = []
        for record in rooms.membership.members():
            advert = rooms.adverts.snapshot().get(record.node)
            known = record.node == self._me.node or record.node in rooms.membership.alive()
            works = Role.WORKER in rooms.doorkeeper.roles_of(record.node)
            if advert is not None and known and works:
                found += [
                    self._candidate(record.node, record.name, advert, device, needs)
                    for device in advert.devices
                ]
        return tuple(found)

    def _candidate(
        self, node: NodeId, name: str, advert: Advert, device: DeviceAdvert, needs: Needs
    ) -> Candidate:
        clock = None if node == self._me.node else self._rooms.sync.peer_offset(node)
        return Candidate(
            node=node,
            node_name=name,
            device=device.name,
            kind=device.kind,
            state=device.state.value,
            slots=device.slots,
            busy=device.busy,
            memory_bytes=device.memory_bytes,
            kernels={
                kernel.name: kernel.hash
                for kernel in advert.kernels
                if device.kind in kernel.backends
            },
            rate=device.rates.get(needs.order.kernel),
            rtt_s=0.0 if clock is None else clock.rtt_s,
            simulated=device.simulated,
            why=device.why,
        )


def _request(wanted: PlacementWanted, needs: Needs) -> Request:
    order, demand = needs.order, needs.terms.demand
    return Request(
        kernel=order.kernel,
        kernel_hash=needs.terms.kernel_hash,
        slots=wanted.slots,
        points=order.points,
        ops=demand.ops,
        memory_bytes=demand.memory_bytes,
        transfer_bytes=demand.input_bytes + demand.output_bytes,
        device=order.options.device,
        prefer=order.options.prefer,
        avoid=wanted.avoid,
    )
