"""Scores of many placements at once: the same integers as :func:`score`, column by column.

This is the one module of the room that loads NumPy; nothing that an idle agent runs imports it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qallow_agent.ethics.evidence import MAX_VALUE, Evidence
from qallow_agent.ethics.gate import DEFER_DEPTH, REFUSE_DEPTH, Admission, Running
from qallow_agent.ethics.policy import Policy, overridden_until
from qallow_agent.ethics.records import Flag
from qallow_agent.ethics.score import FULL, ramp_of
from qallow_agent.ethics.signals import (
    EARLY_MS,
    HALF_MEASURED,
    NEVER_MS,
    POWER,
    PRESSURE,
    SCORED,
    SIGNALS,
    TABLE,
    TEMPERATURE,
    UNMEASURED,
    Signal,
)

Integers = npt.NDArray[np.int64]
Small = npt.NDArray[np.int16]
Codes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

ABSENT, UNKNOWN, ESTIMATED, MEASURED = range(4)
_GRADES = {"unknown": UNKNOWN, "estimated": ESTIMATED, "measured": MEASURED}
RECORD = np.dtype([
    ("job", "S8"), ("device", "S4"), ("ms", ">u4"), ("scores", ">u2", 3), ("verdict", "u1"),
    ("culprits", "u1", 3), ("evidence", "S12"), ("flags", ">u2"),
])  # fmt: skip
"""A decision record (:mod:`qallow_agent.ethics.records`) as NumPy lays it out: 40 bytes."""
_ROWS = 8192
"""Decisions a pass: their columns fit the second-level cache of small machines."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Evidence of n placements for k signals.

    Any memory order will do; where columns are contiguous (``order="F"``) scoring is twice as fast.

    Args:
        signals: The k columns, each a signal of the table, in its unit.
        values: int64 (n, k), millionths; any number where there is none.
        grades: uint8 (n, k), ABSENT, UNKNOWN, ESTIMATED or MEASURED.
        times_ms: int64 (n, k), when each was measured.
        now_ms: int64 (n,), when each placement is judged.
    """

    signals: tuple[str, ...]
    values: Integers
    grades: Codes
    times_ms: Integers
    now_ms: Integers


@dataclass(frozen=True, slots=True)
class Scores:
    """What n placements came to.

    Args:
        s: int16 (n,), thousandths.
        c: int16 (n,), thousandths.
        h: int16 (n,), thousandths.
        culprits: uint8 (n, 3), code of the culprit of each component; 0 for none.
        stopped: bool (n,), whether any signal stops work.
        solo: bool (n,), whether the node never had peers.
    """

    s: Small
    c: Small
    h: Small
    culprits: Codes
    stopped: Flags
    solo: Flags

    @property
    def e(self) -> Small:
        """int16 (n,), the sums."""
        return self.s + self.c + self.h

    def rows(self, which: slice) -> "Scores":
        """Return some rows, as views of the same memory."""
        return Scores(
            self.s[which],
            self.c[which],
            self.h[which],
            self.culprits[which],
            self.stopped[which],
            self.solo[which],
        )


def gather(evidence: Sequence[Evidence], now_ms: Sequence[int]) -> Batch:
    """Return evidence as columns, one for every signal of the table that anything is given for."""
    names = tuple(each.id for each in TABLE if each.role != "ceiling")
    columns = {name: column for column, name in enumerate(names)}
    shape = (len(evidence), len(names))
    values, times = np.zeros(shape, np.int64, "F"), np.zeros(shape, np.int64, "F")
    grades = np.full(shape, ABSENT, np.uint8, "F")
    for row, each in enumerate(evidence):
        for item in each.items:
            column = columns.get(item.signal)
            if column is None or grades[row, column] != ABSENT:
                continue
            known = item.value is not None and item.unit == SIGNALS[item.signal].unit
            grades[row, column] = _GRADES[item.provenance] if known else UNKNOWN
            values[row, column] = max(-MAX_VALUE, min(MAX_VALUE, item.value or 0))
            times[row, column] = max(-MAX_VALUE, min(MAX_VALUE, item.time_ms))
    return Batch(names, values, grades, times, np.asarray(now_ms, np.int64))


def score_batch(batch: Batch, policy: Policy) -> Scores:
    """Return the scores of many placements, equal to those of :func:`score` one by one."""
    count = len(batch.now_ms)
    parts = [np.empty(count, np.int16) for _ in range(3)]
    found = Scores(
        parts[0],
        parts[1],
        parts[2],
        np.empty((count, 3), np.uint8),
        np.empty(count, np.bool_),
        np.empty(count, np.bool_),
    )
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        _pass(_Columns(batch, rows), policy, found.rows(rows))
    return found


def first_verdicts(scores: Scores, threshold: int) -> Codes:
    """Return the verdict byte of records for places that were never closed before.

    Returns:
        uint8 (n,), the admission in the two low bits, running work in the next two.
    """
    e = scores.e
    verdicts = np.full(len(e), Admission.REFUSE | Running.MOVE << 2, np.uint8)
    verdicts[e >= threshold - REFUSE_DEPTH] = Admission.REFUSE | Running.THROTTLE << 2
    verdicts[e >= threshold - DEFER_DEPTH] = Admission.DEFER
    verdicts[e >= threshold] = Admission.ADMIT
    verdicts[scores.stopped] = Admission.REFUSE | Running.STOP << 2
    return verdicts


def pack_batch(
    scores: Scores, verdicts: Codes, hashes: npt.NDArray[np.bytes_], ms: Integers
) -> bytes:
    """Return the records of many decisions, 40 bytes each, for the body of a leaf.

    Args:
        scores: What n placements came to.
        verdicts: uint8 (n,), as from :func:`first_verdicts`.
        hashes: S24 (n,), of each placement the hashes of job and device and the evidence's prefix.
        ms: int64 (n,), milliseconds since the leaf's interval began, below 2^32.
    """
    parts = np.ascontiguousarray(hashes).view(
        [("job", "S8"), ("device", "S4"), ("evidence", "S12")]
    )
    records = np.empty(len(verdicts), RECORD)
    for name in ("job", "device", "evidence"):
        records[name] = parts[name]
    records["ms"] = ms
    for place, each in enumerate((scores.s, scores.c, scores.h)):
        records["scores"][:, place] = each
    records["verdict"] = verdicts
    records["culprits"] = scores.culprits
    records["flags"] = scores.solo * Flag.SOLO.value + scores.stopped * Flag.STOPPED.value
    return records.tobytes()


class _Columns:
    """The columns of some rows, told apart into what is given, known and measured.

    Args:
        batch: All rows.
        rows: Which of them.
    """

    def __init__(self, batch: Batch, rows: slice) -> None:
        self._batch = batch
        self._rows = rows
        self._places = {name: column for column, name in enumerate(batch.signals)}
        self.now_ms = batch.now_ms[rows]
        self._known: dict[str, Flags] = {}

    def given(self, name: str) -> bool:
        """Return whether there is a column for a signal."""
        return name in self._places

    def values(self, name: str) -> Integers:
        """Return the values of a signal within the caps."""
        return np.clip(self._batch.values[self._rows, self._places[name]], -MAX_VALUE, MAX_VALUE)

    def grades(self, name: str) -> Codes:
        """Return the grades of a signal."""
        return self._batch.grades[self._rows, self._places[name]]

    def known(self, name: str) -> Flags:
        """Return where a signal has a value that is fresh enough."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._fresh(name)
        return found

    def any_at_least(self, names: Sequence[str], grade: int) -> Flags:
        """Return where any of some signals is known and of a grade at least."""
        found = np.zeros(len(self.now_ms), np.bool_)
        for name in names:
            if self.given(name):
                found |= self.known(name) & (self.grades(name) >= grade)
        return found

    def positive(self, name: str) -> Flags:
        """Return where a signal is known to be above 0."""
        if not self.given(name):
            return np.zeros(len(self.now_ms), np.bool_)
        return self.known(name) & (self.values(name) > 0)

    def _fresh(self, name: str) -> Flags:
        known = self.grades(name) >= ESTIMATED
        limit_ms = SIGNALS[name].age_ms
        if limit_ms == NEVER_MS:
            return known
        ages = self.now_ms - self._batch.times_ms[self._rows, self._places[name]]
        return known & (ages <= limit_ms) & (ages >= -EARLY_MS)


