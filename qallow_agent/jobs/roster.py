"""The roster: every job of a desk, live or over, and the one way from the first to the second."""

from collections.abc import Mapping

import msgspec

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import JobId, Sender
from qallow_agent.base.machine import Announce, Effect, Instant, Reply
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.agenda import Agenda
from qallow_agent.jobs.archive import Archive, revived, save
from qallow_agent.jobs.live import LiveJob, Place
from qallow_agent.jobs.local import JobOver
from qallow_agent.jobs.messages import Fingerprint, JobProgress, JobState, JobStopped
from qallow_agent.jobs.model import FINAL, JobEvent, JobRecord, advance
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.story import abridged

_MOST_SHARES = 1_024
_MOST_COLUMNS = 64
_HASH_BYTES = 32
_HOUSEKEEPING = JobId("@archive")
_HOUSEKEEPING_S = 600.0


class Roster:
    """Holds jobs, ends them, remembers them, and knows when to look at which.

    Args:
        settings: Limits and times.
        kept: What was persisted under ``jobs/``; what ran then has failed.
    """

    def __init__(self, settings: JobSettings, kept: Mapping[str, bytes]) -> None:
        self._settings = settings
        self.live: dict[JobId, LiveJob] = {}
        self.archive = Archive(settings)
        self._keys: dict[str, JobId] = {}
        self._agenda: Agenda[JobId] = Agenda()
        self._agenda.remind(_HOUSEKEEPING, 0.0)
        self._found, self._cleanup = self.archive.load(kept)

    def add(self, job: LiveJob) -> Effect:
        """Take in a new job."""
        record = job.record
        self.live[record.id] = job
        if record.options.idempotency_key:
            self._keys[record.options.idempotency_key] = record.id
        return save(record)

    def by_key(self, key: str) -> LiveJob | JobRecord | None:
        """Return the job that an idempotency key names, live or over."""
        live = self.live.get(self._keys.get(key, JobId("")))
        return self.archive.by_key(key) if live is None else live

    def due(self, now: Instant) -> tuple[list[LiveJob], list[Effect]]:
        """Return the jobs to look at now, and the effects of housekeeping."""
        jobs: list[LiveJob] = []
        effects: list[Effect] = []
        for job_id in self._agenda.due(now.mono_s):
            job = self.live.get(job_id)
            if job is not None:
                jobs.append(job)
            elif job_id == _HOUSEKEEPING:
                effects += self._keep_house(now)
        return jobs, effects

    def next_deadline(self) -> Seconds | None:
        """Return when a job, or the archive, must be looked at."""
        return self._agenda.next()

    def after(self, job: LiveJob, before: JobState, effects: list[Effect]) -> list[Effect]:
        """Close a step of a job: plan the next look, and say so if its state changed."""
        record = job.record
        if record.id not in self.live:
            return effects
        self._agenda.remind(record.id, job.due(self._settings))
        if record.state != before:
            effects.append(_moved(record, "debug"))
        return effects

    def end(
        self, job: LiveJob, event: JobEvent, code: str, reason: str, hint: str, now: Instant
    ) -> list[Effect]:
        """End a job: release its leases, remember it, tell its submitter and its watchers."""
        effects = job.release(now.mono_s)
        record = msgspec.structs.replace(
            job.record,
            state=advance(job.record.state, event),
            ended_s=now.wall_s,
            code=code,
            error=reason,
            hint=hint,
            refusal=job.document if code == job.code else b"",
            story=abridged(job.chronicle.story()),
        )
        job.record = record
        del self.live[record.id]
        self._agenda.forget(record.id)
        if record.options.idempotency_key:
            self._keys.pop(record.options.idempotency_key, None)
        effects += self.archive.add(record, now)
        stopped = JobStopped(record.id, record.state, code, reason, hint, record.refusal)
        listeners = job.watchers if job.submitter is None else [job.submitter, *job.watchers]
        effects += [Reply(each, stopped) for each in listeners]
        return [*effects, _moved(record, "info"), Announce(JobOver(record.id))]

    def note(self, job: LiveJob, progress: JobProgress) -> None:
        """Take in how far a job is."""
        job.record = msgspec.structs.replace(
            job.record,
            done=max(0, progress.done),
            failed=max(0, progress.failed),
            rerun=max(0, progress.rerun),
            share=dict(sorted(progress.share.items())[:_MOST_SHARES]),
        )

    def note_print(self, job: LiveJob, printed: Fingerprint) -> None:
        """Take in what went into a job and came out of it; hashes of another length are none."""
        sound = all(len(each) in {0, _HASH_BYTES} for each in (printed.inputs, printed.outputs))
        if not sound:
            printed = Fingerprint()
        elif len(printed.columns) > _MOST_COLUMNS:
            printed = msgspec.structs.replace(printed, columns=())
        job.record = msgspec.structs.replace(job.record, printed=printed)

    def commitments(self) -> dict[Place, tuple[int, int]]:
        """Return, by device, how many slots the jobs here hold and how many more they asked for."""
        found: dict[Place, tuple[int, int]] = {}
        for job in self.live.values():
            for lease in job.held.values():
                held, asked = found.get((lease.node, lease.device), (0, 0))
                found[lease.node, lease.device] = held + 1, asked
            for place, wish in job.asked.items():
                held, asked = found.get(place, (0, 0))
                found[place] = held, asked + wish.slots
        return found

    def check(self) -> None:
        """Raise InvariantBroken when an always-true property is false."""
        for job_id, job in self.live.items():
            state = job.record.state
            if state in FINAL:
                raise InvariantBroken(f"{job_id} is {state} and still live")
            if (state == JobState.RUNNING) != bool(job.held):
                raise InvariantBroken(f"{job_id} is {state} with {len(job.held)} leases")
            due_s, planned_s = job.due(self._settings), self._agenda.next()
            if due_s is None or planned_s is None or planned_s > due_s:
                raise InvariantBroken(f"{job_id} waits for ever, or for too long")
        if not self.archive.check_bytes():
            raise InvariantBroken("the archive miscounts its bytes")

    def _keep_house(self, now: Instant) -> list[Effect]:
        """Settle what an earlier run of the agent left behind, and forget what is too old."""
        self._agenda.remind(_HOUSEKEEPING, now.mono_s + _HOUSEKEEPING_S)
        effects, self._cleanup = self._cleanup, []
        found, self._found = self._found, []
        for record in found:
            effects += self.archive.add(revived(record, now.wall_s), now, known=record)
            if record.receipt < 0:
                effects.append(Announce(JobOver(record.id)))
        return [*effects, *self.archive.trim(now)]


def _moved(record: JobRecord, level: str) -> Notice:
    return Notice(
        "job.state",
        "a job changed its state",
        "info" if level == "info" else "debug",
        {"job": record.id, "kernel": record.kernel, "state": record.state.value,
         "why": record.error},
    )  # fmt: skip


def same_client(one: Sender | None, other: Sender) -> bool:
    """Return whether two requests came over one control connection."""
    return one is not None and connection_of(one) == connection_of(other)


def connection_of(sender: Sender) -> str:
    """Return the connection of a control request ``@control/connection/request``."""
    return sender.rpartition("/")[0]
