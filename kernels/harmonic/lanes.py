"""Small rings, many at a time: run r of a tile lies in lane r of every row, [pocket][lane].

One vector instruction then advances the same pocket of many runs, and the sequential sums over
pockets cost no more than any other addition. Rows are counted within flat arrays with a constant
row length, since LLVM gives up vectorising when it must check many arrays for overlap.
"""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic.layout import NARROW, PADDING, STRIP, copy, flush
from qallow_agent.kernels.jit import compiled, wide_vectors

F4 = np.float32
Array4 = npt.NDArray[np.float32]
ZERO, HALF, ONE = F4(0), F4(0.5), F4(1)
THRESHOLD = F4(1e-3)

LANES = 64
"""Runs in a tile: 32 pockets of them fit the nearest cache twice (old and new)."""

GROUP = 8
"""Pockets updated per pass over the lanes: sums are loaded and stored an eighth as often."""

M, B, K120, K15, K60 = 0, LANES, 2 * LANES, 3 * LANES, 4 * LANES
P_SUM, D_SUM, E_SUM, C_SUM = 5 * LANES, 6 * LANES, 7 * LANES, 8 * LANES
H, AVERAGE, DRIFT, BASE = 9 * LANES, 10 * LANES, 11 * LANES, 12 * LANES
FIRST, SETTLED = 13 * LANES, 14 * LANES
LINES = 15 * LANES
"""Rows of per-run values: old mean, b, scaled couplings, sums, h, averages, b less calm, and the
drifts of the first tick and when settled."""

STRIP_ROOM = STRIP + LANES * PADDING

ROOM = LINES + 3 * STRIP_ROOM + 4 * (NARROW + 2) * LANES
"""Values that a tile works on: the rows above, its records, old and new phases and coherences."""

Update = Callable[[Array4, Array4, Array4, Array4, Array4, int, int], None]


def _updater(group: int) -> Update:
    """Return a function that updates pockets first..last, ``group`` of them per pass."""

    @compiled(
        "void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], int64, int64)"
    )
    def update(
        p: Array4, c: Array4, p_new: Array4, c_new: Array4, line: Array4, first: int, last: int
    ) -> None:
        wide_vectors()
        for at in range(first, last, group):
            p_old = p[(at - 1) * LANES : (at + group + 1) * LANES]
            c_old = c[(at - 1) * LANES : (at + group + 1) * LANES]
            p_out = p_new[at * LANES : (at + group) * LANES]
            c_out = c_new[at * LANES : (at + group) * LANES]
            for lane in range(LANES):
                p_sum, d_sum = line[P_SUM + lane], line[D_SUM + lane]
                p_left, p_here = p_old[lane], p_old[LANES + lane]
                c_left, c_here = c_old[lane], c_old[LANES + lane]
                for step in range(group):
                    p_right = p_old[(step + 2) * LANES + lane]
                    c_right = c_old[(step + 2) * LANES + lane]
                    phase = (p_here + line[K120 + lane] * (HALF * (p_left + p_right) - p_here)) - (
                        line[K15 + lane] * p_here
                    ) * F4(0.01)
                    level = (
                        c_here + line[K60 + lane] * (HALF * (c_left + c_right) - c_here)
                    ) + line[B + lane]
                    level = ZERO if level < ZERO else level
                    level = ONE if level > ONE else level
                    p_out[step * LANES + lane] = phase
                    c_out[step * LANES + lane] = level
                    p_sum += phase
                    d_sum += abs(phase - line[M + lane])
                    p_left, p_here, c_left, c_here = p_here, p_right, c_here, c_right
                line[P_SUM + lane], line[D_SUM + lane] = p_sum, d_sum

    return update


update_group = _updater(GROUP)
update_one = _updater(1)


@compiled("void(float32[::1], int64)")
def close_ring(row: Array4, pockets: int) -> None:
    """Copy the last pocket before the first and the first behind the last."""
    wide_vectors()
    head, tail = row[: 2 * LANES], row[pockets * LANES : (pockets + 2) * LANES]
    for lane in range(LANES):
        head[lane] = tail[lane]
        tail[LANES + lane] = head[LANES + lane]