def _pass(columns: _Columns, policy: Policy, out: Scores) -> None:
    least = {"s": out.s, "c": out.c, "h": out.h}
    culprits = {"s": out.culprits[:, 0], "c": out.culprits[:, 1], "h": out.culprits[:, 2]}
    for each in least.values():
        each.fill(FULL)
    out.culprits.fill(0)
    out.solo[:] = _solo(columns)
    until = overridden_until(policy)
    for signal in SCORED:
        if signal.id in policy.skipped and signal.id not in until:
            continue
        ranks = _ranks(signal, columns, policy, out.solo)
        if ranks is None:
            continue
        if signal.id in until:
            plain = FULL if signal.id in policy.skipped else ranks
            ranks = np.where(columns.now_ms < until[signal.id], FULL, plain).astype(np.int16)
        culprits[signal.component][ranks < least[signal.component]] = signal.code
        np.minimum(least[signal.component], ranks, out=least[signal.component])
    out.stopped[:] = (out.s < 0) | (out.c < 0) | (out.h < 0)
    for each in least.values():
        np.maximum(each, 0, out=each)


def _ranks(signal: Signal, columns: _Columns, policy: Policy, solo: Flags) -> Small | None:
    """Return the thousandths of a signal, 1000 where it does not count and -1 where it stops."""
    name = signal.id
    if signal.role == "ceiling":
        return _ceiling(name, columns, solo)
    ends = ramp_of(signal, policy)
    if ends is None or not columns.given(name):
        return None
    width = ends.good - ends.bad
    # The sign goes into the difference, so that every quotient is of positive numbers.
    above = columns.values(name) - ends.bad if width > 0 else ends.bad - columns.values(name)
    shares = np.clip(above, 0, abs(width)) * FULL // abs(width)
    known = columns.known(name)
    ranks = np.where(known, shares, FULL).astype(np.int16)
    if signal.stop:
        ranks[known & (ranks == 0)] = -1
    if signal.closed:
        ranks[~known & (columns.grades(name) != ABSENT)] = -1
    return ranks


def _ceiling(name: str, columns: _Columns, solo: Flags) -> Small:
    if name == "h0":
        return np.where(solo | columns.positive("h.fresh"), FULL, UNMEASURED).astype(np.int16)
    if name == "c0":
        measured = columns.any_at_least(PRESSURE, MEASURED)
        return np.where(measured, FULL, UNMEASURED).astype(np.int16)
    both = columns.any_at_least(POWER, MEASURED) & columns.any_at_least(TEMPERATURE, MEASURED)
    either = columns.any_at_least((*POWER, *TEMPERATURE), ESTIMATED)
    return np.where(both, FULL, np.where(either, HALF_MEASURED, UNMEASURED)).astype(np.int16)


def _solo(columns: _Columns) -> Flags:
    if not columns.given("h.known"):
        return np.zeros(len(columns.now_ms), np.bool_)
    none: Flags = columns.values("h.known") == 0
    return columns.known("h.known") & none
