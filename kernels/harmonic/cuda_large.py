"""Large rings on a CUDA board: a block of threads for every 65536 pockets, sums in fixed order.

A tick must know the sums of the tick before over the whole ring. Each block leaves its partial
sums in memory; at the next tick every block adds all of them up in the same order, so that neither
a second launch nor an atomic is needed. Rings of one block make many ticks in a launch.
"""

import numpy as np
import numpy.typing as npt
from numba import cuda

from qallow_agent.kernels.board import Span, launchable, on_board
from qallow_agent.kernels.harmonic.cuda_steps import (
    AVERAGE,
    CALM,
    FIRST,
    MEAN,
    SETTLED,
    Pulls,
    advance,
    carried,
    feed,
    scaled,
    square,
    still,
)
from qallow_agent.kernels.harmonic.reference import SUM_CHUNK, SUM_LANES

F4, F8 = np.float32, np.float64
Array4 = npt.NDArray[np.float32]
Array8 = npt.NDArray[np.float64]
Array8i = npt.NDArray[np.int64]

PHASES, DISTANCES, ENERGIES, COHERENCES = 0, 1, 2, 3
KINDS = 4
"""Sums of a tick; as many rows of threads add them."""

BLOCK = KINDS * SUM_LANES
"""Threads of a block: thread ``kind * 128 + lane`` adds one kind of sum for one lane."""

TILE = 4096
"""Pockets that a block updates between two barriers: eight a thread, so that loads overlap."""

SIGNATURE = (
    "void(UniTuple(int64, 4), float32[::1], float32[:, ::1], float32[:, :, :, ::1],"
    " float64[:, :, :, ::1], float32[:, :, ::1], float32[:, :, ::1], int64[::1])"
)
"""How ``simulate`` is called."""

CLOSE_SIGNATURE = (
    "void(UniTuple(int64, 4), int64, float64[:, :, :, ::1], float32[:, :, ::1],"
    " float32[:, :, ::1], int64[::1])"
)
"""How ``close`` is called."""


@on_board
def total(partials: Array8, slot: int, kind: int, point: int) -> float:
    """Return the sum of a kind over all blocks of a ring, ascending."""
    summed = F8(0)
    for chunk in range(partials.shape[3]):
        summed += partials[slot, kind, point, chunk]
    return summed


@on_board
def settle(
    tick: int,
    span: Span,
    count: float,
    point: int,
    totals: Array8,
    lives: Array4,
    kept: Array4,
    converged: Array8i,
) -> None:
    """Write down what follows from the sums of a tick.

    What a run carries alternates between two slots: other blocks may still read the older one.
    """
    slot, before = tick % 2, (tick + 1) % 2
    drift, average = F4(totals[DISTANCES] / count), F4(totals[COHERENCES] / count)
    lives[slot, FIRST, point] = drift if tick == 1 else lives[before, FIRST, point]
    lives[slot, SETTLED, point] = drift if converged[point] == 0 else lives[before, SETTLED, point]
    if converged[point] == 0 and still(average, lives[before, AVERAGE, point], drift):
        converged[point] = tick
    lives[slot, AVERAGE, point] = average
    lives[slot, MEAN, point] = F4(totals[PHASES] / count)
    lives[slot, CALM, point] = carried(lives[before, CALM, point], drift)
    if tick % span[3] == 0 or tick == span[2]:
        record = (tick - 1) // span[3]
        kept[0, record, point], kept[1, record, point] = average, drift
        kept[2, record, point] = F4(totals[ENERGIES])


@on_board
def term(kind: int, phase: np.float32, level: np.float32, m: np.float32) -> float:
    """Return what a pocket adds to a kind of sum."""
    if kind == COHERENCES:
        return F8(level)
    if kind == PHASES:
        return F8(phase)
    x = phase - m
    return F8(abs(x)) if kind == DISTANCES else F8(square(x))


