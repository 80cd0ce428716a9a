"""Leasing: how the desk gets leases for its jobs, keeps them and loses them."""

import math
from collections import deque

import msgspec

from qallow_agent.base.errors import BadSignature, Forbidden, NotAdmitted
from qallow_agent.base.ids import JobId, NodeId, Sender
from qallow_agent.base.machine import Announce, Effect, Reply, Send
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.leases import verify_lease
from qallow_agent.jobs.live import LiveJob
from qallow_agent.jobs.local import PlacementMade, ShadowWanted, StartMeasured
from qallow_agent.jobs.messages import (
    Lease,
    LeaseGrant,
    LeaseLost,
    LeaseRefusal,
    LeaseRelease,
    LeaseRevoked,
    LeaseStarved,
)
from qallow_agent.jobs.model import JobEvent, LeaseEnd
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.story import short

Refused = tuple[float, JobId, NodeId, str, str]
"""Wall time, job, node, device, reason."""

_GATES = (NotAdmitted.code, Forbidden.code)
"""Codes of refusals that a gate decided."""
_MOST_REFUSALS = 64
_MOST_SCORES = 128
_MOST_SCORE_BYTES = 600
_MOST_DOCUMENT_BYTES = 16 << 10
"""What a bench says of a refusal is kept with the job; nobody needs more for it."""
_MOST_TTL_S = 3_600.0
_MOST_CREDITS = 65_536
_KEY_BYTES = 32
_MOST_PORT = 65_535
_MOST_HOSTS = 64
_RESTFUL_ENDS = (
    LeaseEnd.NODE_DOWN,
    LeaseEnd.DRAINING,
    LeaseEnd.UNFIT,
    LeaseEnd.BROKEN,
    LeaseEnd.NOT_ADMITTED,
)
"""Ends after which the same device is left alone for a while."""