@compiled("void(float32[::1], float32[::1], int64)")
def sum_energy(p: Array4, line: Array4, pockets: int) -> None:
    """Set the sums of energy from new phases and old means; only records need them."""
    wide_vectors()
    line[E_SUM : E_SUM + LANES] = ZERO
    for at in range(1, pockets + 1):
        row = p[at * LANES : (at + 1) * LANES]
        for lane in range(LANES):
            x = row[lane] - line[M + lane]
            line[E_SUM + lane] += (HALF * x) * x


@compiled("void(float32[::1], float32[::1], int64)")
def average_levels(c: Array4, line: Array4, pockets: int) -> None:
    """Set the average coherences; only records and the ticks of convergence need them."""
    wide_vectors()
    line[C_SUM : C_SUM + LANES] = ZERO
    for at in range(1, pockets + 1):
        row = c[at * LANES : (at + 1) * LANES]
        for lane in range(LANES):
            line[C_SUM + lane] += row[lane]
    count = F4(pockets)
    for lane in range(LANES):
        line[AVERAGE + lane] = line[C_SUM + lane] / count


@compiled("boolean(float32[::1], int64, int64[::1])")
def close_tick(line: Array4, pockets: int, converged: npt.NDArray[np.int64]) -> bool:
    """Turn the sums into the means, update h and b; return whether a run may converge now.

    Args:
        line: The rows of per-run values; its sums are reset.
        pockets: Pockets in each ring.
        converged: Tick of convergence or 0, one a lane.
    """
    wide_vectors()
    count, calming = F4(pockets), 0
    for lane in range(LANES):
        drift, h = line[D_SUM + lane] / count, line[H + lane]
        h = h * F4(0.85) + drift * F4(0.15)
        calm = ONE - h
        calm = ZERO if calm < ZERO else calm
        calm = ONE if calm > ONE else calm
        line[DRIFT + lane], line[H + lane] = drift, h
        line[B + lane] = line[BASE + lane] + calm * F4(0.0003)
    for lane in range(LANES):
        line[D_SUM + lane] = ZERO
        pending = converged[lane] == 0
        line[SETTLED + lane] = line[DRIFT + lane] if pending else line[SETTLED + lane]
        calming += 1 if pending & (line[DRIFT + lane] < THRESHOLD) else 0
    return calming > 0


@compiled("void(float32[::1], int64)")
def open_tick(line: Array4, pockets: int) -> None:
    """Make the sum of phases the mean that the next tick departs from."""
    wide_vectors()
    count = F4(pockets)
    for lane in range(LANES):
        line[M + lane] = line[P_SUM + lane] / count
        line[P_SUM + lane] = ZERO


@compiled("void(float32[::1], float32[::1], float32[::1], int64, int64[::1], int64, int64)")
def judge(
    c: Array4,
    c_new: Array4,
    line: Array4,
    pockets: int,
    converged: npt.NDArray[np.int64],
    tick: int,
    known: int,
) -> None:
    """Note which runs have converged at a tick; averages are ``known`` as of some tick before."""
    if known < tick - 1:
        average_levels(c, line, pockets)
    before = line[AVERAGE : AVERAGE + LANES].copy()
    average_levels(c_new, line, pockets)
    for lane in range(LANES):
        still = abs(line[AVERAGE + lane] - before[lane]) < THRESHOLD
        if still and line[DRIFT + lane] < THRESHOLD and converged[lane] == 0:
            converged[lane] = tick


@compiled("void(float32[::1], float32[:, ::1], int64, int64)")
def keep(line: Array4, strips: Array4, within: int, apart: int) -> None:
    """Put the record of each run into its stretch of the strips."""
    for lane in range(LANES):
        at = lane * apart + within
        strips[0, at] = line[AVERAGE + lane]
        strips[1, at] = line[DRIFT + lane]
        strips[2, at] = line[E_SUM + lane]


@compiled("void(float32[::1], float32[::1], float32[::1], float32[::1], int64)")
def start(p: Array4, c: Array4, line: Array4, coupling: Array4, pockets: int) -> None:
    """Set a tile to its start: phases and coherences, means, h and the scaled couplings."""
    count = F4(pockets)
    p_sum, h_sum = ZERO, ZERO
    for i in range(pockets):
        phase = (F4(i) / count) * F4(0.4)
        p[(i + 1) * LANES : (i + 2) * LANES] = phase
        c[(i + 1) * LANES : (i + 2) * LANES] = F4(0.78) + F4(0.02) * F4(i % 3)
        p_sum += phase
    mean = p_sum / count
    for i in range(pockets):
        h_sum += abs((F4(i) / count) * F4(0.4) - mean)
    h = h_sum / count
    calm = ONE - h
    line[P_SUM:BASE] = ZERO
    for lane in range(LANES):
        k = coupling[min(lane, coupling.size - 1)]
        line[M + lane], line[H + lane] = mean, h
        line[K120 + lane], line[K15 + lane] = k * F4(120), k * F4(15)
        line[K60 + lane], line[BASE + lane] = k * F4(60), F4(0.0004) + k * F4(0.25)
        line[B + lane] = line[BASE + lane] + calm * F4(0.0003)