@on_board
def update(
    old: Array4, new: Array4, tile: Array4, start: int, stop: int, b: np.float32, pulls: Pulls
) -> None:
    """Advance a tile of pockets by a tick, in memory and where the sums are read from."""
    pockets = old.shape[1]
    for i in range(start + cuda.threadIdx.x, stop, BLOCK):
        left, right = i - 1 if i > 0 else pockets - 1, i + 1 if i + 1 < pockets else 0
        phase, level = advance(
            old[0, left], old[0, i], old[0, right], old[1, left], old[1, i], old[1, right], b, pulls
        )
        new[0, i], new[1, i] = phase, level
        tile[0, i - start], tile[1, i - start] = phase, level


@on_board
def fold(sums: Array8, kind: int, lane: int) -> None:
    """Add up the lanes of every kind in halves; the sum is left in lane 0."""
    width = SUM_LANES // 2
    while width > 0:
        if lane < width:
            sums[kind, lane] += sums[kind, lane + width]
        cuda.syncthreads()
        width //= 2


@launchable
def simulate(
    span: Span,
    coupling: Array4,
    origin: Array4,
    rings: Array4,
    partials: Array8,
    lives: Array4,
    kept: Array4,
    converged: Array8i,
) -> None:
    """Advance every ring by the ticks of a span: by one tick where it has several blocks.

    Args:
        span: See :data:`~qallow_agent.kernels.board.Span`.
        coupling: Coupling of each ring, (points,).
        origin: Phases and coherences at the start, (2, pockets).
        rings: Phases and coherences after even and odd ticks, (2, points, 2, pockets).
        partials: Sums of each block after even and odd ticks, (2, KINDS, points, blocks).
        lives: What a run carries, likewise, (2, 5, points), rows as in ``cuda_steps``.
        kept: Written: average, drift and energy of each record, (3, records, points).
        converged: Written: tick of convergence or 0, (points,).
    """
    chunk, point, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    kind, lane = thread // SUM_LANES, thread % SUM_LANES
    tile = cuda.shared.array((2, TILE), F4)
    folded = cuda.shared.array((KINDS, SUM_LANES), F8)
    totals = cuda.shared.array(KINDS, F8)
    head = cuda.shared.array(2, F4)
    k, pulls, count = coupling[point], scaled(coupling[point]), F8(origin.shape[1])
    start, stop = chunk * SUM_CHUNK, min((chunk + 1) * SUM_CHUNK, origin.shape[1])
    for tick in range(span[0] + 1, span[1] + 1):
        old, new = (tick + 1) % 2, tick % 2
        if tick > 1 and thread < KINDS:
            totals[thread] = total(partials, old, thread, point)
        cuda.syncthreads()
        if thread == 0:
            head[0], h = lives[0, MEAN, point], lives[0, CALM, point]
            if tick > 1:
                head[0] = F4(totals[PHASES] / count)
                h = carried(lives[new, CALM, point], F4(totals[DISTANCES] / count))
            head[1] = feed(k, h)
            if tick > 1 and chunk == 0:
                settle(tick - 1, span, count, point, totals, lives, kept, converged)
        cuda.syncthreads()
        ring_before = origin if tick == 1 else rings[old, point]
        summed = F8(0)
        for at in range(start, stop, TILE):
            tile_stop = min(at + TILE, stop)
            update(ring_before, rings[new, point], tile, at, tile_stop, head[1], pulls)
            cuda.syncthreads()
            for j in range(lane, tile_stop - at, SUM_LANES):
                summed += term(kind, tile[0, j], tile[1, j], head[0])
            cuda.syncthreads()
        folded[kind, lane] = summed
        cuda.syncthreads()
        fold(folded, kind, lane)
        if lane == 0:
            partials[new, kind, point, chunk] = folded[kind, 0]
        cuda.syncthreads()


@launchable
def close(
    span: Span, pockets: int, partials: Array8, lives: Array4, kept: Array4, converged: Array8i
) -> None:
    """Settle the last tick of every ring: one thread a ring."""
    point = cuda.grid(1)
    if point >= converged.size:
        return
    totals = cuda.local.array(KINDS, F8)
    for kind in range(KINDS):
        totals[kind] = total(partials, span[2] % 2, kind, point)
    settle(span[2], span, F8(pockets), point, totals, lives, kept, converged)
