"""The reception: everything a client says about its jobs."""

import math

from qallow_agent.base.ids import Entropy, JobId, Sender, draw_id
from qallow_agent.base.machine import Announce, Effect, Instant, Reply
from qallow_agent.base.message import Done
from qallow_agent.jobs.counter import Counter, refuse, unknown_job
from qallow_agent.jobs.leasing import Leasing
from qallow_agent.jobs.live import LiveJob
from qallow_agent.jobs.local import LinkMeasured
from qallow_agent.jobs.messages import (
    JobAccepted,
    JobCancel,
    JobEnded,
    JobProgress,
    JobState,
    JobStopped,
    LeaseBroken,
    LeaseRevoked,
    MoreSlots,
    OpenSession,
    SubmitJob,
)
from qallow_agent.jobs.model import (
    EVENT_OF_END,
    JobEvent,
    JobRecord,
    LeaseEnd,
    Terms,
    fingerprint,
)
from qallow_agent.jobs.roster import Roster, connection_of, same_client
from qallow_agent.jobs.settings import JobSettings

_CURVE_KEY_BYTES = 32
_MOST_WATCHERS = 16
_CODES = {
    JobState.SUCCEEDED: "",
    JobState.FAILED: "job-failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "deadline",
}


class Reception:
    """Takes clients' words and moves their jobs.

    Args:
        roster: The jobs.
        leasing: Gets leases for them.
        counter: Keeps their results.
        settings: Limits.
        rng: Entropy for job ids.
    """

    def __init__(
        self,
        roster: Roster,
        leasing: Leasing,
        counter: Counter,
        settings: JobSettings,
        rng: Entropy,
    ) -> None:
        self._roster = roster
        self._leasing = leasing
        self._counter = counter
        self._settings = settings
        self._rng = rng
        self._sessions: dict[str, bytes] = {}

    def open(self, sender: Sender, message: OpenSession, _now: Instant) -> list[Effect]:
        """Remember the key that a client shows to runners."""
        if len(message.curve_key) != _CURVE_KEY_BYTES:
            return [refuse(sender, "usage", "a session needs a CURVE key of 32 bytes")]
        self._sessions[connection_of(sender)] = message.curve_key
        return []

    def gone(self, sender: Sender, now: Instant) -> list[Effect]:
        """Release what a vanished client held; its keyed jobs wait for it to come back."""
        connection = connection_of(sender)
        self._sessions.pop(connection, None)
        effects = self._counter.client_gone(connection)
        for job in list(self._roster.live.values()):
            job.watchers = [each for each in job.watchers if connection_of(each) != connection]
            if not same_client(job.submitter, sender):
                continue
            effects += self._roster.archive.abandon(job.record.id)
            job.submitter = None
            if not job.record.options.idempotency_key:
                effects += self._roster.end(
                    job, JobEvent.FAILED, "job-failed", "its client vanished", "", now
                )
                continue
            before = job.record.state
            job.orphaned_s = now.mono_s
            released = self._leasing.want(job, 0, now.mono_s)
            effects += self._roster.after(job, before, released)
        return effects

    def submit(self, sender: Sender, order: SubmitJob, terms: Terms, now: Instant) -> list[Effect]:
        """Take a validated job, or refuse it with a Failure; a known key returns its job."""
        if connection_of(sender) not in self._sessions:
            return [refuse(sender, "usage", "no session is open", "send session.open first")]
        options = order.options
        # NaN is refused too: no comparison with it holds.
        sound = options.start_s > 0 and options.deadline_s >= 0 and order.slots > 0
        if not sound or order.points < 0 or not 0 <= options.max_joules < math.inf:
            why = "start_s and slots must be above 0; deadline_s, points and max_joules at least 0"
            return [refuse(sender, "bad-parameter", why)]
        known = options.idempotency_key and self._roster.by_key(options.idempotency_key)
        if known:
            return self._again(sender, known, order, terms, now)
        unfinished = len(self._roster.live)
        if unfinished >= self._settings.max_jobs:
            why = f"{unfinished} jobs are unfinished here"
            hint = "wait for some to end or raise jobs.max_jobs"
            return [refuse(sender, "job-rejected", why, hint, retryable=True)]
        record = JobRecord(
            id=JobId(draw_id("job", self._rng)),
            kernel=order.kernel,
            kernel_hash=terms.kernel_hash,
            points=order.points,
            options=options,
            fingerprint=fingerprint(order, terms.kernel_hash),
            state=JobState.SUBMITTED,
            submitted_s=now.wall_s,
        )
        job = LiveJob(record, order, terms, now.mono_s)
        return [self._roster.add(job), *self._adopt(job, sender, order, now, known=False)]

    def progress(self, sender: Sender, message: JobProgress, now: Instant) -> list[Effect]:
        """Note how far a job is, and that its submitter lives."""
        job = self._roster.live.get(message.job)
        if job is not None and same_client(job.submitter, sender):
            self._roster.note(job, message)
            job.heard_s = now.mono_s
            return _measured(job, message)
        return []

    def ended(self, sender: Sender, message: JobEnded, now: Instant) -> list[Effect]:
        """End a job as its submitter says; saying so twice is answered twice."""
        event = EVENT_OF_END.get(message.state)
        if event is None:
            return [refuse(sender, "usage", f"{message.state} is not an end")]
        job = self._roster.live.get(message.job)
        if job is None:
            return self._over(sender, message.job, message.state)
        if not same_client(job.submitter, sender):
            return [refuse(sender, "not-allowed", "another client submitted this job")]
        self._roster.note(job, message.progress)
        self._roster.note_print(job, message.fingerprint)
        self._counter.over(message.job, sender)
        job.submitter = None  # it knows
        code = _CODES[message.state]
        return [
            *self._roster.end(job, event, code, message.error, "", now),
            Reply(sender, Done()),
        ]

    def cancel(self, sender: Sender, message: JobCancel, now: Instant) -> list[Effect]:
        """Cancel a job for its client or another one of this node."""
        job = self._roster.live.get(message.job)
        if job is None:
            return self._over(sender, message.job, JobState.CANCELLED)
        why = "the job was cancelled"
        return [
            *self._roster.end(job, JobEvent.CANCELLED, "cancelled", why, "", now),
            Reply(sender, Done()),
        ]

    def more(self, sender: Sender, message: MoreSlots, now: Instant) -> list[Effect]:
        """Change how many leases a job wants; 0 gives them all back until it asks again."""
        job = self._roster.live.get(message.job)
        if job is None or not same_client(job.submitter, sender):
            return []
        before = job.record.state
        job.heard_s = now.mono_s
        return self._roster.after(job, before, self._leasing.want(job, message.slots, now.mono_s))

    def broken(self, sender: Sender, message: LeaseBroken, now: Instant) -> list[Effect]:
        """Replace a lease whose runner the client cannot reach."""
        job = self._roster.live.get(message.job)
        if job is None or not same_client(job.submitter, sender):
            return []
        before = job.record.state
        job.heard_s = now.mono_s
        revoked = LeaseRevoked(message.lease, LeaseEnd.BROKEN, message.reason)
        return self._roster.after(job, before, self._leasing.broken(job, revoked, now.mono_s))

    def _again(
        self,
        sender: Sender,
        known: LiveJob | JobRecord,
        order: SubmitJob,
        terms: Terms,
        now: Instant,
    ) -> list[Effect]:
        """Answer a submission under a known key: adopt an orphan, watch the rest."""
        record = known if isinstance(known, JobRecord) else known.record
        if record.fingerprint != fingerprint(order, terms.kernel_hash):
            key = record.options.idempotency_key
            why = f"idempotency key {key!r} already names {record.id} with other parameters"
            return [refuse(sender, "job-rejected", why, "use another key")]
        if isinstance(known, LiveJob) and known.submitter is None:
            return self._adopt(known, sender, order, now, known=True)
        accepted = JobAccepted(record.id, record.state, record.kernel_hash, known=True)
        if isinstance(known, LiveJob):
            known.watchers = [*known.watchers, sender][-_MOST_WATCHERS:]
            return [Reply(sender, accepted)]
        stopped = JobStopped(
            record.id, record.state, record.code, record.error, record.hint, record.refusal
        )
        return [Reply(sender, accepted), Reply(sender, stopped)]

    def _adopt(
        self, job: LiveJob, sender: Sender, order: SubmitJob, now: Instant, *, known: bool
    ) -> list[Effect]:
        """Make a client the submitter of a job and look for leases."""
        before = job.record.state
        job.submitter = sender
        job.curve_key = self._sessions[connection_of(sender)]
        job.orphaned_s = None
        job.heard_s = now.mono_s
        accepted = JobAccepted(
            job.record.id,
            job.record.state,
            job.record.kernel_hash,
            known,
            job.terms.warnings,
            slots=order.slots,
            ops=job.terms.demand.ops,
        )
        effects: list[Effect] = [Reply(sender, accepted)]
        effects += self._leasing.want(job, order.slots, now.mono_s)
        return self._roster.after(job, before, effects)

    def _over(self, sender: Sender, job: JobId, state: JobState) -> list[Effect]:
        """Answer a wish to end a job that is over: fine if it ended so, else a refusal."""
        over = self._roster.archive.get(job)
        if over is None:
            return unknown_job(sender, job)
        if over.state == state:
            return [Reply(sender, Done())]
        return [refuse(sender, "job-rejected", f"{job} is already {over.state}")]


def _measured(job: LiveJob, progress: JobProgress) -> list[Effect]:
    """Pass on how fast bytes flowed to the nodes whose runners a job holds."""
    nodes = {f"{lease.node_name}/{lease.device}": lease.node for lease in job.held.values()}
    return [
        Announce(LinkMeasured(nodes[label], rate))
        for label, rate in sorted(progress.links.items())
        if label in nodes
    ]
