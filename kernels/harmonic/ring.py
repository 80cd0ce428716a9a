"""One ring at a time: small ones with sequential float32 sums, large ones with float64 sums.

A large ring is updated in place, a block at a time, after copying the block's old values into a
strip that stays in the nearest cache: memory is read and written once a tick.
"""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.jit import compiled

F4, F8 = np.float32, np.float64
Array4 = npt.NDArray[np.float32]
ZERO, HALF, ONE = F4(0), F4(0.5), F4(1)
THRESHOLD = F4(1e-3)

NARROW = 32
"""Up to so many pockets the sums are sequential float32, as in the original."""

SUM_LANES = 128
"""Partial sums of a chunk: pocket i counts into sum ``i mod 128``."""

SUM_CHUNK = 1 << 16
"""Pockets in a chunk; its partial sums are folded in halves and added to the total."""

BLOCK = 1024
"""Pockets copied and updated at a time; a multiple of SUM_LANES that divides SUM_CHUNK."""

P_SUM, D_SUM, E_SUM, C_SUM = 0, SUM_LANES, 2 * SUM_LANES, 3 * SUM_LANES


@compiled("float64(float64[::1], int64)")
def fold(sums: npt.NDArray[np.float64], at: int) -> float:
    """Return one kind of partial sums folded in halves; the partial sums are used up."""
    kind = sums[at : at + SUM_LANES]
    for lane in range(64):  # constant lengths are what makes LLVM vectorise these
        kind[lane] += kind[64 + lane]
    for lane in range(32):
        kind[lane] += kind[32 + lane]
    for lane in range(16):
        kind[lane] += kind[16 + lane]
    for lane in range(8):
        kind[lane] += kind[8 + lane]
    even = (kind[0] + kind[4]) + (kind[2] + kind[6])
    odd = (kind[1] + kind[5]) + (kind[3] + kind[7])
    return float(even + odd)


@compiled("void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1])")
def update(p: Array4, c: Array4, p_old: Array4, c_old: Array4, scalars: Array4) -> None:
    """Update pockets in place from their old values, which have one more at either end."""
    b, k120, k15, k60 = scalars[1], scalars[2], scalars[3], scalars[4]
    for at in range(p.size):
        p_here, c_here = p_old[at + 1], c_old[at + 1]
        p[at] = (p_here + k120 * (HALF * (p_old[at] + p_old[at + 2]) - p_here)) - (
            k15 * p_here
        ) * F4(0.01)
        level = (c_here + k60 * (HALF * (c_old[at] + c_old[at + 2]) - c_here)) + b
        level = ZERO if level < ZERO else level
        c[at] = ONE if level > ONE else level


@compiled("void(float32[::1], float32[::1], float32, float32[::1])")
def sum_narrow(p: Array4, c: Array4, m: np.float32, means: Array4) -> None:
    """Set means to mean phase, D / N, En and A / N by sequential sums."""
    count = F4(p.size)
    p_sum, d_sum, e_sum, c_sum = ZERO, ZERO, ZERO, ZERO
    for at in range(p.size):
        x = p[at] - m
        p_sum += p[at]
        d_sum += abs(x)
        e_sum += (HALF * x) * x
        c_sum += c[at]
    means[0], means[1], means[2], means[3] = p_sum / count, d_sum / count, e_sum, c_sum / count


