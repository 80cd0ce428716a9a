"""The desk owns the jobs of this node's clients, from submission to the end and beyond.

Senders: control connections speak for clients, node ids for benches, this node's own id for the
router. What a client is told about a job goes to the request (``@control/c/r``) by which it was
submitted. Every unfinished job has something that ends or moves it: its start limit while it has
no lease, its submitter's silence while it has one, its deadline, its orphan's patience.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from qallow_agent.base.ids import Entropy, JobId, NodeId, Sender, is_local
from qallow_agent.base.machine import Effect, Instant, Send
from qallow_agent.base.message import Message
from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.jobs.cashier import Cashier
from qallow_agent.jobs.counter import Counter
from qallow_agent.jobs.epochs import JobStep, KeepEpoch
from qallow_agent.jobs.leasing import Leasing
from qallow_agent.jobs.live import LiveJob
from qallow_agent.jobs.local import ClientGone, PlacementMade, ShadowFound
from qallow_agent.jobs.messages import (
    Deposit,
    Fetch,
    JobCancel,
    JobEnded,
    JobEnergy,
    JobProgress,
    LeaseBroken,
    LeaseGrant,
    LeaseRefusal,
    LeaseRelease,
    LeaseRevoked,
    ListJobs,
    MoreSlots,
    OpenSession,
    SubmitJob,
)
from qallow_agent.jobs.model import JobEvent, JobRecord, LeaseEnd, Needs, Terms
from qallow_agent.jobs.opinions import AuditDone
from qallow_agent.jobs.reception import Reception
from qallow_agent.jobs.roster import Roster
from qallow_agent.jobs.settings import JobSettings

Route = Callable[[Sender, Any, Instant], list[Effect]]


class Desk:
    """The owner's side of every job submitted at this node.

    Args:
        me: This node; only its own router may place jobs.
        settings: Limits and pauses.
        rng: Entropy for job ids.
        kept: What was persisted under ``jobs/``.

    Raises:
        StorageCorrupt: A kept record does not decode.
    """

    def __init__(
        self, *, me: NodeId, settings: JobSettings, rng: Entropy, kept: Mapping[str, bytes]
    ) -> None:
        self._me = me
        self._settings = settings
        self._roster = Roster(settings, kept)
        self._leasing = Leasing(settings)
        self.counter = Counter(self._roster)
        """Knows every job, live and over."""
        self.refusals = self._leasing.refusals
        """The last refusals of benches, of any job."""
        self.commitments = self._roster.commitments
        """Slots that the jobs here hold and asked for, by device."""
        self._cashier = Cashier(self._roster)
        self._reception = Reception(self._roster, self._leasing, self.counter, settings, rng)
        self._routes = self._wire()

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in a message about jobs; SubmitJob comes through ``submit`` instead."""
        route = self._routes.get(type(message))
        return [] if route is None else route(sender, message, now)

    def submit(self, sender: Sender, order: SubmitJob, terms: Terms, now: Instant) -> list[Effect]:
        """Take a validated job, or refuse it with a Failure; a known key returns its job."""
        return self._reception.submit(sender, order, terms, now)

    def needs(self, job: JobId) -> Needs | None:
        """Return what placement must know of a job; None once it is over."""
        live = self._roster.live.get(job)
        return None if live is None else Needs(live.order, live.terms)

    def account_of(self, job: JobId, *, key: str = "") -> JobRecord | None:
        """Return the record of a job, live or over, with its story up to now.

        Args:
            job: Its id; "" to find it by its key.
            key: Its idempotency key.
        """
        live = self._roster.live.get(job)
        if live is not None:
            return msgspec.structs.replace(live.record, story=live.chronicle.story())
        if job:
            return self._roster.archive.get(job)
        named = self._roster.by_key(key) if key else None
        return named.record if isinstance(named, LiveJob) else named

    def learn_key(self, node: NodeId, node_key: bytes) -> None:
        """Check this node's lease signatures from now on."""
        self._leasing.learn_key(node, node_key)

    def running(self) -> int:
        """Return how many jobs are not over."""
        return len(self._roster.live)

    def member_down(self, node: NodeId, now: Instant) -> list[Effect]:
        """Move the work of a dead member."""
        effects: list[Effect] = []
        for job in list(self._roster.live.values()):
            before = job.record.state
            lost = self._leasing.node_down(job, node, now.mono_s)
            effects += self._roster.after(job, before, lost)
        return effects

    def devices_changed(self, now: Instant) -> list[Effect]:
        """Try starved jobs again soon: some device has changed."""
        soon_s = now.mono_s + self._settings.placement_retry_s
        for job in self._roster.live.values():
            if job.retry_s is not None and job.retry_s > soon_s:
                job.retry_s = soon_s
                self._roster.after(job, job.record.state, [])
        return []

    def drain(self, now: Instant) -> list[Effect]:
        """End every job: this agent is stopping and can no longer own them."""
        why, hint = "the agent is stopping", "submit it again after its restart"
        return [
            effect
            for job in list(self._roster.live.values())
            for effect in self._roster.end(job, JobEvent.FAILED, "job-failed", why, hint, now)
        ]

    def tick(self, now: Instant) -> list[Effect]:
        """End what is overdue; renew, repeat and retry what is due."""
        jobs, effects = self._roster.due(now)
        for job in jobs:
            effects += _overdue(job, self._roster, self._settings, now) or self._leasing_step(
                job, now
            )
        return effects

    def next_deadline(self) -> Seconds | None:
        """Return when ``tick`` has something to do."""
        return self._roster.next_deadline()

    def check(self) -> None:
        """Raise InvariantBroken when an always-true property is false."""
        self._roster.check()

    def _wire(self) -> Mapping[type[Message], Route]:
        reception, counter = self._reception, self.counter
        return {
            OpenSession: reception.open,
            JobProgress: reception.progress,
            JobEnded: reception.ended,
            JobCancel: reception.cancel,
            MoreSlots: reception.more,
            LeaseBroken: reception.broken,
            AuditDone: reception.audited,
            ClientGone: lambda sender, _, now: reception.gone(sender, now),
            Deposit: counter.deposit,
            Fetch: counter.fetch,
            KeepEpoch: counter.keep,
            JobStep: counter.step,
            ListJobs: counter.jobs,
            PlacementMade: self._placed,
            ShadowFound: self._shadow,
            LeaseGrant: self._granted,
            LeaseRefusal: self._refused,
            LeaseRevoked: self._revoked,
            JobEnergy: self._cashier.charge,
        }

    def _placed(self, sender: Sender, made: PlacementMade, now: Instant) -> list[Effect]:
        job = self._roster.live.get(made.job)
        if job is None or sender != self._me:
            return []
        if made.never and not made.choices and not job.held and not job.asked:
            return self._roster.end(job, JobEvent.FAILED, "never-fits", made.reason, made.hint, now)
        if made.denied and not (made.choices or job.held or job.asked or job.gone):
            # What a gate said of this very job tells more than what it says of any.
            own = job.document if job.shut and job.code == made.denied else b""
            why, hint = (job.reason, job.hint) if own else (made.reason, made.hint)
            job.blame(why, hint, made.denied, own or made.document)
            return self._roster.end(job, JobEvent.FAILED, made.denied, why, hint, now)
        before = job.record.state
        return self._roster.after(job, before, self._leasing.placed(job, made, now.mono_s))

    def _shadow(self, sender: Sender, found: ShadowFound, now: Instant) -> list[Effect]:
        job = self._roster.live.get(found.job)
        if job is None or sender != self._me:
            return []
        return job.ask_shadow(found.choice, now.mono_s)

    def _granted(self, sender: Sender, message: LeaseGrant, now: Instant) -> list[Effect]:
        lease = message.lease
        job = self._roster.live.get(lease.job)
        if is_local(sender):
            return []
        if job is None:
            # It came after the job's end: its runner should not wait for the lease to expire.
            return [Send(NodeId(sender), LeaseRelease((lease.id,)))]
        before = job.record.state
        return self._roster.after(
            job, before, self._leasing.granted(job, sender, message, now.mono_s)
        )

    def _refused(self, sender: Sender, message: LeaseRefusal, now: Instant) -> list[Effect]:
        job = self._roster.live.get(message.job)
        if job is None:
            return []
        before = job.record.state
        refused = self._leasing.refused(job, NodeId(sender), message, now.mono_s)
        return self._roster.after(job, before, refused)

    def _revoked(self, sender: Sender, message: LeaseRevoked, now: Instant) -> list[Effect]:
        for job in self._roster.live.values():
            shadow = job.shade.lease
            lease = job.held.get(message.lease)
            if shadow is not None and shadow.id == message.lease:
                lease = shadow
            if lease is not None and lease.node == sender:
                before = job.record.state
                lost = self._leasing.lost(job, message, now.mono_s)
                return self._roster.after(job, before, lost)
        return []

    def _leasing_step(self, job: LiveJob, now: Instant) -> list[Effect]:
        before = job.record.state
        silent_s = now.mono_s - job.heard_s
        if job.held and silent_s >= self._settings.submitter_silence_s:
            why = f"the client said nothing for {show_seconds(silent_s)}"
            job.heard_s = now.mono_s
            effects = self._leasing.surrender(job, LeaseEnd.SILENT, why, now.mono_s)
        else:
            effects = self._leasing.look(job, now.mono_s)
        return self._roster.after(job, before, effects)


