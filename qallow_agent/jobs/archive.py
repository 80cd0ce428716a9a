"""The archive: jobs that are over, their retained results, and the keys they are known by."""

from collections.abc import Mapping

import msgspec

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.base.ids import JobId
from qallow_agent.base.machine import Effect, Instant, Persist
from qallow_agent.jobs.messages import Deposit, JobState
from qallow_agent.jobs.model import FINAL, JobRecord
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.vault import Vault

MOST_PART_BYTES = 4 << 20
"""What one Deposit may carry."""
_MOST_PARTS = 65_536

_DECODER = msgspec.msgpack.Decoder(JobRecord)
_ENCODER = msgspec.msgpack.Encoder()


def save(record: JobRecord) -> Persist:
    """Return the effect that makes a job's record durable."""
    return Persist(f"jobs/{record.id}/record", _ENCODER.encode(record))


def part_name(job: JobId, part: int) -> str:
    """Return the name under which a part of a result is kept."""
    return f"jobs/{job}/part-{part:05d}"


class Archive:
    """Remembers finished jobs within bounds of number, time and bytes; oldest go first.

    Args:
        settings: The bounds.
    """

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self.vault = Vault(settings)
        """The states of long runs go with the records of their jobs."""
        self._records: dict[JobId, JobRecord] = {}
        self._parts: dict[JobId, list[bytes]] = {}
        self._complete: dict[JobId, bool] = {}
        self._bytes = 0

    def load(self, kept: Mapping[str, bytes]) -> tuple[list[JobRecord], list[Effect]]:
        """Take in what was persisted; return the records, oldest first, and what to clean up.

        Raises:
            StorageCorrupt: A record does not decode; the message names it.
        """
        records: list[JobRecord] = []
        used: dict[str, None] = {}
        for name in sorted(kept):
            if not name.endswith("/record"):
                continue
            try:
                record = _DECODER.decode(kept[name])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise StorageCorrupt(
                    f"{name} does not decode: {error}",
                    hint="move the file away; only this job's history is lost",
                ) from error
            records.append(record)
            if record.complete:
                names = [part_name(record.id, part) for part in range(record.parts)]
                parts = [kept[each] for each in names if each in kept]
                if len(parts) == record.parts:
                    self._shelve(record.id, parts)
                    used.update(dict.fromkeys(names))
        stray = [name for name in sorted(kept) if "/part-" in name and name not in used]
        records.sort(key=lambda record: (record.submitted_s, record.id))
        return records, [Persist(name, None) for name in stray]

    def add(
        self, record: JobRecord, now: Instant, *, known: JobRecord | None = None
    ) -> list[Effect]:
        """Remember a job that is over, and forget older ones for it.

        Args:
            record: Its last state.
            now: For the bounds.
            known: What is on disk already; equal records are not written again.
        """
        if record.id in self._parts:
            record = self._counted(record)
        self._records[record.id] = record
        saved: list[Effect] = [] if record == known else [save(record)]
        return [*saved, *self.trim(now)]

    def amend(self, record: JobRecord, *, durable: bool) -> list[Effect]:
        """Replace the record of a job that is over by one that knows more."""
        self._records[record.id] = record
        return [save(record)] if durable else []

    def get(self, job: JobId) -> JobRecord | None:
        """Return the record of a finished job."""
        return self._records.get(job)

    def by_key(self, key: str) -> JobRecord | None:
        """Return the newest finished job with an idempotency key."""
        for record in reversed(self._records.values()):
            if record.options.idempotency_key == key:
                return record
        return None

    def records(self) -> tuple[JobRecord, ...]:
        """Return every finished job, oldest first."""
        return tuple(self._records.values())

    def deposit(self, deposit: Deposit) -> tuple[list[Effect], str]:
        """Keep the next part of a result; return also why not, empty when it was kept."""
        parts = self._parts.setdefault(deposit.job, [])
        if self._complete.get(deposit.job):
            return [], "the result is already complete"
        if deposit.part != len(parts):
            return [], f"part {deposit.part} came when part {len(parts)} was due"
        if len(deposit.data) > MOST_PART_BYTES or len(parts) >= _MOST_PARTS:
            return [], f"a part has at most {MOST_PART_BYTES} bytes"
        effects = self._make_room(len(deposit.data), deposit.job)
        if self._bytes + len(deposit.data) > self._settings.retain_bytes:
            return [*effects, *self._drop_parts(deposit.job)], "the result exceeds retain_bytes"
        parts.append(deposit.data)
        self._bytes += len(deposit.data)
        effects.append(Persist(part_name(deposit.job, deposit.part), deposit.data))
        if deposit.last:
            self._complete[deposit.job] = True
            record = self._records.get(deposit.job)
            if record is not None:
                self._records[record.id] = self._counted(record)
                effects.append(save(self._records[record.id]))
        return effects, ""

    def abandon(self, job: JobId) -> list[Effect]:
        """Drop a result of which nobody will bring the rest."""
        return [] if self._complete.get(job) else self._drop_parts(job)

    def result(self, job: JobId) -> tuple[Deposit, ...] | None:
        """Return the parts of a complete result; None when there is none."""
        if not self._complete.get(job):
            return None
        parts = self._parts[job]
        return tuple(
            Deposit(job, index, data, last=index == len(parts) - 1)
            for index, data in enumerate(parts)
        )

    def trim(self, now: Instant) -> list[Effect]:
        """Forget jobs that are too old or too many."""
        effects: list[Effect] = []
        horizon_s = now.wall_s - self._settings.retain_s
        for job, record in list(self._records.items()):
            too_many = len(self._records) > self._settings.retain_jobs
            if not too_many and record.ended_s >= horizon_s:
                break
            effects += self._drop_parts(job)
            effects += self.vault.forget(job)
            del self._records[job]
            effects.append(Persist(f"jobs/{job}/record", None))
        return effects

    def _counted(self, record: JobRecord) -> JobRecord:
        parts = self._parts[record.id]
        return msgspec.structs.replace(
            record,
            parts=len(parts),
            result_bytes=sum(map(len, parts)),
            complete=self._complete.get(record.id, False),
        )

    def _shelve(self, job: JobId, parts: list[bytes]) -> None:
        self._parts[job] = parts
        self._complete[job] = True
        self._bytes += sum(map(len, parts))

    def _make_room(self, wanted_bytes: int, keep: JobId) -> list[Effect]:
        """Drop the oldest results of finished jobs until so many bytes are free."""
        effects: list[Effect] = []
        for job in [each for each in self._parts if each != keep and each in self._records]:
            if self._bytes + wanted_bytes <= self._settings.retain_bytes:
                break
            effects += self._drop_parts(job)
            self._records[job] = msgspec.structs.replace(
                self._records[job], parts=0, result_bytes=0, complete=False
            )
            effects.append(save(self._records[job]))
        return effects

    def _drop_parts(self, job: JobId) -> list[Effect]:
        parts = self._parts.pop(job, [])
        self._complete.pop(job, None)
        self._bytes -= sum(map(len, parts))
        return [Persist(part_name(job, part), None) for part in range(len(parts))]

    def check_bytes(self) -> bool:
        """Return whether the byte count is what the parts add up to, within its bound."""
        held = sum(len(part) for parts in self._parts.values() for part in parts)
        return held == self._bytes


def revived(record: JobRecord, now_s: float) -> JobRecord:
    """Return the record as a restarted desk must see it: what was running has failed."""
    if record.state in FINAL:
        return record
    return msgspec.structs.replace(
        record,
        state=JobState.FAILED,
        ended_s=now_s,
        code="job-failed",
        error="the agent restarted while the job ran",
        hint="submit it again",
    )
