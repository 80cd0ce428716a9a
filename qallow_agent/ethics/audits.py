"""Audits: what answers of several devices to one task say of each device, and of the mesh.

A device is judged by its last 1,000 audits, the newest of which weigh most; the mesh by the mean
*result entropy* of its last 1,000. All that is stored or compared is whole numbers: millionths.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from qallow_agent.base.agreement import majority
from qallow_agent.base.errors import StorageCorrupt

WHOLE: Final = 1_000_000
"""One, in millionths."""

WINDOW: Final = 1_000
"""Audits that count: of a device for its agreement, of the mesh for its entropy."""

PRIOR: Final = 20
"""Agreements that everybody is credited with, so that one dissent is no catastrophe."""

HALF_LIFE_S: Final = 86_400
DISORDER: Final = 1_000
"""Mesh entropy, in millionths, up to which a mesh counts as coherent: one 2:1 split in 1,000."""

_RUN_S: Final = 3_600
"""Equal outcomes within an hour are kept as one run."""

_MOST_PLACES: Final = 256
_FORMAT: Final = 1


def result_entropy(classes: Sequence[int]) -> int:
    """Return how much the answers of one audit disagree, in millionths: 0 when all are of one mind.

    It is -sum(p log2 p) / log2(m) over the shares p of the classes of m answers: a 2:1 split of
    three gives 579,380 (0.579), answers that all differ 1,000,000.

    Source: Shannon (1948), entropy, normalised by its greatest value.
    """
    answers = len(classes)
    if answers < 2:  # noqa: PLR2004 - a single answer agrees with itself
        return 0
    shares = [classes.count(number) / answers for number in set(classes)]
    bits = math.fsum(-share * math.log2(share) for share in sorted(shares))
    return max(0, round(bits / math.log2(answers) * WHOLE))


class Audit(msgspec.Struct, frozen=True, array_like=True):
    """Answers that were compared: whose, and in which class each is.

    Args:
        places: ``node/device`` of each answer.
        classes: Class of each, numbered from 0.
        times: Equal audits in a row.
    """

    places: tuple[str, ...]
    classes: tuple[int, ...]
    times: int = 1


class Mesh(msgspec.Struct, frozen=True):
    """What the audits say of the mesh.

    Args:
        audits: How many of the last 1,000 there are.
        entropy: Sum of their result entropies, in millionths.
        coherence: The least of 1 - mesh entropy and the shares handed in, in millionths.
        enough: Whether there are 1,000 audits, so that this is more than a first impression.
    """

    audits: int
    entropy: int
    coherence: int
    enough: bool

    @property
    def mesh_entropy(self) -> int:
        """Mean result entropy in millionths, rounded up; 0 without audits."""
        return -(-self.entropy // self.audits) if self.audits else 0

    @property
    def decoherence(self) -> int:
        """What coherence lacks to one, in millionths."""
        return WHOLE - self.coherence

    @property
    def ordered(self) -> bool:
        """Whether the mesh entropy is at or below its threshold, with evidence enough to say so."""
        return self.enough and self.entropy <= DISORDER * self.audits

    def text(self) -> str:
        """Return it in one line for people."""
        entropy = f"mesh entropy {self.mesh_entropy / WHOLE:.6f}"
        if not self.enough:
            return f"{entropy}: not enough evidence ({self.audits:,} of {WINDOW:,} audits)"
        word = "within" if self.ordered else "above"
        return f"{entropy} over {self.audits:,} audits, {word} {DISORDER / WHOLE:g}"


class _Run(msgspec.Struct, array_like=True):
    """Equal outcomes in a row: ``value`` is 1 or 0 of a device, an entropy of the mesh."""

    since_s: int
    value: int
    times: int


class _Kept(msgspec.Struct, array_like=True):
    version: int
    mesh: list[_Run]
    places: dict[str, list[_Run]]
    dissents: dict[str, int]


class AuditBook:
    """Remembers the last audits of every device and of the mesh, in bounded space.

    Args:
        kept: What :meth:`pack` returned before; empty for a fresh book.

    Raises:
        StorageCorrupt: ``kept`` does not decode.
    """

    def __init__(self, kept: bytes = b"") -> None:
        self._mesh: deque[_Run] = deque()
        self._places: dict[str, deque[_Run]] = {}
        self._dissents: dict[str, int] = {}
        self.news = 0
        """Audits taken in since the book was last packed."""
        if kept:
            self._load(kept)

    def add(self, audit: Audit, now_s: int) -> None:
        """Take in one audit, or several equal ones.

        Without a majority nobody knows who was wrong: it counts for the mesh and for no device.

        Args:
            audit: At least two places, each once.
            now_s: Wall seconds.
        """
        places, times = audit.places, min(audit.times, WINDOW)
        if not 2 <= len(places) == len(audit.classes) == len(set(places)) or times < 1:  # noqa: PLR2004
            return
        self.news += audit.times
        _note(self._mesh, result_entropy(audit.classes), times, now_s)
        winner = majority(audit.classes)
        if winner is None:
            return
        for place, number in zip(places, audit.classes, strict=True):
            runs = self._places.pop(place, None)
            self._places[place] = runs = deque() if runs is None else runs
            _note(runs, int(number == winner), times, now_s)
            if number != winner:
                self._dissents[place] = self._dissents.get(place, 0) + times
        while len(self._places) > _MOST_PLACES:
            oldest = next(iter(self._places))
            del self._places[oldest]
            self._dissents.pop(oldest, None)

    def forgive(self, place: str) -> None:
        """Forget what a place answered: it has earned its way back."""
        self._places.pop(place, None)
        self._dissents.pop(place, None)

    def places(self) -> tuple[str, ...]:
        """Return every place that was audited."""
        return tuple(sorted(self._places))

    def audited(self, place: str) -> int:
        """Return in how many of the last audits a place took part."""
        return sum(run.times for run in self._places.get(place, ()))

    def dissents(self, place: str) -> int:
        """Return how often a place was in the minority, as long as it is remembered."""
        return self._dissents.get(place, 0)

    def agreement(self, place: str, now_s: int) -> int:
        """Return (agreements + 20) / (audited + 20) of a place, in millionths.

        Each of its last 1,000 audits weighs half as much for every 24 h of its age; a place that
        was never audited has one.
        """
        agreed = audited = PRIOR * WHOLE
        for run in self._places.get(place, ()):
            weight = run.times * _weight(now_s - run.since_s)
            audited += weight
            agreed += weight * run.value
        return agreed * WHOLE // audited

    def mesh(self, shares: Iterable[int] = ()) -> Mesh:
        """Return what the audits say of the mesh.

        Args:
            shares: Shares of nodes, in millionths, whose clock, policy and view are at least 0.9.
        """
        audits = sum(run.times for run in self._mesh)
        entropy = sum(run.times * run.value for run in self._mesh)
        mean = -(-entropy // audits) if audits else 0
        coherence = min([WHOLE - mean, *shares])
        return Mesh(audits, entropy, max(0, coherence), audits >= WINDOW)

    def pack(self) -> bytes:
        """Return the book as bytes to be kept."""
        self.news = 0
        places = {place: list(runs) for place, runs in self._places.items()}
        return msgspec.msgpack.encode(_Kept(_FORMAT, list(self._mesh), places, self._dissents))

    def _load(self, kept: bytes) -> None:
        try:
            found = msgspec.msgpack.decode(kept, type=_Kept)
        except (msgspec.DecodeError, ValueError) as error:
            raise StorageCorrupt(
                f"the book of audits does not decode: {error}",
                hint="move ethics/audits out of the state directory: audits begin anew",
            ) from error
        if found.version != _FORMAT:
            raise StorageCorrupt(
                f"the book of audits has version {found.version}, this release reads {_FORMAT}",
                hint="run the release that wrote it, or move ethics/audits away",
            )
        self._mesh = deque(found.mesh)
        self._places = {place: deque(runs) for place, runs in found.places.items()}
        self._dissents = dict(found.dissents)


def _weight(age_s: int) -> int:
    """Return the weight of an audit of some age, in millionths."""
    return round(WHOLE * math.exp2(-max(0, age_s) / HALF_LIFE_S))


def _note(runs: deque[_Run], value: int, times: int, now_s: int) -> None:
    """Add equal outcomes, and forget what is beyond the window."""
    newest = runs[-1] if runs else None
    if newest is not None and newest.value == value and 0 <= now_s - newest.since_s < _RUN_S:
        newest.times += times
    else:
        runs.append(_Run(now_s, value, times))
    spare = sum(run.times for run in runs) - WINDOW
    while spare > 0:
        oldest = runs[0]
        gone = min(spare, oldest.times)
        oldest.times -= gone
        spare -= gone
        if not oldest.times:
            runs.popleft()
