"""The counter: where clients leave results, fetch them and ask which jobs there are."""

from typing import Any

from qallow_agent.base.ids import JobId, Sender
from qallow_agent.base.machine import Effect, Instant, Reply
from qallow_agent.base.message import Done, Failure, Report
from qallow_agent.jobs.live import LiveJob
from qallow_agent.jobs.messages import Deposit, Fetch, JobStep, KeepEpoch, ListJobs
from qallow_agent.jobs.model import JobRecord
from qallow_agent.jobs.roster import Roster, connection_of, same_client
from qallow_agent.jobs.tabs import describe

_MOST_DEPOSITORS = 1_024


class Counter:
    """Serves results and lists; changes no job's state.

    Args:
        roster: The jobs.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._depositors: dict[JobId, str] = {}
        """Which connection submitted a job that is over: it may still bring results."""

    def over(self, job: JobId, submitter: Sender) -> None:
        """Remember who may still deposit results of a job that just ended."""
        self._depositors[job] = connection_of(submitter)
        if len(self._depositors) > _MOST_DEPOSITORS:
            del self._depositors[next(iter(self._depositors))]

    def client_gone(self, connection: str) -> list[Effect]:
        """Drop the half-brought results of a vanished client."""
        effects: list[Effect] = []
        for job in [job for job, owner in self._depositors.items() if owner == connection]:
            del self._depositors[job]
            effects += self._roster.archive.abandon(job)
        return effects

    def deposit(self, sender: Sender, message: Deposit, _now: Instant) -> list[Effect]:
        """Keep a part of a result for whoever fetches it later."""
        live = self._roster.live.get(message.job)
        record = self._roster.archive.get(message.job) if live is None else live.record
        if record is None:
            return unknown_job(sender, message.job)
        owner = live is not None and same_client(live.submitter, sender)
        if not owner and self._depositors.get(message.job) != connection_of(sender):
            return [refuse(sender, "not-allowed", "another client submitted this job")]
        if not record.options.retain:
            return [refuse(sender, "usage", "the job was not submitted with retain")]
        effects, why_not = self._roster.archive.deposit(message)
        if why_not:
            hint = "raise jobs.retain_bytes or write the result to a file"
            return [*effects, refuse(sender, "job-rejected", why_not, hint)]
        return [*effects, Reply(sender, Done())]

    def keep(self, sender: Sender, message: KeepEpoch, _now: Instant) -> list[Effect]:
        """Keep a part of the state of a run that its submitter may want to go on from."""
        live = self._roster.live.get(message.job)
        if live is None:
            return unknown_job(sender, message.job)
        if not same_client(live.submitter, sender):
            return [refuse(sender, "not-allowed", "another client submitted this job")]
        if not live.record.options.retain:
            return [refuse(sender, "usage", "the job was not submitted with retain")]
        effects, why_not = self._roster.vault.put(message)
        if why_not:
            hint = "raise jobs.checkpoint_bytes"
            return [*effects, refuse(sender, "job-rejected", why_not, hint)]
        return [*effects, Reply(sender, Done())]

    def step(self, sender: Sender, message: JobStep, now: Instant) -> list[Effect]:
        """Take what the submitter tells of a run into its job's story."""
        live = self._roster.live.get(message.job)
        if live is not None and same_client(live.submitter, sender):
            live.chronicle.step(now.mono_s, message)
        return []

    def fetch(self, sender: Sender, message: Fetch, _now: Instant) -> list[Effect]:
        """Hand out a retained result, or the state of a run, or say why there is none."""
        job = message.job
        if message.epoch is not None:
            return self._fetch_epoch(sender, job, message.epoch)
        parts = self._roster.archive.result(job)
        if parts is not None:
            return [Reply(sender, part) for part in parts]
        if job in self._roster.live:
            return [
                refuse(sender, "job-rejected", f"{job} is not over yet", "wait for it",
                       retryable=True)
            ]  # fmt: skip
        record = self._roster.archive.get(job)
        if record is None:
            return unknown_job(sender, job)
        why = record.error or "its result was not kept, or had to make room for newer ones"
        hint = "run it again with --retain"
        return [refuse(sender, "job-not-found", f"{job} {record.state}: {why}", hint)]

    def _fetch_epoch(self, sender: Sender, job: JobId, epoch: int) -> list[Effect]:
        """Hand out the state of a run; of an epoch that is not there say which ones are."""
        parts = self._roster.vault.take(job, epoch)
        if parts:
            return [Reply(sender, part) for part in parts]
        if job not in self._roster.live and self._roster.archive.get(job) is None:
            return unknown_job(sender, job)
        kept = self._roster.vault.epochs(job)
        if not kept:
            hint = "long runs keep states when submitted with --retain or --checkpoint-every"
            return [refuse(sender, "job-not-found", f"{job} has no checkpoints", hint)]
        there = ", ".join(str(each) for each, _ in kept)
        return [
            refuse(sender, "job-not-found", f"{job} has no checkpoint of epoch {epoch}",
                   f"there are: {there}")
        ]  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """Return every job, live and over, the oldest first."""
        rows = [_row(record, None) for record in self._roster.archive.records()]
        rows += [_row(live.record, live) for live in self._roster.live.values()]
        for row in rows:
            kept = self._roster.vault.epochs(row["job"])
            row["checkpoints"] = [{"epoch": epoch, "bytes": size} for epoch, size in kept]
        return sorted(rows, key=lambda row: (row["submitted_s"], row["job"]))

    def jobs(self, sender: Sender, message: ListJobs, _now: Instant) -> list[Effect]:
        """Answer which jobs there are, live and over."""
        job = message.job
        rows = self.rows()
        if job is not None:
            rows = [row for row in rows if row["job"] == job]
            if not rows:
                return unknown_job(sender, job)
        document = {"schema": "qallow.jobs/v1", "jobs": rows}
        return [Reply(sender, Report("qallow.jobs/v1", document))]


def refuse(
    sender: Sender, code: str, message: str, hint: str = "", *, retryable: bool = False
) -> Effect:
    """Return the answer to a request that cannot be served."""
    return Reply(sender, Failure(code, message, hint, retryable))


def unknown_job(sender: Sender, job: JobId) -> list[Effect]:
    """Return the answer to a request about a job that nobody knows here."""
    hint = "see: qallow-agent jobs; a job is known at the node where it was submitted"
    return [refuse(sender, "job-not-found", f"{job} is unknown here", hint)]


def _row(record: JobRecord, live: LiveJob | None) -> dict[str, Any]:
    leases = [] if live is None else list(live.held.values())
    return {
        "job": record.id,
        "kernel": record.kernel,
        "kernel_hash": record.kernel_hash,
        "state": record.state.value,
        "points": record.points,
        "done": record.done,
        "failed": record.failed,
        "rerun": record.rerun,
        "share": dict(record.share),
        "submitted_s": record.submitted_s,
        "ended_s": record.ended_s or None,
        "leases": [f"{lease.node_name}/{lease.device}" for lease in leases],
        "wanted": 0 if live is None else live.wanted,
        "waiting_for": "" if live is None or live.held else live.reason,
        "code": record.code,
        "error": record.error,
        "hint": record.hint,
        "energy": describe(record, over=live is None),
        "result_bytes": record.result_bytes,
        "retained": record.complete,
    }
