"""The bench runs other nodes' work here: it leases runners to desks, fairly and within limits.

Messages change the state of runners, leases and queues; the pump then looks at the device and
decides what follows: canaries, grants, starts, turns. So each decision is made in one place.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import Entropy, JobId, LeaseId, NodeId, RunnerId, Sender, is_local
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Instant
from qallow_agent.base.message import Message
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.admission import enforce, evict
from qallow_agent.jobs.agenda import Agenda
from qallow_agent.jobs.crew import Crew
from qallow_agent.jobs.hearings import Hearings
from qallow_agent.jobs.local import (
    BenchChanged,
    CanaryDone,
    LeaseOver,
    RunnerBusy,
    RunnerExited,
    RunnerReady,
    RunnerRests,
    RunnerTally,
)
from qallow_agent.jobs.messages import LeaseRelease, LeaseRenew, LeaseRequest
from qallow_agent.jobs.model import (
    Admission,
    BenchDevice,
    DeviceHealth,
    DeviceStatus,
    KernelOffer,
    LeaseEnd,
)
from qallow_agent.jobs.objections import objection
from qallow_agent.jobs.opinions import Consent, Dissent
from qallow_agent.jobs.pump import Pump
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.tenancies import Tenancies, deny, refuse
from qallow_agent.jobs.workplace import UNTRIED, Phase, Station, Workplace

_DEVICE = "device:"
"""Before the names of devices in the agenda, where runner ids stand too."""

_FromDesk = Callable[[NodeId, Any, Instant], list[Effect]]
_FromRunner = Callable[[Station, Any, Instant], list[Effect]]


class Bench:
    """The executor's side of every lease on this node's devices.

    Args:
        me: This node.
        node_name: Its name for people.
        identity: Signs the leases.
        hosts: Where its runners can be reached.
        kernels: What they can compute.
        settings: Limits and times.
        rng: Entropy for ids.
    """

    def __init__(
        self,
        *,
        me: NodeId,
        node_name: str,
        identity: SigningKey,
        hosts: tuple[str, ...],
        kernels: Sequence[KernelOffer],
        settings: JobSettings,
        rng: Entropy,
    ) -> None:
        self._settings = settings
        self._kernels = {offer.name: offer for offer in sorted(kernels, key=lambda k: k.name)}
        self._tenancies = Tenancies(me, node_name, identity, hosts, settings, rng)
        self.scores = self._tenancies.scores
        """Under which score each device takes work now; the hallway sets it, opaque here."""
        self._crew = Crew(self._kernels, self._tenancies, settings, rng)
        self._hearings = Hearings(self._crew.trials, self._tenancies, settings)
        self._pump = Pump(self._crew, self._tenancies, settings)
        self._devices: dict[str, Workplace] = {}
        self._agenda: Agenda[str] = Agenda()
        self._told: object = ()
        self._draining = False
        self._from_runner: Mapping[type[Message], _FromRunner] = {
            RunnerReady: self._crew.ready,
            RunnerBusy: self._crew.busy,
            RunnerRests: self._crew.rests,
            RunnerExited: self._crew.exited,
            CanaryDone: self._crew.trials.answer,
            RunnerTally: self._tally,
        }
        self._from_desk: Mapping[type[Message], _FromDesk] = {
            LeaseRequest: self._request,
            LeaseRenew: lambda desk, wish, now: self._tenancies.renew(desk, wish.leases, now),
            LeaseRelease: self._give_back,
            Dissent: self._opinion,
            Consent: self._opinion,
        }

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in a desk's wish or a runner's word; the sender's role was checked before."""
        hear = self._from_runner.get(type(message))
        if hear is not None:
            runner_id = RunnerId(sender.removeprefix("@runner/"))
            place = self._crew.places.get(runner_id)
            if place is None or runner_id == sender:
                return []  # forgotten, or not a runner at all
            effects = hear(place.stations[runner_id], message, now)
            return self._close(effects, [place], now)
        wish = self._from_desk.get(type(message))
        return [] if wish is None or is_local(sender) else wish(NodeId(sender), message, now)

    def set_devices(self, devices: Sequence[BenchDevice], now: Instant) -> list[Effect]:
        """Take in which devices there are; new ones are tried, missing ones are lost."""
        effects: list[Effect] = []
        present = {device.name: device for device in devices}
        for name, spec in present.items():
            place = self._devices.get(name)
            if place is None:
                place = self._devices[name] = Workplace(spec)
            effects += self._look(place, spec, now)
        for name, place in self._devices.items():
            if name not in present and place.spec.usable:
                spec = place.spec
                gone = BenchDevice(
                    name, spec.kind, 0, 0, usable=False, lost=True, why="it is gone",
                    fix="plug it in again; it is looked for by itself", faults=spec.faults,
                )  # fmt: skip
                effects += self._look(place, gone, now)
        return self._close(effects, list(self._devices.values()), now)

    def admit(
        self, device: str, admission: Admission, now: Instant, *, job: str = ""
    ) -> list[Effect]:
        """Open or close a device to work; what it runs beyond its share ends harmlessly.

        Of a named job alone, whatever it holds or waits for there ends; the device stays as it is.
        """
        place = self._devices.get(device)
        if place is None or (place.admission == admission and not job):
            return []
        if job:
            gone = evict(place, JobId(job), admission, self._crew, self._tenancies, now)
            return self._close(gone, [place], now)
        effects = enforce(place, admission, self._crew, self._tenancies, now)
        return self._close(effects, [place], now)

    def device_states(self) -> tuple[DeviceStatus, ...]:
        """Return every device as others should see it."""
        return tuple(place.status() for _, place in sorted(self._devices.items()))

    def leases(self) -> dict[LeaseId, str]:
        """Return the leases that are alive here, and the device of each."""
        return {lease: each.device for lease, each in self._tenancies.stations.items()}

    def idle(self) -> bool:
        """Return whether no runner is alive."""
        return not self._crew.places

    def member_down(self, node: NodeId, now: Instant) -> list[Effect]:
        """Free what a dead desk held; its clients cannot be told by it any more."""
        for place in self._devices.values():
            place.queue = [waiting for waiting in place.queue if waiting.desk != node]
        return self._release(self._tenancies.of_desk(node), now)

    def drain(self, now: Instant) -> list[Effect]:
        """Take no more work and let every runner finish the task at hand."""
        self._draining = True
        effects: list[Effect] = []
        why = "the agent is stopping"
        for place in self._devices.values():
            waiting, place.queue = place.queue, []
            effects += [refuse(each.desk, each.request, "no-device", why) for each in waiting]
            for station in place.stations.values():
                effects += self._tenancies.revoke(station, LeaseEnd.DRAINING, why)
                if station.phase is not Phase.STOPPING:
                    effects += self._crew.stop(station, now, kill=False)
        return self._close(effects, list(self._devices.values()), now)

    def tick(self, now: Instant) -> list[Effect]:
        """Act on runners past the limit of their phase, and on queues."""
        effects: list[Effect] = []
        touched: dict[str, Workplace] = {}
        for key in self._agenda.due(now.mono_s):
            runner_id = RunnerId(key)
            place = self._crew.places.get(runner_id)
            if place is not None:
                effects += self._crew.overdue(place.stations[runner_id], now)
            else:
                place = self._devices.get(key.removeprefix(_DEVICE))
            if place is not None:
                touched[place.spec.name] = place
        return self._close(effects, list(touched.values()), now)

    def next_deadline(self) -> Seconds | None:
        """Return when ``tick`` has something to do."""
        return self._agenda.next()

    def check(self) -> None:
        """Raise InvariantBroken when an always-true property is false."""
        for place in self._devices.values():
            for station in place.stations.values():
                if (station.tenancy is not None) != (station.phase is Phase.LEASED):
                    raise InvariantBroken(f"{station.id} is {station.phase} and its lease is not")
                if self._crew.places.get(station.id) is not place:
                    raise InvariantBroken(f"{station.id} works nowhere")
            leased = place.count(Phase.LEASED)
            if leased and place.state is not DeviceHealth.OK and not place.on_trial:
                raise InvariantBroken(f"{place.spec.name} is {place.state} and has leases")
            waits = self._agenda.next()
            if (place.queue or place.stations) and waits is None:
                raise InvariantBroken(f"{place.spec.name} waits for ever")

    # --- requests --------------------------------------------------------------------------------

    def _request(self, desk: NodeId, request: LeaseRequest, now: Instant) -> list[Effect]:
        place = self._devices.get(request.device)
        if place is None:
            reason = f"there is no device {request.device!r} here"
            return [refuse(desk, request, "no-device", reason, "see: qallow-agent devices")]
        if self._draining:
            return [refuse(desk, request, "no-device", "the agent is stopping")]
        against = objection(request, place, self._kernels)
        if against is not None:
            return [refuse(desk, request, against.code, against.message, against.hint)]
        if place.admission.refuses:
            return [deny(desk, request, place.admission)]
        slots = max(1, min(request.slots, place.spec.slots))
        place.enqueue(desk, request, slots, now.mono_s)
        return self._close(self._pump.shorten(place, now), [place], now)

    def _give_back(self, desk: NodeId, message: LeaseRelease, now: Instant) -> list[Effect]:
        stations = [self._tenancies.stations.get(lease) for lease in message.leases]
        return self._release(
            [each for each in stations if each is not None and _desk_of(each) == desk], now
        )

    def _opinion(self, desk: NodeId, message: Dissent | Consent, now: Instant) -> list[Effect]:
        place = self._devices.get(message.device)
        if place is None:
            return []
        return self._close(self._hearings.hear(place, desk, message, now), [place], now)

    def _release(self, stations: Sequence[Station], now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        places: dict[str, Workplace] = {}
        for station in stations:
            tenancy = self._tenancies.end(station)
            if tenancy is not None:
                effects += self._crew.free(station, tenancy.lease.id, now)
                effects.append(Announce(LeaseOver(tenancy.lease.id)))
                places[station.device] = self._crew.places[station.id]
        return self._close(effects, list(places.values()), now)

    def _tally(self, station: Station, message: RunnerTally, now: Instant) -> list[Effect]:
        """Learn how fast a device runs a kernel, and that its lease is in use."""
        offer = self._kernels.get(message.kernel)
        if offer is not None:
            self._crew.places[station.id].learn(message, offer.lanes)
        if station.tenancy is not None and message.tasks > 0:
            station.tenancy.active_s = now.mono_s
        return []

    def _look(self, place: Workplace, spec: BenchDevice, now: Instant) -> list[Effect]:
        """Take in how a device is: its heat, its faults, whether it can be used at all."""
        returned = not place.spec.usable and spec.usable
        faulty = spec.faults > place.faults
        place.spec, place.faults = spec, max(spec.faults, place.faults)
        place.feel(now.mono_s, self._settings)
        effects = self._crew.trials.quarantine(place, spec.fault, now) if faulty else []
        if not spec.usable:
            return [*effects, *self._withdraw(place, now)]
        if returned and not faulty:
            place.state, place.complaint, place.retry_s = DeviceHealth.WARMING, UNTRIED, None
            if place.proofs or place.shadows:
                place.state = DeviceHealth.QUARANTINED
                place.proofs = place.proofs or self._settings.quarantine_canaries
        return effects

    def _withdraw(self, place: Workplace, now: Instant) -> list[Effect]:
        """Stop using a device for as long as it is not usable."""
        complaint = Complaint(place.spec.why, place.spec.fix)
        live = place.count(Phase.STARTING, Phase.CANARY, Phase.IDLE, Phase.LEASED, Phase.SETTLING)
        effects = self._crew.trials.lose(place, complaint, now) if live or place.queue else []
        place.complaint, place.retry_s = complaint, None
        place.state = DeviceHealth.LOST if place.spec.lost else DeviceHealth.QUARANTINED
        return effects

    def _close(
        self, effects: list[Effect], places: Sequence[Workplace], now: Instant
    ) -> list[Effect]:
        """End a step: let the touched devices go on, plan the next looks, tell what changed."""
        for place in places:
            if not self._draining:
                effects += self._pump.run(place, now)
            for station in place.stations.values():
                self._agenda.remind(station.id, station.due())
            again_s = None if self._draining else self._pump.look_again(place, now)
            self._agenda.remind(_DEVICE + place.spec.name, again_s)
        news = [
            (
                each.name,
                each.state,
                each.why,
                each.slots,
                each.busy,
                each.warm,
                each.waiting,
                each.reserved_bytes,
                each.rates,
                each.tried,
                each.trial,
            )
            for each in self.device_states()
        ]
        if news != self._told:
            self._told = news
            effects.append(Announce(BenchChanged()))
        return effects


def _desk_of(station: Station) -> NodeId | None:
    return None if station.tenancy is None else station.tenancy.desk
