"""Metering: carries what benches and sensors tell to the meters, and what they settle to desks."""

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import RunnerId, Sender
from qallow_agent.base.machine import Effect, Instant, Send
from qallow_agent.base.message import Message
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.energy.meter import Account
from qallow_agent.energy.meters import Lent, Sample
from qallow_agent.energy.windows import Use
from qallow_agent.jobs import local
from qallow_agent.jobs.messages import JobEnergy
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.kinds import DeviceAdvert
from qallow_agent.node.rooms import Rooms

ENERGY = "energy"
"""The name of a device's joule counter among its readings."""

_NO_METER = unknown("joules", "none", "nothing here counts its joules")


class Metering:
    """Knows whom the meters have to hear, and who has to hear of them.

    Args:
        rooms: The node's.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def work(self, sender: Sender, fact: Message, now: Instant) -> list[Effect]:
        """Pass on a fact about leases, or what a runner says of its work."""
        meters, now_s = self._rooms.meters, now.mono_s
        match fact:
            case local.LeaseBegun():
                account = meters.lend(
                    Lent(fact.lease, fact.runner, fact.job, fact.desk, fact.device, fact.kernel)
                )
                return [] if account is None else [_statement(account)]
            case local.LeaseOver():
                meters.end(fact.lease, now_s)
            case local.RunnerBusy():
                meters.working(_runner(sender), fact.lease, now_s - fact.elapsed_s, now_s)
            case local.RunnerTally():
                begin_s, end_s = now_s - fact.began_s, now_s - fact.ended_s
                use = Use(fact.busy_s, fact.ops)
                meters.worked(_runner(sender), fact.lease, begin_s, end_s, use)
            case _:
                raise InvariantBroken(f"{type(fact).__name__} says nothing of work")
        return []

    def sense(self, _: Sender, fact: Sensed, now: Instant) -> list[Effect]:
        """Let the meters read the counters; tell desks what their jobs used."""
        meters = self._rooms.meters
        samples = {
            device.name: Sample(
                device.slots, energy_of(device), fact.read_s.get(device.name, now.mono_s)
            )
            for device in fact.devices
        }
        news = [_statement(account) for account in meters.sense(samples, now)]
        return [*news, *meters.sums.save(now.mono_s), *meters.budget.save(now)]

    def charged(self, _: Sender, fact: local.EnergyCharged, now: Instant) -> list[Effect]:
        """Book what a job of this node was charged."""
        sums = self._rooms.meters.sums
        sums.add_work(fact.kernel, fact.place, fact.joules, fact.ops, fact.busy_s, now)
        return []


def energy_of(device: DeviceAdvert) -> Reading:
    """Return a device's joule counter; an unknown reading when it has none."""
    reading = device.readings.get(ENERGY, _NO_METER)
    return reading if reading.unit == _NO_METER.unit else _NO_METER


def _runner(sender: Sender) -> RunnerId:
    return RunnerId(sender.removeprefix("@runner/"))


def _statement(account: Account) -> Send:
    return Send(
        account.desk,
        JobEnergy(
            account.job,
            account.device,
            account.name,
            account.used,
            account.ops,
            account.busy_s,
            account.settled,
        ),
    )
