"""One large ring, with float64 sums: many ticks in each pass over its pockets.

A tick needs the mean of the phases before it, and in h the drift of the tick before it: sums over
the whole ring, which seem to force one pass a tick. But phases depend on no sum. So a pass is given
the means and the ``b`` of its ticks as *expected*, from how they went so far, and finds the sums
that belong to them. Where every expectation was right to the last bit, so is every result; else the
pass is repeated from the kept old pockets with what was found. The first repetition knows all the
means for certain, since phases were right at once, hence all drifts, and a second one every ``b``.
Expectations decide how fast a run is, never what comes out.
"""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic.strip import (
    C_KIND,
    D_KIND,
    E_KIND,
    KINDS,
    LIFTS,
    MEANS,
    MOST_TICKS,
    P_KIND,
    ROOM,
    SUM_CHUNK,
    WANTED,
    advance_chunks,
    spread_chunks,
    start_chunks,
)
from qallow_agent.kernels.jit import compiled
from qallow_agent.kernels.scratch import scratch, workspace
from qallow_agent.kernels.threads import CREW

F4, F8 = np.float32, np.float64
Share = Callable[[Callable[[int, int], object], int], None]
Array4 = npt.NDArray[np.float32]
Array8 = npt.NDArray[np.float64]
Course = tuple[int, int, int]
"""Ticks of a run, ticks between records, and the tick to stop after."""

ZERO, ONE = F4(0), F4(1)
THRESHOLD = F4(1e-3)

WORTH_SHARING = 1 << 16
"""From so many pockets on threads share a ring; smaller ones are shared out whole."""

POCKETS_A_TICK = 64
"""A ring needs so many pockets for each tick of a pass: the halos of smaller ones would cost more
than they save."""

NEAR = F4(4e-3)
"""Below this drift a run may converge within the next pass, so that all averages are wanted."""

P_SEEN, D_SEEN, ROWS = 3, 4, 5
"""Further rows of the table of ticks: sums of phases and of distances of the last ticks."""

HISTORY, REACH = 64, 16
"""Ticks whose sums are remembered, and how far apart lie the three that expectations use."""

ENOUGH = 3
"""Remembered ticks before anything can be expected."""

TICK, LENGTH, LIMIT, SEEN, RECORD, CONVERGED, WATCH = range(7)
"""What the counts of a run hold: finished ticks, ticks of this pass and at most, remembered ticks,
records, tick of convergence, whether all averages are wanted."""

MEAN, H, AVERAGE, DRIFT, FIRST, SETTLED = range(6)
"""What the levels of a run hold, after the finished ticks."""


@compiled("float32(float32, float32)")
def lift(h: np.float32, coupling: np.float32) -> np.float32:
    """Return b."""
    calm = ONE - h
    calm = ZERO if calm < ZERO else calm
    calm = ONE if calm > ONE else calm
    return F4((F4(0.0004) + coupling * F4(0.25)) + calm * F4(0.0003))


