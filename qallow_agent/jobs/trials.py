"""Trials: what canaries and faults say of a device, and what follows.

A device is trusted once every kernel gave its known answer on it. One failure loses it until the
next try; failures in a row, or a fault of its hardware, put it into quarantine, which ends with
several rounds of canaries in a row.
"""

from collections.abc import Mapping

from qallow_agent.base.complaint import NOTHING, Complaint
from qallow_agent.base.ids import RunnerId, runner
from qallow_agent.base.machine import Effect, Instant, Reply
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import show_seconds
from qallow_agent.jobs.local import CanaryDone, RunCanary
from qallow_agent.jobs.model import DeviceHealth, KernelOffer, LeaseEnd
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.tenancies import Tenancies, refuse
from qallow_agent.jobs.workplace import Phase, Station, Workplace

_CANARY_FIX = "the agent's log has its error; 'qallow-agent doctor' checks runner and JIT"


class Trials:
    """Tries devices, trusts them, and stops trusting them.

    Args:
        kernels: What runners can compute, by name.
        tenancies: Whose leases end when a device is trusted no more.
        settings: The limits.
        places: Where each runner works.
    """

    def __init__(
        self,
        kernels: Mapping[str, KernelOffer],
        tenancies: Tenancies,
        settings: JobSettings,
        places: Mapping[RunnerId, Workplace],
    ) -> None:
        self._kernels = kernels
        self._tenancies = tenancies
        self._settings = settings
        self._places = places

    def begin(self, station: Station, now: Instant) -> list[Effect]:
        """Begin a round of canaries on a free runner; a device without kernels passes at once."""
        place = self._places[station.id]
        place.todo = [
            name for name, offer in self._kernels.items() if place.spec.kind in offer.kinds
        ]
        if not place.todo:
            return self._pass(place, "no kernel to try", now)
        limit_s = now.mono_s + self._settings.canary_limit_s
        station.enter(Phase.CANARY, now.mono_s, limit_s)
        return [Reply(runner(station.id), RunCanary(place.todo[0]))]

    def answer(self, station: Station, message: CanaryDone, now: Instant) -> list[Effect]:
        """Go on to the next canary, pass the device, or lose it."""
        place = self._places[station.id]
        if station.phase is not Phase.CANARY or message.kernel != place.todo[0]:
            return []
        if not message.passed:
            why = f"the canary of {message.kernel} failed: {message.why}"
            return self.fail(place, why, now, message.hint)
        if message.kernel not in place.rates:
            place.learn_rate(message.kernel, message.rate)
        place.todo.pop(0)
        if place.todo:
            limit_s = now.mono_s + self._settings.canary_limit_s
            station.enter(Phase.CANARY, now.mono_s, limit_s)
            return [Reply(runner(station.id), RunCanary(place.todo[0]))]
        station.rest(now.mono_s, self._settings)
        return self._pass(place, "every kernel gave its known answer", now)

    def quarantine(self, place: Workplace, complaint: Complaint, now: Instant) -> list[Effect]:
        """Trust a device no more until it has passed several rounds of canaries in a row."""
        place.proofs = self._settings.quarantine_canaries
        return self.lose(place, complaint, now)

    def lose(self, place: Workplace, complaint: Complaint, now: Instant) -> list[Effect]:
        """Trust a device no more: revoke its leases, stop its runners, turn away who waits.

        In quarantine it starts its proofs anew.
        """
        why = complaint.why
        place.complaint, place.canary = complaint, why
        place.state = DeviceHealth.LOST
        if place.proofs or place.shadows:
            place.state, place.proofs = DeviceHealth.QUARANTINED, self._settings.quarantine_canaries
        place.retry_s = now.mono_s + self._settings.lost_retry_s
        place.passed_s = None
        place.todo = []
        effects: list[Effect] = [
            Notice(
                f"device.{place.state}", "a device failed and takes no work", "error",
                {"device": place.spec.name, "why": why, "fix": complaint.fix,
                 "retry_s": self._settings.lost_retry_s},
            )
        ]  # fmt: skip
        for station in list(place.stations.values()):
            effects += self._tenancies.revoke(station, LeaseEnd.UNFIT, why)
            if station.phase is not Phase.STOPPING:
                effects.append(station.dismiss(now.mono_s, self._settings, kill=True))
        waiting, place.queue = place.queue, []
        hint = f"it is tried again every {show_seconds(self._settings.lost_retry_s)}"
        return effects + [
            refuse(each.desk, each.request, "no-device", f"{place.spec.name}: {why}", hint)
            for each in waiting
        ]

    def fail(self, place: Workplace, why: str, now: Instant, hint: str = "") -> list[Effect]:
        """Draw the conclusion of a canary that failed; ``hint`` is the fix, where one is known."""
        place.canary_failures += 1
        complaint = Complaint(why, hint or _CANARY_FIX)
        if place.canary_failures >= self._settings.canary_failures:
            return self.quarantine(place, complaint, now)
        return self.lose(place, complaint, now)

    def trial_of(self, place: Workplace) -> str:
        """Return what a device on trial still has to show."""
        return (
            "its answers differed from those of others; it is trusted again after "
            f"{place.shadows} shadow copies of work that agree"
        )

    def _pass(self, place: Workplace, what: str, now: Instant) -> list[Effect]:
        """Trust a device, or, in quarantine, count one more proof of it."""
        place.canary = what
        place.proofs = max(0, place.proofs - 1)
        if place.proofs:
            place.retry_s = now.mono_s + self._settings.quarantine_pause_s
            return []
        if place.on_trial:
            place.canary_failures, place.retry_s = 0, None
            place.passed_s = now.mono_s
            place.complaint = Complaint(self.trial_of(place), place.complaint.fix)
            return []
        earned = place.state is DeviceHealth.QUARANTINED
        place.state, place.complaint = DeviceHealth.OK, NOTHING
        place.canary_failures = 0
        place.passed_s = now.mono_s
        place.retry_s = None
        facts: dict[str, str | int | float | bool | None] = {"device": place.spec.name}
        return [Notice("device.trusted", "a device ended its quarantine", facts=facts)] * earned