class Leasing:
    """Turns what benches and the router say about a live job into leases for its submitter.

    Every method takes a job that is live and returns effects; it moves the job only along
    ASKED, LEASED and STARVED. Ending jobs is the desk's business.

    Args:
        settings: Pauses and limits.
    """

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self._keys: dict[NodeId, bytes] = {}
        self.refusals: deque[Refused] = deque(maxlen=_MOST_REFUSALS)
        """The last ones, of any job."""

    def learn_key(self, node: NodeId, node_key: bytes) -> None:
        """Check this node's lease signatures from now on."""
        self._keys[node] = node_key

    def want(self, job: LiveJob, slots: int, now: Seconds) -> list[Effect]:
        """Set how many leases a job could use; 0 gives all of them back."""
        slots = max(0, min(slots, self._settings.max_slots))
        if slots == 0:
            effects = job.release(now)
            job.move(JobEvent.STARVED)
            return effects
        if not job.wanted and not job.held:
            job.hungry_s = now
        job.wanted = slots
        job.pause_s = 0.0
        return self.place(job, now)

    def place(self, job: LiveJob, now: Seconds) -> list[Effect]:
        """Ask the router where else the job could run."""
        if job.needed < 1 or job.submitter is None:
            job.retry_s = None
            return []
        # The router answers at once; should it not, the job is not stuck.
        job.retry_s = now + self._settings.placement_retry_max_s
        return [Announce(job.wish(now))]

    def placed(self, job: LiveJob, made: PlacementMade, now: Seconds) -> list[Effect]:
        """Request what the router chose, or tell the submitter that it must wait."""
        job.chronicle.decided(
            now, job.needed, made.judged, more=made.more, reason=made.reason, hint=made.hint
        )
        asked = job.ask(made.choices, now, self._settings)
        if asked:
            job.move(JobEvent.ASKED)
            job.retry_s = now + self._settings.placement_retry_max_s if job.needed else None
            return asked
        if job.needed:
            shortest, longest = (
                self._settings.placement_retry_s,
                self._settings.placement_retry_max_s,
            )
            job.pause_s = min(longest, max(shortest, job.pause_s * 2))
            job.retry_s = now + job.pause_s
        # What a bench said when it refused tells more than that it did so just now.
        if made.reason and not (job.reason and job.avoid):
            code = NotAdmitted.code if made.document else ""
            job.blame(made.reason, made.hint, made.denied or code, made.document)
        return self._starved(job)

    def granted(
        self, job: LiveJob, sender: Sender, grant: LeaseGrant, now: Seconds
    ) -> list[Effect]:
        """Pass a lease on to the submitter, or give it back when it is not (or no longer) due."""
        lease = grant.lease
        rate = grant.rate if 0 < grant.rate < math.inf else 0.0
        if lease.id in job.held:
            return []
        refused = self._doubt(job, sender, lease)
        if refused:
            facts: dict[str, str | int | float | bool | None] = {
                "job": job.record.id, "node": sender, "lease": lease.id, "why": refused,
            }  # fmt: skip
            return [Notice("lease.doubtful", "a lease was not accepted", "warning", facts)]
        if job.submitter is not None and job.shade.take(grant):
            job.expect_energy(lease)
            job.chronicle.note(now, "granted", f"{lease.node}/{lease.device}", "for shadow copies")
            return [Reply(job.submitter, LeaseGrant(lease, rate, shadow=True))]
        late = lease.id in job.gone or (lease.node, lease.device) not in job.ever_asked
        if late or job.submitter is None or len(job.held) >= job.wanted:
            return [Send(lease.node, LeaseRelease((lease.id,)))]
        started_s = job.hold(lease, now)
        _note_score(job, lease, grant.admitted)
        job.move(JobEvent.LEASED)
        job.chronicle.note(now, "granted", f"{lease.node}/{lease.device}", lease=lease.id)
        told: list[Effect] = [Reply(job.submitter, LeaseGrant(lease, rate)), *_shadow_wish(job)]
        if started_s is not None:
            told.append(Announce(StartMeasured(lease.node, lease.device, started_s)))
        return told

    def refused(
        self, job: LiveJob, sender: NodeId, refusal: LeaseRefusal, now: Seconds
    ) -> list[Effect]:
        """Look elsewhere, and leave the refusing device alone for a while."""
        if job.shade.refused(sender, refusal.device, now):
            return []
        if job.asked.pop((sender, refusal.device), None) is None:
            return []
        code = refusal.code if refusal.code in _GATES else ""
        short_enough = len(refusal.document) <= _MOST_DOCUMENT_BYTES
        document = refusal.document if code and short_enough else b""
        job.blame(refusal.reason, refusal.hint, code, document)
        job.chronicle.note(now, "refused", f"{sender}/{refusal.device}", refusal.reason)
        at_s = job.chronicle.wall_s(now)
        self.refusals.append((at_s, job.record.id, sender, refusal.device, short(refusal.reason)))
        job.avoid[f"{sender}/{refusal.device}"] = now + self._settings.avoid_s
        if code:
            job.shut[f"{sender}/{refusal.device}"] = code
        return self.place(job, now)

    def lost(self, job: LiveJob, revoked: LeaseRevoked, now: Seconds) -> list[Effect]:
        """Tell the submitter that a held lease is gone, and look for another one."""
        if job.shade.drop(revoked.lease, now) is not None:
            return _tell_lost(job, revoked)
        lease = job.drop(revoked.lease, now)
        if lease is None:
            return []
        job.blame(revoked.reason)
        where = f"{lease.node}/{lease.device}"
        job.chronicle.note(now, "lost", where, revoked.reason, lease.id)
        if revoked.code in _RESTFUL_ENDS:
            job.avoid[f"{lease.node}/{lease.device}"] = now + self._settings.avoid_s
        if revoked.code == LeaseEnd.IDLE:
            job.wanted = len(job.held)  # it asks for more once it has work again
        effects = _tell_lost(job, revoked)
        if not job.held:
            job.move(JobEvent.STARVED)
            if job.asked:
                job.move(JobEvent.ASKED)
        return effects + self.place(job, now)

    def node_down(self, job: LiveJob, node: NodeId, now: Seconds) -> list[Effect]:
        """Lose every lease of a node, and every hope of one."""
        effects: list[Effect] = []
        silent = [place for place in job.asked if place[0] == node]
        for place in silent:
            del job.asked[place]
            job.avoid[f"{node}/{place[1]}"] = now + self._settings.avoid_s
        for lease in [each for each in job.held.values() if each.node == node]:
            reason = f"node {lease.node_name} is down"
            effects += self.lost(job, LeaseRevoked(lease.id, LeaseEnd.NODE_DOWN, reason), now)
        shadow = job.shade.gone(node, now)
        if shadow is not None:
            reason = f"node {shadow.node_name} is down"
            effects += _tell_lost(job, LeaseRevoked(shadow.id, LeaseEnd.NODE_DOWN, reason))
        return effects + (self.place(job, now) if silent else [])

    def broken(self, job: LiveJob, revoked: LeaseRevoked, now: Seconds) -> list[Effect]:
        """Give back a lease whose runner the submitter cannot reach, and find another one."""
        lease = job.held.get(revoked.lease) or job.shade.drop(revoked.lease, now)
        if lease is None:
            return []
        return [
            Send(lease.node, LeaseRelease((lease.id,))),
            *self.lost(job, revoked, now),
        ]

    def surrender(self, job: LiveJob, end: LeaseEnd, reason: str, now: Seconds) -> list[Effect]:
        """Give every lease back and tell the submitter; it may ask for more later."""
        told: list[Effect] = []
        if job.submitter is not None:
            told = [Reply(job.submitter, LeaseLost(lease, end, reason)) for lease in job.held]
        return [*told, *self.want(job, 0, now)]

    def look(self, job: LiveJob, now: Seconds) -> list[Effect]:
        """Renew, repeat and retry what is due."""
        effects: list[Effect] = []
        if job.renew_s is not None and job.renew_s <= now:
            effects += job.renew(now)
            effects += _shadow_wish(job)
        repeated, mute = job.ask_again(now, self._settings)
        effects += repeated
        for node, device in mute:
            job.blame(f"{device} of {node} did not answer")
            job.chronicle.note(now, "silent", f"{node}/{device}", "it did not answer")
            job.avoid[f"{node}/{device}"] = now + self._settings.avoid_s
        impatient = job.lose_patience(now)
        if mute or impatient or (job.retry_s is not None and job.retry_s <= now):
            effects += self.place(job, now)
        return effects

    def _starved(self, job: LiveJob) -> list[Effect]:
        """Tell the submitter once why it has no lease."""
        if job.held or job.asked or job.submitter is None or job.told == job.reason:
            return []
        job.told = job.reason
        return [Reply(job.submitter, LeaseStarved(job.record.id, job.reason, job.hint))]

    def _doubt(self, job: LiveJob, sender: Sender, lease: Lease) -> str:
        """Return what is wrong with a lease; empty when nothing is."""
        key = self._keys.get(lease.node)
        if key is None:
            return "its node's key is unknown here"
        try:
            verify_lease(lease, key)
        except BadSignature as error:
            return error.message
        sound = (
            lease.node == sender
            and lease.submitter_key == job.curve_key
            and (lease.kernel, lease.kernel_hash) == (job.order.kernel, job.terms.kernel_hash)
        )
        if not sound:
            return "it is for another node, submitter or kernel"
        sane = (
            1 <= lease.credits <= _MOST_CREDITS
            and math.isfinite(lease.ttl_s)
            and 0 < lease.ttl_s <= _MOST_TTL_S
            and 0 < lease.port <= _MOST_PORT
            and 0 < len(lease.hosts) <= _MOST_HOSTS
            and len(lease.runner_key) == _KEY_BYTES
        )
        return "" if sane else "credits, life, address or key are out of range"


def _shadow_wish(job: LiveJob) -> list[Effect]:
    """Ask for a device on trial, if the job's work is audited and it has none yet."""
    several = job.record.options.verify > 1
    if several or not job.held or job.shade.lease is not None or not job.terms.audit_share > 0:
        return []
    return [Announce(ShadowWanted(job.record.id))]


def _tell_lost(job: LiveJob, revoked: LeaseRevoked) -> list[Effect]:
    if job.submitter is None:
        return []
    told = LeaseLost(revoked.lease, revoked.code, revoked.reason, revoked.task, revoked.attempt)
    return [Reply(job.submitter, told)]


def _note_score(job: LiveJob, lease: Lease, score: bytes) -> None:
    """Keep under which score an executor took work of a job, for its receipt."""
    place, known = f"{lease.node_name}/{lease.device}", job.record.admitted
    fits = 0 < len(score) <= _MOST_SCORE_BYTES
    if fits and (place in known or len(known) < _MOST_SCORES):
        job.record = msgspec.structs.replace(job.record, admitted=known | {place: score})
