"""The crew: runner processes from start to exit.

Every phase of a runner has a limit. One that does not get ready, ends no canary, or does not
stop when told is killed; when even that is not confirmed, it is forgotten.
"""

from collections.abc import Mapping

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.ids import Entropy, LeaseId, RunnerId, draw_id, runner
from qallow_agent.base.machine import Effect, Instant, Reply, Start, Stop
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import show_seconds
from qallow_agent.jobs.local import (
    Forbid,
    RunnerBusy,
    RunnerExited,
    RunnerReady,
    RunnerRests,
)
from qallow_agent.jobs.model import KernelOffer, LeaseEnd
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.tenancies import Tenancies
from qallow_agent.jobs.trials import Trials
from qallow_agent.jobs.workplace import Phase, Station, Workplace

_RUNNER_FIX = "'qallow-agent doctor' checks ports, memory and JIT; the agent's log says more"
_SHORT_TASK_S = 0.2
"""A task younger than this when its lease ends may finish unwatched."""
_KEY_BYTES = 32
_MOST_PORT = 65_535


class Crew:
    """Starts, tries, frees and stops runners.

    Args:
        kernels: What runners can compute, by name.
        tenancies: Whose leases end when a runner does.
        settings: The limits.
        rng: Entropy for runner ids.
    """

    def __init__(
        self,
        kernels: Mapping[str, KernelOffer],
        tenancies: Tenancies,
        settings: JobSettings,
        rng: Entropy,
    ) -> None:
        self._kernels = kernels
        self._tenancies = tenancies
        self._settings = settings
        self._rng = rng
        self.places: dict[RunnerId, Workplace] = {}
        """Where each runner works."""
        self.trials = Trials(kernels, tenancies, settings, self.places)
        self._limits = {
            Phase.STARTING: self._never_ready,
            Phase.CANARY: self._canary_stuck,
            Phase.IDLE: lambda station, now: self.stop(station, now, kill=False),
            Phase.LEASED: self._expired,
            Phase.SETTLING: self._unsettled,
            Phase.STOPPING: self._unstoppable,
        }

    def is_foreign(self, kernel: str) -> bool:
        """Return whether a kernel's code is a plug-in's."""
        return kernel in self._kernels and self._kernels[kernel].foreign

    def start(self, place: Workplace, now: Instant) -> list[Effect]:
        """Start one more runner of a device."""
        station = Station(
            id=RunnerId(draw_id("runner", self._rng)),
            device=place.spec.name,
            phase=Phase.STARTING,
            since_s=now.mono_s,
            until_s=now.mono_s + self._settings.runner_start_s,
        )
        place.stations[station.id] = station
        self.places[station.id] = place
        return [Start(station.id, place.spec.name, place.spec.kind)]

    def ready(self, station: Station, message: RunnerReady, now: Instant) -> list[Effect]:
        """Take in where a runner listens."""
        if station.phase is not Phase.STARTING:
            return []
        if len(message.curve_key) != _KEY_BYTES or not 0 < message.port <= _MOST_PORT:
            return self.stop(station, now, kill=True)
        station.port, station.key = message.port, message.curve_key
        self.places[station.id].failures = 0
        station.rest(now.mono_s, self._settings)
        return []

    def stop(self, station: Station, now: Instant, *, kill: bool) -> list[Effect]:
        """Tell a runner to go."""
        return [station.dismiss(now.mono_s, self._settings, kill=kill)]

    def free(self, station: Station, lease: LeaseId, now: Instant) -> list[Effect]:
        """Let a runner go on after its lease: its queue is dropped, its last task may finish."""
        forbid = Reply(runner(station.id), Forbid(lease))
        if station.at_a_task_s(now.mono_s) > _SHORT_TASK_S:
            grace_s = now.mono_s + self._settings.release_grace_s
            station.enter(Phase.SETTLING, now.mono_s, grace_s)
        else:
            station.rest(now.mono_s, self._settings)
        return [forbid]

    def busy(self, station: Station, message: RunnerBusy, now: Instant) -> list[Effect]:
        """Kill a runner whose task runs past its limit, or past its lease."""
        station.busy, station.busy_seen_s = message, now.mono_s
        tenancy = station.tenancy
        if tenancy is None or station.phase is not Phase.LEASED:
            return []
        if message.lease != tenancy.lease.id:
            # Left over from the lease before: its time began when this one was granted.
            if now.mono_s - station.since_s <= self._settings.release_grace_s:
                return []
            reason = "its runner was still at a task of another lease"
            revoked = self._tenancies.revoke(station, LeaseEnd.PREEMPTED, reason)
            return [*revoked, *self.stop(station, now, kill=True)]
        tenancy.active_s = now.mono_s
        if message.elapsed_s <= tenancy.task_limit_s:
            return []
        reason = (
            f"task {message.task} ran for {show_seconds(message.elapsed_s)}, the limit is "
            f"{show_seconds(tenancy.task_limit_s)}"
        )
        revoked = self._tenancies.revoke(
            station, LeaseEnd.OVERRAN, reason, message.task, message.attempt
        )
        return [*revoked, *self.stop(station, now, kill=True)]

    def rests(self, station: Station, _: RunnerRests, now: Instant) -> list[Effect]:
        """Let a runner serve again that has settled sooner than its grace."""
        station.busy = None
        if station.phase is Phase.SETTLING:
            station.rest(now.mono_s, self._settings)
        return []

    def exited(self, station: Station, message: RunnerExited, now: Instant) -> list[Effect]:
        """Draw the conclusions of a runner's end: who is to blame, what is lost."""
        place = self.places.pop(station.id)
        del place.stations[station.id]
        facts: dict[str, str | int | float | bool | None] = {
            "runner": station.id, "device": station.device, "phase": station.phase.value,
            "why": message.reason, "task": message.task,
        }  # fmt: skip
        if station.phase is Phase.STOPPING:
            return [Notice("runner.stopped", "a runner has ended", "debug", facts)]
        effects: list[Effect] = [Notice("runner.died", "a runner died", "warning", facts)]
        tenancy = station.tenancy
        if tenancy is not None:
            blamed = message.lease == tenancy.lease.id
            effects += self._tenancies.revoke(
                station,
                LeaseEnd.CRASHED,
                message.reason,
                message.task if blamed else None,
                message.attempt if blamed else None,
            )
        elif station.phase is Phase.CANARY:
            kernel = place.todo[0] if place.todo else "a kernel"
            effects += self.trials.fail(
                place, f"a runner died in the canary of {kernel}: {message.reason}", now
            )
        elif station.phase is Phase.STARTING:
            effects += self._start_failed(place, message.reason, now)
        return effects

    def overdue(self, station: Station, now: Instant) -> list[Effect]:
        """Act on a phase that is past its limit."""
        if station.due() > now.mono_s:
            return []
        return self._limits[station.phase](station, now)

    def _never_ready(self, station: Station, now: Instant) -> list[Effect]:
        why = f"a runner was not ready within {show_seconds(self._settings.runner_start_s)}"
        killed = self.stop(station, now, kill=True)
        return [*killed, *self._start_failed(self.places[station.id], why, now)]

    def _canary_stuck(self, station: Station, now: Instant) -> list[Effect]:
        place = self.places[station.id]
        limit = show_seconds(self._settings.canary_limit_s)
        why = f"the canary of {place.todo[0]} took more than {limit}"
        return self.trials.fail(place, why, now)

    def _expired(self, station: Station, now: Instant) -> list[Effect]:
        tenancy = station.tenancy
        if tenancy is None:
            return []
        reason = "its desk did not renew it in time"
        revoked = self._tenancies.revoke(station, LeaseEnd.EXPIRED, reason)
        return [*revoked, *self.free(station, tenancy.lease.id, now)]

    def _unsettled(self, station: Station, now: Instant) -> list[Effect]:
        midway_s = station.since_s + self._settings.release_grace_s / 2
        if station.busy_seen_s >= midway_s:
            return self.stop(station, now, kill=True)
        station.rest(now.mono_s, self._settings)
        return []

    def _unstoppable(self, station: Station, now: Instant) -> list[Effect]:
        if not station.killed:
            return self.stop(station, now, kill=True)
        place = self.places.pop(station.id)
        del place.stations[station.id]
        return [Stop(station.id, kill=True)]

    def _start_failed(self, place: Workplace, why: str, now: Instant) -> list[Effect]:
        place.failures += 1
        if place.failures < self._settings.runner_failures:
            return []
        why = f"{place.failures} runners in a row did not start: {why}"
        return self.trials.lose(place, Complaint(why, _RUNNER_FIX), now)