def _overdue(job: LiveJob, roster: Roster, settings: JobSettings, now: Instant) -> list[Effect]:
    """End a job whose time is up; no effects when it may go on."""
    options = job.record.options
    if job.deadline_s is not None and job.deadline_s <= now.mono_s:
        why = f"not done within its deadline of {show_seconds(options.deadline_s)}"
        hint = "raise the deadline or add devices"
        return roster.end(job, JobEvent.EXPIRED, "deadline", why, hint, now)
    starts_by_s = job.starts_by()
    if starts_by_s is not None and starts_by_s <= now.mono_s:
        why = f"no runner within {show_seconds(options.start_s)}"
        why += f": {job.reason}" if job.reason else ""
        return roster.end(job, JobEvent.FAILED, job.code or "no-device", why, job.hint, now)
    if job.orphaned_s is not None:
        if job.orphaned_s + settings.reclaim_s > now.mono_s:
            return []
        why = "its client vanished and did not come back"
        return roster.end(job, JobEvent.FAILED, "job-failed", why, "", now)
    silent_s = now.mono_s - job.heard_s
    if silent_s >= settings.submitter_silence_s and not job.wanted:
        why = f"its client said nothing for {show_seconds(silent_s)}"
        return roster.end(job, JobEvent.FAILED, "job-failed", why, "", now)
    return []
