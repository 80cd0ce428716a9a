"""Small rings, many at a time: run r of a tile lies in lane r of every row, [pocket][lane].

One vector instruction then advances the same pocket of many runs, and the sequential sums over
pockets cost no more than any other addition. Rows are counted within flat arrays with a constant
row length, since LLVM gives up vectorising when it must check many arrays for overlap.
"""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.jit import compiled

F4 = np.float32
Array4 = npt.NDArray[np.float32]
ZERO, HALF, ONE = F4(0), F4(0.5), F4(1)
THRESHOLD = F4(1e-3)

LANES = 64
"""Runs in a tile: 32 pockets of them fit the nearest cache twice (old and new)."""

GROUP = 4
"""Pockets updated per pass over the lanes: sums are loaded and stored a quarter as often."""

M, B, K120, K15, K60 = 0, LANES, 2 * LANES, 3 * LANES, 4 * LANES
P_SUM, D_SUM, E_SUM, C_SUM = 5 * LANES, 6 * LANES, 7 * LANES, 8 * LANES
H, AVERAGE, DRIFT, BASE = 9 * LANES, 10 * LANES, 11 * LANES, 12 * LANES
LINES = 13 * LANES
"""Rows of per-run values: old mean, b, scaled couplings, running sums, h, averages, b less calm."""

FIRST, SETTLED = 0, 1
"""Rows of the drifts kept per run."""

Update = Callable[[Array4, Array4, Array4, Array4, Array4, int, int], None]


def _updater(group: int) -> Update:
    """Return a function that updates pockets first..last, ``group`` of them per pass."""

    @compiled(
        "void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], int64, int64)"
    )
    def update(
        p: Array4, c: Array4, p_new: Array4, c_new: Array4, line: Array4, first: int, last: int
    ) -> None:
        for at in range(first, last, group):
            p_old = p[(at - 1) * LANES : (at + group + 1) * LANES]
            c_old = c[(at - 1) * LANES : (at + group + 1) * LANES]
            p_out = p_new[at * LANES : (at + group) * LANES]
            c_out = c_new[at * LANES : (at + group) * LANES]
            for lane in range(LANES):
                p_sum, d_sum = line[P_SUM + lane], line[D_SUM + lane]
                e_sum, c_sum = line[E_SUM + lane], line[C_SUM + lane]
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
                    x = phase - line[M + lane]
                    p_sum += phase
                    d_sum += abs(x)
                    e_sum += (HALF * x) * x
                    c_sum += level
                    p_left, p_here, c_left, c_here = p_here, p_right, c_here, c_right
                line[P_SUM + lane], line[D_SUM + lane] = p_sum, d_sum
                line[E_SUM + lane], line[C_SUM + lane] = e_sum, c_sum

    return update


update_group = _updater(GROUP)
update_one = _updater(1)


@compiled("void(float32[::1], int64)")
def close_ring(row: Array4, pockets: int) -> None:
    """Copy the last pocket before the first and the first behind the last."""
    head, tail = row[: 2 * LANES], row[pockets * LANES : (pockets + 2) * LANES]
    for lane in range(LANES):
        head[lane] = tail[lane]
        tail[LANES + lane] = head[LANES + lane]


@compiled("void(float32[::1])")
def open_tick(line: Array4) -> None:
    """Set b from h, and the sums to zero."""
    for lane in range(LANES):
        calm = ONE - line[H + lane]
        calm = ZERO if calm < ZERO else calm
        calm = ONE if calm > ONE else calm
        line[B + lane] = line[BASE + lane] + calm * F4(0.0003)
    line[P_SUM:H] = ZERO


@compiled("void(float32[::1], int64, int64, int64[::1], float32[::1])")
def close_tick(
    line: Array4,
    pockets: int,
    tick: int,
    converged: npt.NDArray[np.int64],
    settled: Array4,
) -> None:
    """Turn the sums into the means, update h, and note which runs have converged."""
    count = F4(pockets)
    for lane in range(LANES):
        line[M + lane] = line[P_SUM + lane] / count
        drift, average = line[D_SUM + lane] / count, line[C_SUM + lane] / count
        line[H + lane] = line[H + lane] * F4(0.85) + drift * F4(0.15)
        before = converged[lane]
        still = (abs(average - line[AVERAGE + lane]) < THRESHOLD) & (drift < THRESHOLD)
        settled[lane] = settled[lane] if before > 0 else drift
        converged[lane] = tick if (before == 0) & still else before
        line[AVERAGE + lane], line[DRIFT + lane] = average, drift


@compiled("void(float32[::1], float32[::1], float32[::1], float32[::1], int64)")
def start(p: Array4, c: Array4, line: Array4, coupling: Array4, pockets: int) -> None:
    """Set a tile to its start: phases and coherences, means, h and the scaled couplings."""
    count = F4(pockets)
    p_sum, c_sum, h_sum = ZERO, ZERO, ZERO
    for i in range(pockets):
        phase = (F4(i) / count) * F4(0.4)
        level = F4(0.78) + F4(0.02) * F4(i % 3)
        p[(i + 1) * LANES : (i + 2) * LANES] = phase
        c[(i + 1) * LANES : (i + 2) * LANES] = level
        p_sum += phase
        c_sum += level
    mean = p_sum / count
    for i in range(pockets):
        h_sum += abs((F4(i) / count) * F4(0.4) - mean)
    for lane in range(LANES):
        k = coupling[lane]
        line[M + lane], line[H + lane], line[AVERAGE + lane] = mean, h_sum / count, c_sum / count
        line[K120 + lane], line[K15 + lane] = k * F4(120), k * F4(15)
        line[K60 + lane], line[BASE + lane] = k * F4(60), F4(0.0004) + k * F4(0.25)


@compiled(
    "void(int64, int64, int64, float32[::1], float32[:, :, ::1], float32[:, ::1], int64[::1])"
)
def simulate(
    pockets: int,
    ticks: int,
    every: int,
    coupling: Array4,
    kept: npt.NDArray[np.float32],
    drifts: Array4,
    converged: npt.NDArray[np.int64],
) -> None:
    """Run one tile from start to end.

    Args:
        pockets: Pockets in each ring, 2 to 32.
        ticks: Ticks to simulate.
        every: Ticks between records.
        coupling: One value a lane.
        kept: Written: average, drift and energy of each record, (3, records, LANES).
        drifts: Written: drift of the first tick and when settled, (2, LANES).
        converged: Written: tick of convergence or 0, one a lane.
    """
    size = (pockets + 2) * LANES
    p, c, p_new, c_new = (
        np.empty(size, F4),
        np.empty(size, F4),
        np.empty(size, F4),
        np.empty(size, F4),
    )
    line = np.empty(LINES, F4)
    start(p, c, line, coupling, pockets)
    converged[:] = 0
    record, grouped = 0, pockets - pockets % GROUP + 1
    for tick in range(1, ticks + 1):
        close_ring(p, pockets)
        close_ring(c, pockets)
        open_tick(line)
        update_group(p, c, p_new, c_new, line, 1, grouped)
        update_one(p, c, p_new, c_new, line, grouped, pockets + 1)
        close_tick(line, pockets, tick, converged, drifts[SETTLED])
        p, c, p_new, c_new = p_new, c_new, p, c
        if tick == 1:
            drifts[FIRST] = line[DRIFT : DRIFT + LANES]
        if tick % every == 0 or tick == ticks:
            kept[0, record] = line[AVERAGE : AVERAGE + LANES]
            kept[1, record] = line[DRIFT : DRIFT + LANES]
            kept[2, record] = line[E_SUM : E_SUM + LANES]
            record += 1
