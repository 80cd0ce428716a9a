"""The pump: what follows on a device, given its runners and who waits for them."""

from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.units import Seconds, show_bytes
from qallow_agent.jobs.crew import Crew
from qallow_agent.jobs.model import DeviceHealth, LeaseEnd
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.tenancies import Tenancies, refuse
from qallow_agent.jobs.workplace import Phase, Waiting, Workplace

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
        if not place.spec.usable or place.admission.share <= 0:
            return []
        effects = self._try_again(place, now) if place.well else self._try(place, now)
        if not place.well:
            return effects
        effects += self._grant(place, now)
        if place.queue and self._full(place, now):
            effects += self._replace(place, now) or self._turn(place, now)
            effects += self._grant(place, now)
        effects += self._start(place, now)
        return effects + self._turn_away(place, now)

    def shorten(self, place: Workplace, now: Instant) -> list[Effect]:
        """Turn away who would be served last when more wait than may."""
        if len(place.queue) <= max(1, self._settings.queue_length):
            return []
        last = place.line_up(now.mono_s, self._settings.aging_s)[-1]
        place.queue.remove(last)
        reason = f"{len(place.queue)} jobs that go first already wait for {place.spec.name}"
        return [refuse(last.desk, last.request, "no-device", reason)]

    def look_again(self, place: Workplace, now: Instant) -> Seconds | None:
        """Return when a device needs a look although none of its runners does."""
        if place.queue:
            return now.mono_s + _LOOK_AGAIN_S
        untrusted = place.state in {DeviceHealth.LOST, DeviceHealth.QUARANTINED}
        waits = place.retry_s is not None and place.retry_s > now.mono_s
        return place.retry_s if untrusted and place.spec.usable and waits else None

    def _full(self, place: Workplace, now: Instant) -> bool:
        """Return whether whoever waits can only go on when a lease ends."""
        blocked = place.next_waiting(now.mono_s, self._settings.aging_s) is None
        return blocked or len(place.stations) >= place.room(self._settings)

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
        idle = place.idle_for(b"") or place.first(Phase.IDLE)
        if idle is None or last_s is None or place.count(Phase.CANARY):
            return []
        if now.mono_s - last_s < self._settings.canary_period_s:
            return []
        if idle.soiled_by:  # a plug-in that spoilt its runner must not cost the device its name
            return self._crew.stop(idle, now, kill=False)
        return self._crew.trials.begin(idle, now)

    def _grant(self, place: Workplace, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        while place.queue:
            if place.count(Phase.LEASED) >= place.room(self._settings):
                break
            waiting = place.next_waiting(now.mono_s, self._settings.aging_s)
            if waiting is None:
                break
            idle = place.idle_for(waiting.request.submitter_key)
            if idle is None:
                break
            waiting.slots -= 1
            if waiting.slots < 1:
                place.queue.remove(waiting)
            rate = place.rates.get(waiting.request.kernel, 0.0)
            effects += self._tenancies.grant(idle, waiting, rate, now)
            if self._crew.is_foreign(waiting.request.kernel):
                idle.soiled_by = waiting.request.submitter_key
        return effects

    def _replace(self, place: Workplace, now: Instant) -> list[Effect]:
        """End free runners that those who wait may not use; fresh ones take their slots."""
        effects: list[Effect] = []
        if place.next_waiting(now.mono_s, self._settings.aging_s) is None:
            return effects
        wanted = sum(waiting.slots for waiting in place.queue)
        soiled = [station for station in place.stations.values()
                  if station.phase is Phase.IDLE and station.soiled_by]  # fmt: skip
        for station in soiled[:wanted]:
            effects += self._crew.stop(station, now, kill=False)
        return effects

    def _turn(self, place: Workplace, now: Instant) -> list[Effect]:
        """Take one lease back for those that wait, if one has had its turn or stands idle."""
        settings = self._settings
        waiting = place.line_up(now.mono_s, settings.aging_s)[0]
        station = place.victim(waiting, now.mono_s, settings)
        if station is None or station.tenancy is None:
            return []
        if place.count(Phase.LEASED) > place.room(self._settings):
            return []  # it is hot: the lease would be taken from one and given to none
        tenancy = station.tenancy
        idle = now.mono_s - tenancy.active_s >= settings.idle_lease_s
        end = LeaseEnd.IDLE if idle else LeaseEnd.PREEMPTED
        reason = "it stood idle and others wait" if idle else "it is another job's turn"
        if not idle and waiting.priority > tenancy.priority:
            reason = f"a job of priority {waiting.priority} waits"
        revoked = self._tenancies.revoke(station, end, reason)
        return [*revoked, *self._crew.free(station, tenancy.lease.id, now)]

    def _start(self, place: Workplace, now: Instant) -> list[Effect]:
        wanted = sum(waiting.slots for waiting in place.queue) - place.count(Phase.STARTING)
        room = place.room(self._settings) - len(place.stations)
        effects: list[Effect] = []
        if wanted < 1 or place.next_waiting(now.mono_s, self._settings.aging_s) is None:
            return effects
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
                reason = _crowded(place, waiting)
                hint = "it is tried again; add nodes to have more slots"
                effects.append(refuse(waiting.desk, waiting.request, "no-device", reason, hint))
        return effects


def _crowded(place: Workplace, waiting: Waiting) -> str:
    """Return what a request waited for in vain."""
    if place.admission.code:
        return place.admission.reason
    if place.heat.hot:
        return f"{place.spec.name} is hot and takes no more: {place.heat.why}"
    needed_bytes = waiting.request.memory_bytes
    if needed_bytes > place.left_bytes:
        return (
            f"{show_bytes(place.reserved_bytes)} of the {show_bytes(place.spec.memory_bytes)} of "
            f"{place.spec.name} are promised to leases, a task needs {show_bytes(needed_bytes)}"
        )
    return f"all {place.spec.slots} slots of {place.spec.name} are busy"
