"""The vault: states of long runs, kept durable by the desk so that a job can go on or be replayed.

Bounded by bytes in all and by number a job. Within a job old states are thinned out first; between
jobs the oldest job's go first.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from qallow_agent.base.ids import JobId
from qallow_agent.base.machine import Effect, Persist
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.messages import KeepEpoch
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.thinning import surplus

PART_BYTES = 4 << 20
"""What one message may carry."""
_MOST_PARTS = 4_096
_MARK = "/epoch-"


@dataclass(slots=True)
class _Shelf:
    """The states of one job: epoch -> the parts of its blob, oldest first."""

    whole: dict[int, list[bytes]] = field(default_factory=dict)
    coming: tuple[int, list[bytes]] | None = None


def epoch_name(job: JobId, epoch: int, parts: list[bytes], part: int) -> str:
    """Return the name under which a part of a state is kept: it says what must be found there."""
    digest = hashlib.sha256(parts[part]).hexdigest()
    return f"jobs/{job}{_MARK}{epoch:015d}-{part:04d}-{len(parts):04d}-{digest[:32]}"


class Vault:
    """Keeps the states that submitters bring.

    Args:
        settings: The bounds.
    """

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self._shelves: dict[JobId, _Shelf] = {}
        self._bytes = 0

    def load(self, kept: Mapping[str, bytes], known: Collection[JobId]) -> list[Effect]:
        """Take in what was persisted; return what to clean up, and which states are damaged.

        Args:
            kept: What was persisted under ``jobs/``.
            known: The jobs that are remembered; the states of others go.
        """
        effects: list[Effect] = []
        parts: dict[tuple[JobId, int], list[str]] = {}
        for name in sorted(kept):
            before, mark, after = name.partition(_MARK)
            number, _, _ = after.partition("-")
            if mark and number.isdigit():
                parts.setdefault((JobId(before.rpartition("/")[2]), int(number)), []).append(name)
        for (job, epoch), names in parts.items():
            whole = [kept[name] for name in names]
            if job not in known:
                effects += [Persist(name, None) for name in names]
                continue
            if names == [epoch_name(job, epoch, whole, part) for part in range(len(whole))]:
                self._shelves.setdefault(job, _Shelf()).whole[epoch] = whole
                self._bytes += sum(map(len, whole))
                continue
            effects += [Persist(name, None) for name in names]
            effects.append(
                Notice("job.checkpoint-corrupt", "a checkpoint is damaged; an older one serves",
                       "warning", {"job": job, "epoch": epoch})
            )  # fmt: skip
        return effects

    def put(self, message: KeepEpoch) -> tuple[list[Effect], str]:
        """Keep the next part of a state; return also why not, empty when it was kept."""
        shelf = self._shelves.setdefault(message.job, _Shelf())
        if message.part == 0:
            shelf.coming = (message.epoch, [])
        if shelf.coming is None or (message.epoch, message.part) != (
            shelf.coming[0], len(shelf.coming[1]),
        ):  # fmt: skip
            return [], f"part {message.part} of epoch {message.epoch} came out of order"
        parts = shelf.coming[1]
        size = sum(map(len, parts)) + len(message.data)
        most = self._settings.checkpoint_bytes
        if len(message.data) > PART_BYTES or len(parts) >= _MOST_PARTS or size > most:
            shelf.coming = None
            return [], f"a checkpoint of {size} bytes or more exceeds checkpoint_bytes, {most}"
        parts.append(message.data)
        if not message.last:
            return [], ""
        shelf.coming = None
        if message.epoch in shelf.whole:
            return [], ""
        room = self._make_room(size, message.job)
        shelf.whole[message.epoch] = parts
        shelf.whole = dict(sorted(shelf.whole.items()))
        self._bytes += size
        effects: list[Effect] = [
            Persist(epoch_name(message.job, message.epoch, parts, part), data)
            for part, data in enumerate(parts)
        ]
        # The new one is on disk before an old one goes.
        return [*effects, *room, *self._thin(message.job, self._settings.checkpoints_kept)], ""

    def epochs(self, job: JobId) -> tuple[tuple[int, int], ...]:
        """Return number and bytes of every epoch that is kept of a job, oldest first."""
        shelf = self._shelves.get(job)
        found = {} if shelf is None else shelf.whole
        return tuple((epoch, sum(map(len, parts))) for epoch, parts in found.items())

    def take(self, job: JobId, epoch: int | None = None) -> tuple[KeepEpoch, ...]:
        """Return the parts of a state; without an epoch of the newest; none when there is none."""
        shelf = self._shelves.get(job)
        if shelf is None or not shelf.whole:
            return ()
        wanted = next(reversed(shelf.whole)) if epoch is None else epoch
        parts = shelf.whole.get(wanted, [])
        return tuple(
            KeepEpoch(job, wanted, part, data, last=part == len(parts) - 1)
            for part, data in enumerate(parts)
        )

    def forget(self, job: JobId) -> list[Effect]:
        """Let go of all states of a job."""
        shelf = self._shelves.pop(job, None)
        return [] if shelf is None else self._drop(job, shelf, list(shelf.whole))

    def check_bytes(self) -> bool:
        """Return whether the byte count is what the parts add up to."""
        shelves = self._shelves.values()
        held = sum(len(p) for shelf in shelves for parts in shelf.whole.values() for p in parts)
        return held == self._bytes

    def _make_room(self, wanted_bytes: int, keep: JobId) -> list[Effect]:
        effects: list[Effect] = []
        most = self._settings.checkpoint_bytes
        for job in [each for each in self._shelves if each != keep]:
            if self._bytes + wanted_bytes <= most:
                return effects
            effects += self.forget(job)
        while self._bytes + wanted_bytes > most and self._shelves[keep].whole:
            effects += self._thin(keep, len(self._shelves[keep].whole) - 1)
        return effects

    def _thin(self, job: JobId, most: int) -> list[Effect]:
        shelf = self._shelves[job]
        epochs = list(shelf.whole)
        if most < 1:
            return self._drop(job, shelf, epochs)
        return self._drop(job, shelf, [epochs[place] for place in surplus(epochs, most)])

    def _drop(self, job: JobId, shelf: _Shelf, epochs: list[int]) -> list[Effect]:
        effects: list[Effect] = []
        for epoch in epochs:
            parts = shelf.whole.pop(epoch)
            self._bytes -= sum(map(len, parts))
            names = [epoch_name(job, epoch, parts, part) for part in range(len(parts))]
            effects += [Persist(name, None) for name in names]
        return effects
