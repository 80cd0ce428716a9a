"""Small rings on a CUDA board: one thread a run, its whole ring in registers.

The number of pockets is a constant of the compiled kernel, so that its loops are unrolled and no
pocket has an address: what remains is the arithmetic. With the ring in shared memory and a number
known at launch only, NVVM emitted twice as many instructions, most of them addresses. A ring is
updated in place: only the old values of the left neighbour and of the first pocket must be kept.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda

from qallow_agent.kernels.board import Span, launchable, on_board, over
from qallow_agent.kernels.harmonic.cuda_steps import (
    AVERAGE,
    CALM,
    FIRST,
    MEAN,
    SETTLED,
    ZERO,
    Pulls,
    advance,
    carried,
    feed,
    scaled,
    square,
    still,
)

F4 = np.float32
Array4 = npt.NDArray[np.float32]
Array8i = npt.NDArray[np.int64]

SIGNATURE = (
    "void(UniTuple(int64, 4), float32[::1], float32[:, ::1], float32[::1], float32[:, :, ::1],"
    " float32[:, ::1], float32[:, :, ::1], int64[::1])"
)
"""How a simulator is called."""


def sweeper(pockets: int) -> Any:
    """Return a function that advances rings of so many pockets by a tick."""
    last = pockets - 1

    @on_board
    def sweep(
        p: Array4, c: Array4, m: np.float32, b: np.float32, pulls: Pulls
    ) -> tuple[np.float32, np.float32, np.float32, np.float32]:
        """Advance a ring in place; return the sums over phases, distances, energies, coherences."""
        p_sum, d_sum, e_sum, c_sum = ZERO, ZERO, ZERO, ZERO
        p_first, c_first, p_left, c_left = p[0], c[0], p[last], c[last]
        p_here, c_here = p_first, c_first
        for i in range(pockets):
            p_right = p[i + 1] if i < last else p_first
            c_right = c[i + 1] if i < last else c_first
            p[i], c[i] = advance(p_left, p_here, p_right, c_left, c_here, c_right, b, pulls)
            x = p[i] - m
            p_sum += p[i]
            d_sum += abs(x)
            e_sum += square(x)
            c_sum += c[i]
            p_left, p_here, c_left, c_here = p_here, p_right, c_here, c_right
        return p_sum, d_sum, e_sum, c_sum

    return sweep


@functools.cache
def simulator(pockets: int) -> Any:
    """Return the kernel for rings of so many pockets; it compiles at its first launch.

    It advances every run by the ticks of a span. Its arguments:

    - ``span``: See :data:`~qallow_agent.kernels.board.Span`.
    - ``coupling``: Coupling of each run, (points,).
    - ``origin``: Phases and coherences at the start, (2, pockets).
    - ``opening``: Mean phase, mean distance from it and mean coherence at the start.
    - ``rings``: Phases and coherences between launches, (2, pockets, points).
    - ``lives``: What a run carries from tick to tick, (5, points), rows as in ``cuda_steps``.
    - ``kept``: Written: average, drift and energy of each record, (3, records, points).
    - ``converged``: Written: tick of convergence or 0, (points,).
    """
    sweep = sweeper(pockets)

    @launchable
    def simulate(
        span: Span, coupling: Array4, origin: Array4, opening: Array4, rings: Array4,
        lives: Array4, kept: Array4, converged: Array8i,
    ) -> None:  # fmt: skip
        point = cuda.grid(1)
        if point >= coupling.size:
            return
        begin, end, ticks, every = span
        p = cuda.local.array(pockets, F4)
        c = cuda.local.array(pockets, F4)
        m, h, average = opening[0], opening[1], opening[2]
        first, settled, settled_at = opening[1], opening[1], 0
        fresh = begin == 0
        if not fresh:
            m, h, average = lives[MEAN, point], lives[CALM, point], lives[AVERAGE, point]
            first, settled = lives[FIRST, point], lives[SETTLED, point]
            settled_at = converged[point]
        for i in range(pockets):
            p[i] = origin[0, i] if fresh else rings[0, i, point]
            c[i] = origin[1, i] if fresh else rings[1, i, point]
        pulls, count = scaled(coupling[point]), F4(pockets)
        record = begin // every
        wait = (record + 1) * every - begin
        for tick in range(begin + 1, end + 1):
            p_sum, d_sum, e_sum, c_sum = sweep(p, c, m, feed(coupling[point], h), pulls)
            m, drift, previous = over(p_sum, count), over(d_sum, count), average
            average = over(c_sum, count)
            h = carried(h, drift)
            first = drift if tick == 1 else first
            if settled_at == 0:
                settled = drift
                settled_at = tick if still(average, previous, drift) else 0
            wait -= 1
            if wait == 0 or tick == ticks:
                kept[0, record, point], kept[1, record, point] = average, drift
                kept[2, record, point] = e_sum
                record += 1
                wait = every
        for i in range(pockets):
            rings[0, i, point], rings[1, i, point] = p[i], c[i]
        lives[MEAN, point], lives[CALM, point], lives[AVERAGE, point] = m, h, average
        lives[FIRST, point], lives[SETTLED, point] = first, settled
        converged[point] = settled_at

    return simulate