@compiled("float64(float64[::1], int64, int64)")
def expect(seen: Array8, size: int, ahead: int) -> float:
    """Return a positive sum some ticks ahead: its logarithm goes on along a parabola."""
    last, apart = seen[size - 1], min(REACH, (size - 1) // 2)
    middle, first = seen[size - 1 - apart], seen[size - 1 - 2 * apart]
    if not (last > 0.0 and middle > 0.0 and first > 0.0):
        return float(last)
    steps, change = ahead / apart, math.log(last / middle)
    bend = change - math.log(middle / first)
    return float(last * math.exp(steps * change + 0.5 * steps * (steps + 1.0) * bend))


@compiled("float64(float64[:, :, ::1], int64, int64)")
def total(sums: Array8, tick: int, kind: int) -> float:
    """Return the sum of all chunks, ascending."""
    whole = 0.0
    for chunk in range(len(sums)):
        whole += sums[chunk, tick, kind]
    return whole


@compiled("void(int64[::1], float32[::1], float64[:, ::1], UniTuple(int64, 3), int64, float32)")
def plan(
    counts: npt.NDArray[np.int64],
    levels: Array4,
    table: Array8,
    course: Course,
    pockets: int,
    coupling: np.float32,
) -> None:
    """Choose the ticks of the next pass and what to expect of them.

    Args:
        counts: Where the run is; its LENGTH is set.
        levels: The run's last mean, h and drift.
        table: Set: rows MEANS, LIFTS and WANTED of every tick of the pass.
        course: Ticks of the run, between records, and to finish for now.
        pockets: Pockets in the ring.
        coupling: How strongly neighbours pull.
    """
    ticks, every, until = course
    seen = counts[SEEN]
    most = min(MOST_TICKS if seen >= ENOUGH else 1, max(1, pockets // POCKETS_A_TICK))
    length = min(counts[LIMIT], most, until - counts[TICK])
    counts[LENGTH] = length
    counts[WATCH] = counts[CONVERGED] == 0 and levels[DRIFT] < NEAR
    h, count = levels[H], F8(pockets)
    for at in range(length):
        tick = counts[TICK] + at + 1
        table[MEANS, at] = levels[MEAN] if at == 0 else F4(expect(table[P_SEEN], seen, at) / count)
        table[LIFTS, at] = lift(h, coupling)
        recorded = tick % every == 0 or tick == ticks
        averaged = counts[WATCH] == 1 or at == length - 1
        table[WANTED, at] = KINDS if recorded else KINDS - 1 if averaged else KINDS - 2
        if at + 1 < length:
            h = h * F4(0.85) + F4(expect(table[D_SEEN], seen, at + 1) / count) * F4(0.15)


@compiled("boolean(float64[:, ::1], float64[:, :, ::1], int64[::1], float32[::1], int64, float32)")
def confirm(
    table: Array8,
    sums: Array8,
    counts: npt.NDArray[np.int64],
    levels: Array4,
    pockets: int,
    coupling: np.float32,
) -> bool:
    """Compare what a pass was given with what it found; correct it for a repetition if need be."""
    right, h, count = True, levels[H], F8(pockets)
    for at in range(counts[LENGTH]):
        mean, b = table[MEANS, at], lift(h, coupling)
        if at > 0:
            mean = F8(F4(total(sums, at - 1, P_KIND) / count))
        given_mean, given_b = table[MEANS, at], table[LIFTS, at]
        right &= mean == given_mean or (math.isnan(mean) and math.isnan(given_mean))
        right &= b == given_b or (math.isnan(b) and math.isnan(given_b))
        table[MEANS, at], table[LIFTS, at] = mean, b
        drift = F4(total(sums, at, D_KIND) / count)
        h = h * F4(0.85) + drift * F4(0.15)
        if counts[CONVERGED] == 0 and counts[WATCH] == 0 and drift < THRESHOLD:
            right, counts[WATCH] = False, 1
    if counts[WATCH] == 1:
        for at in range(counts[LENGTH]):
            table[WANTED, at] = max(table[WANTED, at], KINDS - 1)
    if not right:
        counts[LIMIT] = max(1, counts[LENGTH] // 2)  # as long again, once it is settled
    return right


@compiled("void(float64[:, ::1], int64[::1], float64, float64)")
def remember(table: Array8, counts: npt.NDArray[np.int64], p_sum: float, d_sum: float) -> None:
    """Keep the sums of a tick for later expectations; the oldest make room."""
    if counts[SEEN] == HISTORY:
        for at in range(HISTORY // 2):
            table[P_SEEN, at] = table[P_SEEN, HISTORY // 2 + at]
            table[D_SEEN, at] = table[D_SEEN, HISTORY // 2 + at]
        counts[SEEN] = HISTORY // 2
    table[P_SEEN, counts[SEEN]], table[D_SEEN, counts[SEEN]] = p_sum, d_sum
    counts[SEEN] += 1


@compiled(
    "void(float64[:, ::1], float64[:, :, ::1], int64[::1], float32[::1], int64, float32[:, ::1])"
)
def settle(
    table: Array8,
    sums: Array8,
    counts: npt.NDArray[np.int64],
    levels: Array4,
    pockets: int,
    kept: Array4,
) -> None:
    """Go through the ticks of a confirmed pass: means, h, convergence and records."""
    count, length = F8(pockets), counts[LENGTH]
    for at in range(length):
        tick, p_sum, d_sum = counts[TICK] + 1, total(sums, at, P_KIND), total(sums, at, D_KIND)
        drift = F4(d_sum / count)
        levels[MEAN], levels[DRIFT] = F4(p_sum / count), drift
        levels[H] = levels[H] * F4(0.85) + drift * F4(0.15)
        if tick == 1:
            levels[FIRST] = drift
        pending = counts[CONVERGED] == 0
        if pending:
            levels[SETTLED] = drift
        if table[WANTED, at] > C_KIND:
            average = F4(total(sums, at, C_KIND) / count)
            if pending and drift < THRESHOLD and abs(average - levels[AVERAGE]) < THRESHOLD:
                counts[CONVERGED] = tick
            levels[AVERAGE] = average
        if table[WANTED, at] > E_KIND:
            record = counts[RECORD]
            kept[0, record], kept[1, record] = levels[AVERAGE], drift
            kept[2, record] = F4(total(sums, at, E_KIND))
            counts[RECORD] += 1
        remember(table, counts, p_sum, d_sum)
        counts[TICK] = tick
    counts[LIMIT] = min(2 * counts[LIMIT], MOST_TICKS)


@compiled(
    "int64(float32[:, :, ::1], float64[:, ::1], float64[::1], int64[::1], float32[::1],"
    " UniTuple(int64, 3), float32, float32[:, ::1])"
)
def go_alone(
    rings: npt.NDArray[np.float32],
    table: Array8,
    room: Array8,
    counts: npt.NDArray[np.int64],
    levels: Array4,
    course: Course,
    coupling: np.float32,
    kept: Array4,
) -> int:
    """Go through the ticks in one thread; return in which of both rings the last one is."""
    pockets = rings.shape[2]
    chunks, old = (pockets - 1) // SUM_CHUNK + 1, 0
    while counts[TICK] < course[2]:
        plan(counts, levels, table, course, pockets, coupling)
        length = counts[LENGTH]
        sums = room[ROOM : ROOM + chunks * length * KINDS].reshape(chunks, length, KINDS)
        advance_chunks(rings[old], rings[1 - old], (0, chunks), coupling, table, sums, room)
        while not confirm(table, sums, counts, levels, pockets, coupling):
            advance_chunks(rings[old], rings[1 - old], (0, chunks), coupling, table, sums, room)
        settle(table, sums, counts, levels, pockets, kept)
        old = 1 - old
    return old


@dataclass(slots=True)
class Ring:
    """One ring on its way: all that its further ticks depend on.

    Args:
        rings: Phases and coherences, and room for the next ones, (2, 2, pockets).
        levels: Averages after the finished ticks, (6,); see MEAN and the others.
        kept: Average, drift and energy of each record, (3, records).
        converged: The tick of convergence, 0 for never.
        old: In which of both rings the phases are, once it went on.
        shared: Whether the threads of this process work on it together.
    """

    rings: Array4
    levels: Array4
    kept: Array4
    converged: int = 0
    old: int = 0
    shared: bool = False

    @property
    def together(self) -> bool:
        """Whether there are threads to share the work."""
        return self.shared and CREW.threads > 1


def begin(ring: Ring) -> None:
    """Set a ring to its start."""
    rings, levels = ring.rings, ring.levels
    pockets = rings.shape[2]
    chunks = (pockets - 1) // SUM_CHUNK + 1
    sums = _room(chunks, ring)[ROOM : ROOM + chunks * KINDS].reshape(chunks, 1, KINDS)
    each: Share = CREW.run if ring.together else _at_once
    each(lambda begin, end: start_chunks(rings[0], (begin, end), sums), chunks)
    mean = F4(total(sums, 0, P_KIND) / pockets)
    each(lambda begin, end: spread_chunks(rings[0], rings[1], (begin, end), mean, sums), chunks)
    levels[MEAN], levels[AVERAGE] = mean, total(sums, 0, C_KIND) / pockets
    levels[H] = levels[DRIFT] = total(sums, 0, D_KIND) / pockets


def go(ring: Ring, course: Course, since: int, coupling: np.float32) -> None:
    """Take a ring from after one tick to after another.

    Args:
        ring: It, its phases in the first of both rings; changed in place.
        course: Ticks of the whole run, between records, and to finish for now.
        since: Finished ticks.
        coupling: How strongly neighbours pull.
    """
    chunks = (ring.rings.shape[2] - 1) // SUM_CHUNK + 1
    table, counts = np.zeros((ROWS, HISTORY)), np.zeros(7, np.int64)
    counts[TICK], counts[RECORD], counts[CONVERGED] = since, since // course[1], ring.converged
    counts[LIMIT] = 1
    room = _room(chunks, ring)
    run = _go_together if ring.together else go_alone
    ring.old = run(ring.rings, table, room, counts, ring.levels, course, coupling, ring.kept)
    ring.converged = int(counts[CONVERGED])


def simulate(
    course: tuple[int, int], coupling: np.float32, rings: Array4, kept: Array4, *, shared: bool
) -> tuple[int, np.float32, np.float32]:
    """Run one ring from start to end.

    Args:
        course: Ticks to simulate, and between records.
        coupling: How strongly neighbours pull.
        rings: Room for old and new phases and coherences, (2, 2, pockets).
        kept: Written: average, drift and energy of each record, (3, records).
        shared: Whether the threads of this process work on it together.

    Returns:
        The tick of convergence, 0 for never; drift of the first tick and when settled.
    """
    ring = Ring(rings, np.zeros(6, F4), kept, shared=shared)
    begin(ring)
    go(ring, (*course, course[0]), 0, coupling)
    return ring.converged, ring.levels[FIRST], ring.levels[SETTLED]


def _room(chunks: int, ring: Ring) -> Array8:
    size = ROOM + chunks * MOST_TICKS * KINDS
    return scratch(size, F8) if ring.together else workspace(2 * size).view(F8)


def _at_once(part: Callable[[int, int], object], total: int) -> None:
    part(0, total)


def _go_together(
    rings: npt.NDArray[np.float32],
    table: Array8,
    room: Array8,
    counts: npt.NDArray[np.int64],
    levels: Array4,
    course: Course,
    coupling: np.float32,
    kept: Array4,
) -> int:
    """Go through the ticks, every pass shared by the threads of this process."""
    pockets = rings.shape[2]
    chunks, old, new = (pockets - 1) // SUM_CHUNK + 1, rings[0], rings[1]
    turns = 0

    def part(begin: int, end: int) -> None:
        own = workspace(2 * ROOM).view(F8)
        advance_chunks(old, new, (begin, end), coupling, table, sums, own)

    while counts[TICK] < course[2]:
        plan(counts, levels, table, course, pockets, coupling)
        length = counts[LENGTH]
        sums = room[ROOM : ROOM + chunks * length * KINDS].reshape(chunks, length, KINDS)
        CREW.run(part, chunks)
        while not confirm(table, sums, counts, levels, pockets, coupling):
            CREW.run(part, chunks)
        settle(table, sums, counts, levels, pockets, kept)
        old, new = new, old
        turns += 1
    return turns % 2