@compiled(
    "void(UniTuple(int64, 3), UniTuple(int64, 2), float32[::1], float32[:, ::1],"
    " float64[:, ::1], float32[:, ::1], int64[::1], float32[::1])"
)
def simulate_tile(
    plan: tuple[int, int, int],
    span: tuple[int, int],
    coupling: Array4,
    singles: Array4,
    doubles: npt.NDArray[np.float64],
    drifts: Array4,
    converged: npt.NDArray[np.int64],
    room: Array4,
) -> None:
    """Run at most LANES neighbouring points side by side; see :func:`simulate`."""
    pockets, ticks, every = plan
    begin, end = span
    count, kept, size = end - begin, singles.shape[1] // coupling.size, (pockets + 2) * LANES
    line, strips = room[:LINES], room[LINES : LINES + 3 * STRIP_ROOM].reshape(3, STRIP_ROOM)
    pools = room[LINES + 3 * STRIP_ROOM :]
    p, c = pools[:size], pools[size : 2 * size]
    p_new, c_new = pools[2 * size : 3 * size], pools[3 * size : 4 * size]
    settled = np.zeros(LANES, np.int64)
    fits = max(1, min(kept, STRIP // LANES))
    apart = fits if fits == kept else fits + PADDING
    record, known, grouped = 0, 0, pockets - pockets % GROUP + 1
    start(p, c, line, coupling[begin:end], pockets)
    for tick in range(1, ticks + 1):
        close_ring(p, pockets)
        close_ring(c, pockets)
        update_group(p, c, p_new, c_new, line, 1, grouped)
        update_one(p, c, p_new, c_new, line, grouped, pockets + 1)
        if close_tick(line, pockets, settled):
            judge(c, c_new, line, pockets, settled, tick, known)
            known = tick
        if tick == 1:
            copy(line[DRIFT:], line[FIRST : FIRST + LANES])
        if tick % every == 0 or tick == ticks:
            sum_energy(p_new, line, pockets)
            if known != tick:
                average_levels(c_new, line, pockets)
                known = tick
            within = record % fits
            keep(line, strips, within, apart)
            record += 1
            if within + 1 == fits or record == kept:
                block = (count, within + 1, apart, kept)
                first = begin * kept + record - within - 1
                flush(strips, block, first, F4(pockets), singles, doubles)
        open_tick(line, pockets)
        p, c, p_new, c_new = p_new, c_new, p, c
    copy(line[FIRST:], drifts[0, begin:end])
    copy(line[SETTLED:], drifts[1, begin:end])
    for lane in range(count):
        converged[begin + lane] = settled[lane]


@compiled(
    "void(UniTuple(int64, 3), UniTuple(int64, 2), float32[::1], float32[:, ::1],"
    " float64[:, ::1], float32[:, ::1], int64[::1], float32[::1])"
)
def simulate(
    plan: tuple[int, int, int],
    span: tuple[int, int],
    coupling: Array4,
    singles: Array4,
    doubles: npt.NDArray[np.float64],
    drifts: Array4,
    converged: npt.NDArray[np.int64],
    room: Array4,
) -> None:
    """Run neighbouring points, a tile of them at a time, and write their outputs.

    Args:
        plan: Pockets in each ring (2 to 32), ticks to simulate, ticks between records.
        span: First point, and the one after the last.
        coupling: One value a point.
        singles: Written: average, drift and energy, (3, points * records).
        doubles: Written: S, C, H and E, (4, points * records).
        drifts: Written: drift of the first tick and when settled, (2, points).
        converged: Written: tick of convergence or 0, one a point.
        room: Working memory, ROOM values.
    """
    for begin in range(span[0], span[1], LANES):
        tile = (begin, min(begin + LANES, span[1]))
        simulate_tile(plan, tile, coupling, singles, doubles, drifts, converged, room)
