"""Admission: a device opens or closes to work at the word of somebody who knows why."""

from qallow_agent.base.ids import JobId
from qallow_agent.base.machine import Effect, Instant
from qallow_agent.jobs.crew import Crew
from qallow_agent.jobs.model import Admission, LeaseEnd
from qallow_agent.jobs.tenancies import Tenancies, deny
from qallow_agent.jobs.workplace import Phase, Station, Workplace


def enforce(
    place: Workplace, admission: Admission, crew: Crew, tenancies: Tenancies, now: Instant
) -> list[Effect]:
    """Make a device follow an admission: turn away who waits, end the leases beyond its share.

    The youngest leases end first: they have the least to lose.

    Args:
        place: The device.
        admission: What holds from now on.
        crew: Its runners.
        tenancies: Their leases.
        now: When.
    """
    place.admission = admission
    effects: list[Effect] = []
    if admission.refuses:
        waiting, place.queue = place.queue, []
        effects += [deny(each.desk, each.request, admission) for each in waiting]
    leased = [station for station in place.stations.values() if station.tenancy is not None]
    over = len(leased) - admission.kept(place.spec.slots)
    for station in sorted(leased, key=_age, reverse=True)[: max(0, over)]:
        effects += _end(station, admission, crew, tenancies, now)
    if admission.at_once and admission.share <= 0:
        settling = [each for each in place.stations.values() if each.phase is Phase.SETTLING]
        for station in settling:
            effects += crew.stop(station, now, kill=True)
    return effects


def evict(
    place: Workplace, job: JobId, admission: Admission, crew: Crew, tenancies: Tenancies,
    now: Instant,
) -> list[Effect]:  # fmt: skip
    """Take one job off a device: its requests are turned away, and its leases end.

    Args:
        place: The device.
        job: Which job; others go on.
        admission: Why, as its desk is told.
        crew: The device's runners.
        tenancies: Their leases.
        now: When.
    """
    theirs = [each for each in place.queue if each.request.job == job]
    place.queue = [each for each in place.queue if each.request.job != job]
    effects = [deny(each.desk, each.request, admission) for each in theirs]
    for station in place.stations.values():
        if station.tenancy is not None and station.tenancy.lease.job == job:
            effects += _end(station, admission, crew, tenancies, now)
    return effects


def _age(station: Station) -> float:
    return 0.0 if station.tenancy is None else station.tenancy.granted_s


def _end(
    station: Station, admission: Admission, crew: Crew, tenancies: Tenancies, now: Instant
) -> list[Effect]:
    tenancy = station.tenancy
    if tenancy is None:
        return []
    revoked = tenancies.revoke(station, LeaseEnd.NOT_ADMITTED, admission.reason)
    if admission.at_once:
        return [*revoked, *crew.stop(station, now, kill=True)]
    return [*revoked, *crew.free(station, tenancy.lease.id, now)]
