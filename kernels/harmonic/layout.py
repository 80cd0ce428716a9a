"""Records on their way out: from averages, drifts and energies to the outputs in their layout."""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.jit import compiled, wide_vectors

F4, F8 = np.float32, np.float64
Array4 = npt.NDArray[np.float32]
Array8 = npt.NDArray[np.float64]
ZERO, ONE = F4(0), F4(1)

NARROW = 32
"""Up to so many pockets the sums are sequential float32, as in the original."""

STRIP = 1 << 14
"""Values of each kind that are recorded before the outputs are written."""

PADDING = 16
"""How much further apart than a power of two the records of neighbours lie, which would otherwise
compete for the same few places in the nearest cache."""


@compiled("void(float32[::1], float32[::1])")
def copy(source: Array4, target: Array4) -> None:
    """Fill the target from a source that may be longer.

    An assignment of slices takes ten times as long to run and to compile.
    """
    wide_vectors()
    for at in range(target.size):
        target[at] = source[at]


@compiled("float32(float32)")
def clamped(value: np.float32) -> np.float32:
    """Return a value within [0, 1]; NaN passes through."""
    value = ZERO if value < ZERO else value
    return ONE if value > ONE else value


@compiled(
    "void(float32[::1], float32[::1], float32[::1], UniTuple(int64, 2), float32, float64[:, ::1])"
)
def score(
    average: Array4,
    drift: Array4,
    energy: Array4,
    span: tuple[int, int],
    count: np.float32,
    doubles: Array8,
) -> None:
    """Score neighbouring records, each array in a loop of its own: LLVM vectorises few at a time.

    Args:
        average: A / N, (records,); like the next two it may go on behind them.
        drift: D / N.
        energy: En.
        span: Place of the first record among all, and the one after the last.
        count: Pockets in the ring.
        doubles: Written: S, C, H and E, (4, all records).
    """
    wide_vectors()
    s_score, c_score = doubles[0, span[0] : span[1]], doubles[1, span[0] : span[1]]
    h_score, whole = doubles[2, span[0] : span[1]], doubles[3, span[0] : span[1]]
    for at in range(s_score.size):
        s_score[at] = F8(clamped(average[at]))
    for at in range(c_score.size):
        c_score[at] = F8(clamped(ONE - drift[at]))
    for at in range(h_score.size):
        h_score[at] = F8(clamped(ONE - clamped(energy[at] / count)))
    for at in range(whole.size):
        whole[at] = (s_score[at] + c_score[at]) + h_score[at]


@compiled(
    "void(float32[:, ::1], UniTuple(int64, 4), int64, float32, float32[:, ::1], float64[:, ::1])"
)
def flush(
    strips: Array4,
    block: tuple[int, int, int, int],
    first: int,
    count: np.float32,
    singles: Array4,
    doubles: Array8,
) -> None:
    """Write records of neighbouring runs to where they belong.

    Args:
        strips: Averages, drifts and energies, (3, at least runs * apart).
        block: Runs, records of each, how far apart the runs' records lie in the strips, and among
            all records.
        first: Place of the first run's first record among all.
        count: Pockets in the ring.
        singles: Written: averages, drifts and energies, (3, all records).
        doubles: Written: S, C, H and E, (4, all records).
    """
    runs, records, apart, kept = block
    if apart == kept:
        runs, records = 1, runs * records
    for run in range(runs):
        begin, end = first + run * kept, first + run * kept + records
        average, drift = strips[0, run * apart :], strips[1, run * apart :]
        energy = strips[2, run * apart :]
        for kind in range(3):
            copy(strips[kind, run * apart :], singles[kind, begin:end])
        score(average, drift, energy, (begin, end), count, doubles)
