"""The survey: every device of every live worker as placement wants to see it."""

from typing import Any

from qallow_agent.base.errors import Forbidden, NotAdmitted
from qallow_agent.base.ids import NodeId, Sender
from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.local import LinkMeasured, PlacementWanted, StartMeasured
from qallow_agent.jobs.messages import SubmitJob
from qallow_agent.jobs.model import Terms
from qallow_agent.mesh.wire.gate import GateState
from qallow_agent.mesh.wire.kinds import Advert, DeviceAdvert, DeviceState, MemberRecord, Role
from qallow_agent.node.grants import barred
from qallow_agent.node.metering import energy_of
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.placement.experience import Experience
from qallow_agent.placement.request import Candidate, Request

_TRUSTED = (DeviceState.OK, DeviceState.HOT, DeviceState.WARMING)
_SHUT = {NotAdmitted.code: "refuses", Forbidden.code: "forbids"}
_AVAILABLE = "memory_available"
"""The reading that every sensor of memory calls so."""


class Survey:
    """Joins adverts, membership, clocks and what was seen of links and start-ups.

    Args:
        me: Who this node is.
        rooms: Its rooms.
    """

    def __init__(self, me: Self, rooms: Rooms) -> None:
        self._me = me
        self._rooms = rooms
        self.experience = Experience(rooms.placement.hot_s)

    def candidates(self, kernel: str, now: Seconds) -> tuple[Candidate, ...]:
        """Return every device of every live worker, as its advert describes it."""
        rooms, me = self._rooms, self._me.node
        adverts = rooms.adverts.snapshot()
        alive = {*rooms.membership.alive(), me}
        own = rooms.desk.commitments()
        found: list[Candidate] = []
        for record in rooms.membership.members():
            advert = adverts.get(record.node)
            forked = rooms.council.forks.forked(record.node)
            if advert is None or record.node not in alive or forked:
                continue
            if Role.WORKER in rooms.doorkeeper.roles_of(record.node):
                # An advert may be older than what this node's own jobs did since.
                found += [
                    self._candidate(record, advert, device, kernel, now).with_own(
                        *own.get((record.node, device.name), (0, 0))
                    )
                    for device in advert.devices
                ]
        return tuple(found)

    def unheard(self) -> int:
        """Return how many live workers have not told yet which devices they have."""
        rooms = self._rooms
        adverts, alive = rooms.adverts.snapshot(), {*rooms.membership.alive(), self._me.node}
        return sum(
            record.node in alive
            and record.node not in adverts
            and Role.WORKER in rooms.doorkeeper.roles_of(record.node)
            for record in rooms.membership.members()
        )

    def learn(self, _: Sender, fact: LinkMeasured | StartMeasured, _now: Instant) -> list[Effect]:
        """Take in what a job saw of a link or of a start."""
        if isinstance(fact, LinkMeasured):
            self.experience.learn_link(fact.node, fact.bytes_per_s)
        else:
            self.experience.learn_start(f"{fact.node}/{fact.device}", fact.seconds)
        return []

    def rtt_s(self, node: NodeId) -> Seconds | None:
        """Return the round trip to a node; 0 for this one, None where nothing was measured."""
        if node == self._me.node:
            return 0.0
        clock = self._rooms.sync.peer_offset(node)
        return None if clock is None else clock.rtt_s

    def _candidate(
        self,
        record: MemberRecord,
        advert: Advert,
        device: DeviceAdvert,
        kernel: str,
        now: Seconds,
    ) -> Candidate:
        key = f"{record.node}/{device.name}"
        seen = self.experience
        hot = seen.hot(key, now, seen_hot=device.state is DeviceState.HOT)
        rtt_s = self.rtt_s(record.node)
        cooling = hot and device.state is DeviceState.OK
        against = self._rooms.audits.against(key)
        state, why = (DeviceState.HOT if cooling else device.state).value, device.why
        if against is not None and state in _TRUSTED:
            state, why = DeviceState.QUARANTINED.value, against.why
        trial = device.trial > 0 or (against is not None and device.state in _TRUSTED)
        return Candidate(
            node=record.node,
            node_name=record.name,
            device=device.name,
            kind=device.kind,
            state=state,
            slots=device.slots,
            busy=device.busy,
            memory_bytes=device.memory_bytes,
            kernels={
                each.name: each.hash for each in advert.kernels if device.kind in each.backends
            },
            rate=device.rates.get(kernel),
            tried=kernel in device.tried,
            joules_per_op=device.joules.get(kernel),
            rtt_s=self._rooms.placement.rtt_s if rtt_s is None else rtt_s,
            rtt_assumed=rtt_s is None,
            bandwidth_bytes=seen.link(record.node),
            start_s=seen.start_s(key),
            warm=device.warm,
            waiting=device.waiting,
            reserved_bytes=device.reserved_bytes,
            available_bytes=_available_bytes(advert, device),
            model=device.model,
            metered=energy_of(device).value is not None,
            simulated=device.simulated,
            why=why,
            trial=trial,
            **_gate_of(device),
            barred=barred(self._rooms, self._me.node, kernel, record.node),
        )


def _gate_of(device: DeviceAdvert) -> dict[str, Any]:
    """Return what a device's gate says, as a candidate holds it."""
    gate = device.gate
    if gate is None:
        return {}
    shut = "" if gate.state is GateState.OPEN else gate.state.value
    return {"gate": shut, "gate_why": gate.why, "gate_fix": gate.fix, "e": gate.e}


def _available_bytes(advert: Advert, device: DeviceAdvert) -> float | None:
    """Return the memory of a device that nobody uses; a CPU's is that of its machine."""
    reading = device.readings.get(_AVAILABLE)
    if reading is None and device.kind == "cpu":
        reading = advert.readings.get(_AVAILABLE)
    return None if reading is None else reading.value


def request_of(
    order: SubmitJob, terms: Terms, slots: int, wanted: PlacementWanted | None = None
) -> Request:
    """Return a job as the router wants to know it.

    Args:
        order: What the client asked.
        terms: What validation added.
        slots: Runners wanted.
        wanted: The desk's wish, which names devices to leave alone.
    """
    demand = terms.demand
    return Request(
        kernel=order.kernel,
        kernel_hash=terms.kernel_hash,
        slots=slots,
        points=order.points * max(1, order.options.verify),
        ops=demand.ops,
        memory_bytes=demand.memory_bytes,
        transfer_bytes=demand.input_bytes + demand.output_bytes,
        device=order.options.device,
        prefer=order.options.prefer,
        avoid=() if wanted is None else wanted.avoid,
        max_joules=order.options.max_joules,
        places=order.options.verify if wanted is None else wanted.places,
        held=() if wanted is None else wanted.held,
        shut={} if wanted is None else {key: _SHUT[code] for key, code in wanted.shut.items()},
    )
