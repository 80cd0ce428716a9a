"""Hearings: what a bench makes of it when others say that a device's answers disagree.

Nobody is believed blindly. Only a desk whose job had a lease of the device is heard; two answers
alike against it put the device on trial, one against one only when that repeats. A trial is
canaries first, then copies of real work that must agree with what others answer: whoever lies
now and then passes canaries.
"""

from qallow_agent.base.complaint import NOTHING, Complaint
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.model import DeviceHealth
from qallow_agent.jobs.opinions import Consent, Dissent
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.tenancies import Tenancies
from qallow_agent.jobs.trials import Trials
from qallow_agent.jobs.workplace import Workplace

_MEMORY_S: Seconds = 3_600.0
_MOST_DISSENTS = 1_000
_LEAST_ALIKE = 2
_FIX = "look at its memory, clocks and heat; canaries and shadow copies that agree bring it back"


class Hearings:
    """Hears desks about devices.

    Args:
        trials: Puts devices into quarantine.
        tenancies: Whose jobs ran where.
        settings: The limits.
    """

    def __init__(self, trials: Trials, tenancies: Tenancies, settings: JobSettings) -> None:
        self._trials = trials
        self._tenancies = tenancies
        self._settings = settings

    def hear(
        self, place: Workplace, desk: NodeId, message: Dissent | Consent, now: Instant
    ) -> list[Effect]:
        """Take in what a desk says of a device."""
        if isinstance(message, Consent):
            return self._cleared(place, desk, message, now)
        # What it answered before it was taken out of service is old news.
        idle = place.state is DeviceHealth.QUARANTINED and not place.on_trial
        if idle or not self._tenancies.served(desk, message.job, place.spec.name):
            return []
        return self._contradicted(place, message, now)

    def _contradicted(self, place: Workplace, message: Dissent, now: Instant) -> list[Effect]:
        others = message.answers - 1
        why = f"its answer to a task of {message.kernel} ({message.job}) differs from "
        if message.alike >= _LEAST_ALIKE and others >= message.alike:
            why += f"{message.alike} of {others} others' that are alike"
            return self._try(place, why, self._settings.quarantine_audits, now)
        if place.on_trial:
            return self._try(place, why + "that of another device", place.shadows, now)
        since_s = now.mono_s - _MEMORY_S
        recent = [each for each in place.dissents if each > since_s]
        place.dissents = [*recent, now.mono_s][-_MOST_DISSENTS:]
        if len(place.dissents) < self._settings.most_dissents:
            return []
        # Nobody knows which of the two is wrong, and both may be on trial now: no shadow copies,
        # which each would need the other for.
        why += f"that of another device, {len(place.dissents)} times within an hour"
        return self._try(place, why, 0, now)

    def _try(self, place: Workplace, why: str, shadows: int, now: Instant) -> list[Effect]:
        place.dissents = []
        place.shadows = shadows
        return self._trials.quarantine(place, Complaint(why, _FIX), now)

    def _cleared(
        self, place: Workplace, desk: NodeId, message: Consent, now: Instant
    ) -> list[Effect]:
        """Count copies of work that agreed; trust the device once they are enough."""
        known = self._tenancies.lent_to(desk, place.spec.name)
        if not place.on_trial or message.times < 1 or not known:
            return []
        place.shadows = max(0, place.shadows - message.times)
        if place.shadows:
            place.complaint = Complaint(self._trials.trial_of(place), _FIX)
            return []
        place.state, place.complaint = DeviceHealth.OK, NOTHING
        place.passed_s = now.mono_s
        facts: dict[str, str | int | float | bool | None] = {"device": place.spec.name}
        return [Notice("device.trusted", "a device ended its trial", facts=facts)]