@compiled("void(float32[::1], float32[::1], float32, float64[::1])")
def sum_wide(p: Array4, c: Array4, m: np.float32, sums: npt.NDArray[np.float64]) -> None:
    """Add a block to the partial sums, lane by lane."""
    if p.size == BLOCK:
        for lane in range(SUM_LANES):  # a constant length is what makes LLVM vectorise this
            p_sum, d_sum = sums[P_SUM + lane], sums[D_SUM + lane]
            e_sum, c_sum = sums[E_SUM + lane], sums[C_SUM + lane]
            for row in range(BLOCK // SUM_LANES):
                x = p[row * SUM_LANES + lane] - m
                p_sum += F8(p[row * SUM_LANES + lane])
                d_sum += F8(abs(x))
                e_sum += F8((HALF * x) * x)
                c_sum += F8(c[row * SUM_LANES + lane])
            sums[P_SUM + lane], sums[D_SUM + lane] = p_sum, d_sum
            sums[E_SUM + lane], sums[C_SUM + lane] = e_sum, c_sum
        return
    for begin in range(0, p.size, SUM_LANES):
        p_row, c_row = p[begin : begin + SUM_LANES], c[begin : begin + SUM_LANES]
        for lane in range(p_row.size):
            x = p_row[lane] - m
            sums[P_SUM + lane] += F8(p_row[lane])
            sums[D_SUM + lane] += F8(abs(x))
            sums[E_SUM + lane] += F8((HALF * x) * x)
            sums[C_SUM + lane] += F8(c_row[lane])


@compiled("void(float32[::1], float32[::1], float32, float32)")
def fill(strip: Array4, block: Array4, left: np.float32, right: np.float32) -> None:
    """Copy a block into the strip, between its two neighbours."""
    strip[0], strip[block.size + 1] = left, right
    inner = strip[1 : block.size + 1]
    for at in range(block.size):
        inner[at] = block[at]


@compiled(
    "void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], float32[::1])"
)
def advance_narrow(
    p: Array4, c: Array4, p_strip: Array4, c_strip: Array4, scalars: Array4, means: Array4
) -> None:
    """Advance a small ring by a tick; means become mean phase, D / N, En and A / N."""
    last = p.size - 1
    fill(p_strip, p, p[last], p[0])
    fill(c_strip, c, c[last], c[0])
    update(p, c, p_strip, c_strip, scalars)
    sum_narrow(p, c, scalars[0], means)


@compiled(
    "void(float32[::1], float32[::1], float32[::1], float32[::1], float64[::1], float32[::1],"
    " float32[::1])"
)
def advance_wide(
    p: Array4,
    c: Array4,
    p_strip: Array4,
    c_strip: Array4,
    sums: npt.NDArray[np.float64],
    scalars: Array4,
    means: Array4,
) -> None:
    """Advance a large ring by a tick; means become mean phase, D / N, En and A / N."""
    pockets = p.size
    p_first, p_left, c_first, c_left = p[0], p[pockets - 1], c[0], c[pockets - 1]
    p_sum, d_sum, e_sum, c_sum = 0.0, 0.0, 0.0, 0.0
    sums[:] = 0.0
    for begin in range(0, pockets, BLOCK):
        end = min(begin + BLOCK, pockets)
        p_block, c_block = p[begin:end], c[begin:end]
        p_last, c_last = p[end - 1], c[end - 1]
        fill(p_strip, p_block, p_left, p[end] if end < pockets else p_first)
        fill(c_strip, c_block, c_left, c[end] if end < pockets else c_first)
        p_left, c_left = p_last, c_last
        update(p_block, c_block, p_strip, c_strip, scalars)
        sum_wide(p_block, c_block, scalars[0], sums)
        if end % SUM_CHUNK == 0 or end == pockets:
            p_sum += fold(sums, P_SUM)
            d_sum += fold(sums, D_SUM)
            e_sum += fold(sums, E_SUM)
            c_sum += fold(sums, C_SUM)
            sums[:] = 0.0
    count = F8(pockets)
    means[0], means[1] = F4(p_sum / count), F4(d_sum / count)
    means[2], means[3] = F4(e_sum), F4(c_sum / count)


@compiled("float32(float32[::1], float32)")
def mean_of(values: Array4, origin: np.float32) -> np.float32:
    """Return the mean distance of values >= 0 from an origin, summed as the ring's size asks."""
    if values.size <= NARROW:
        narrow = ZERO
        for i in range(values.size):
            narrow += abs(values[i] - origin)
        return narrow / F4(values.size)
    sums, total = np.zeros(SUM_LANES, F8), 0.0
    for i in range(values.size):
        sums[i % SUM_LANES] += F8(abs(values[i] - origin))
        if (i + 1) % SUM_CHUNK == 0 or i + 1 == values.size:
            total += fold(sums, 0)
            sums[:] = 0.0
    return F4(total / F8(values.size))


@compiled("UniTuple(float32, 3)(float32[::1], float32[::1])")
def start(p: Array4, c: Array4) -> tuple[np.float32, np.float32, np.float32]:
    """Set a ring to its start; return its mean phase, mean distance from it, mean coherence."""
    pockets = p.size
    count = F4(pockets)
    for i in range(pockets):
        p[i] = (F4(i) / count) * F4(0.4)
        c[i] = F4(0.78) + F4(0.02) * F4(i % 3)
    mean = mean_of(p, ZERO)
    return mean, mean_of(p, mean), mean_of(c, ZERO)


@compiled("int64(int64, int64, float32, float32[::1], float32[::1], float32[:, ::1], float32[::1])")
def simulate(
    ticks: int,
    every: int,
    coupling: np.float32,
    p: Array4,
    c: Array4,
    kept: Array4,
    drifts: Array4,
) -> int:
    """Run one ring from start to end; return the tick of convergence, 0 for never.

    Args:
        ticks: Ticks to simulate.
        every: Ticks between records.
        coupling: How strongly neighbours pull.
        p: Room for the phases, one a pocket.
        c: Room for the coherences, one a pocket.
        kept: Written: average, drift and energy of each record, (3, records).
        drifts: Written: drift of the first tick and when settled.
    """
    k, converged, record = coupling, 0, 0
    scalars, means, sums = np.empty(5, F4), np.empty(4, F4), np.empty(4 * SUM_LANES, F8)
    p_strip, c_strip = np.empty(BLOCK + 2, F4), np.empty(BLOCK + 2, F4)
    scalars[0], h, average = start(p, c)
    scalars[2], scalars[3], scalars[4] = k * F4(120), k * F4(15), k * F4(60)
    for tick in range(1, ticks + 1):
        calm = ONE - h
        calm = ZERO if calm < ZERO else calm
        calm = ONE if calm > ONE else calm
        scalars[1] = (F4(0.0004) + k * F4(0.25)) + calm * F4(0.0003)
        if p.size <= NARROW:
            advance_narrow(p, c, p_strip, c_strip, scalars, means)
        else:
            advance_wide(p, c, p_strip, c_strip, sums, scalars, means)
        scalars[0], drift = means[0], means[1]
        h = h * F4(0.85) + drift * F4(0.15)
        if tick == 1:
            drifts[0] = drift
        if converged == 0:
            drifts[1] = drift
            if abs(means[3] - average) < THRESHOLD and drift < THRESHOLD:
                converged = tick
        average = means[3]
        if tick % every == 0 or tick == ticks:
            kept[0, record], kept[1, record], kept[2, record] = average, drift, means[2]
            record += 1
    return converged
