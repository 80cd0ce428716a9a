"""The pump: what follows on a device, given its runners and who waits for them."""

from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.crew import Crew
from qallow_agent.jobs.model import DeviceHealth, LeaseEnd
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.tenancies import Tenancies, refuse
from qallow_agent.jobs.workplace import Phase, Workplace

_LOOK_AGAIN_S = 1.0
"""How often a device with a queue is looked at for a lease to hand on."""


class Pump:
    """Tries devices, grants leases, starts runners, takes turns.

    Args:
        crew: The runners.
        tenancies: Their leases.
        settings: Limits and times.
    """

    def __init__(self, crew: Crew, tenancies: Tenancies, settings: JobSettings) -> None:
        self._crew = crew
        self._tenancies = tenancies
        self._settings = settings

    def run(self, place: Workplace, now: Instant) -> list[Effect]:
        """Do whatever a device is ready for; again right after changes nothing."""
        if not place.spec.usable:
            return []
        effects = self._try_again(place, now) if place.well else self._try(place, now)
        if not place.well:
            return effects
        effects += self._grant(place, now)
        if place.queue and len(place.stations) >= place.room(self._settings):
            effects += self._turn(place, now)
            effects += self._grant(place, now)
        effects += self._start(place, now)
        return effects + self._turn_away(place, now)

    def look_again(self, place: Workplace, now: Instant) -> Seconds | None:
        """Return when a device needs a look although none of its runners does."""
        if place.queue:
            return now.mono_s + _LOOK_AGAIN_S
        untrusted = place.state in {DeviceHealth.LOST, DeviceHealth.QUARANTINED}
        waits = place.retry_s is not None and place.retry_s > now.mono_s
        return place.retry_s if untrusted and place.spec.usable and waits else None

    def _try(self, place: Workplace, now: Instant) -> list[Effect]:
        """Bring a device that is not known to be well one step nearer to its canaries."""
        if place.retry_s is not None and place.retry_s > now.mono_s:
            return []
        idle = place.first(Phase.IDLE)
        if idle is not None and not place.count(Phase.CANARY):
            return self._crew.trials.begin(idle, now)
        return [] if place.stations else self._crew.start(place, now)

    def _try_again(self, place: Workplace, now: Instant) -> list[Effect]:
        """Repeat the canaries on a free runner of a device that is well, now and then."""
        last_s = place.passed_s
        idle = place.first(Phase.IDLE)
        if idle is None or last_s is None or place.count(Phase.CANARY):
            return []
        if now.mono_s - last_s < self._settings.canary_period_s:
            return []
        return self._crew.trials.begin(idle, now)

    def _grant(self, place: Workplace, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        while place.queue:
            idle = place.first(Phase.IDLE)
            if idle is None or place.count(Phase.LEASED) >= place.room(self._settings):
                break
            waiting = place.next_waiting()
            waiting.slots -= 1
            if waiting.slots < 1:
                place.queue.remove(waiting)
            effects += self._tenancies.grant(idle, waiting, now)
        return effects

    def _turn(self, place: Workplace, now: Instant) -> list[Effect]:
        """Take one lease back for those that wait, if one has had its turn or stands idle."""
        settings = self._settings
        station = place.victim(now.mono_s, settings.quantum_s, settings.idle_lease_s)
        if station is None or station.tenancy is None:
            return []
        if place.count(Phase.LEASED) > place.room(self._settings):
            return []  # it is hot: the lease would be taken from one and given to none
        tenancy = station.tenancy
        idle = now.mono_s - tenancy.active_s >= settings.idle_lease_s
        end = LeaseEnd.IDLE if idle else LeaseEnd.PREEMPTED
        reason = "it stood idle and others wait" if idle else "it is another job's turn"
        revoked = self._tenancies.revoke(station, end, reason)
        return [*revoked, *self._crew.free(station, tenancy.lease.id, now)]

    def _start(self, place: Workplace, now: Instant) -> list[Effect]:
        wanted = sum(waiting.slots for waiting in place.queue) - place.count(Phase.STARTING)
        room = place.room(self._settings) - len(place.stations)
        effects: list[Effect] = []
        for _ in range(min(wanted, room)):
            effects += self._crew.start(place, now)
        return effects

    def _turn_away(self, place: Workplace, now: Instant) -> list[Effect]:
        """Refuse requests that waited long enough, unless a runner is just coming up."""
        if place.count(Phase.STARTING, Phase.CANARY):
            return []
        effects: list[Effect] = []
        for waiting in list(place.queue):
            if now.mono_s - waiting.since_s >= self._settings.queue_s:
                place.queue.remove(waiting)
                reason = f"all {place.spec.slots} slots of {place.spec.name} are busy"
                if place.heat.hot:
                    reason = f"{place.spec.name} is hot and takes no more: {place.heat.why}"
                hint = "it is tried again; add nodes to have more slots"
                effects.append(refuse(waiting.desk, waiting.request, "no-device", reason, hint))
        return effects
