"""The elasticity equations compiled for the CPU, bit-equal to the reference.

Runs of a sweep lie side by side in lanes, so that one vector instruction advances many of them.

Three clamps of the equations cannot bind and are left out: with ``0 <= s <= 0.01`` the entropy
starts at 7e-4 and changes by at most ``s * 2e-7 - 1e-6 < 0`` a tick, so it never reaches 1e-3; the
decoherence starts at 9e-6 above its fixed point ``2e-4 * s <= 2e-6``, and is a sum of products of
non-negative numbers, so it stays within [0, 9e-6].
"""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.bounds import Demands, Limits
from qallow_agent.kernels.elasticity import OPS_PER_TICK
from qallow_agent.kernels.jit import compiled
from qallow_agent.kernels.recording import records, stride
from qallow_agent.kernels.spec import Values

F4 = np.float32
ZERO, ONE = F4(0), F4(1)
STRETCH_TOP = F4(0.01)
ENTROPY_START, ENTROPY_STEP, ENTROPY_GAIN = F4(7e-4), F4(1e-6), F4(2e-7)
DECOHERENCE_START, DECOHERENCE_GAIN = F4(9e-6), F4(1e-7)
DECOHERENCE_KEEP = F4(1) - F4(5e-4)
COHERENCE_LOSS = F4(0.2)

LANES = 256
"""Runs advanced together; four lines of this many float32 stay in the nearest cache."""

DEMANDS = Demands(adds=3, operations=5, stores=1)
"""Of one tick of a run: e is stepped, raised and clamped, d scaled and raised; both are stored
every second tick."""


def bound(limits: Limits, _values: Values) -> float:
    """Return the operations a second that no code can exceed with these equations."""
    return OPS_PER_TICK * DEMANDS.bound(limits)


@compiled("void(int64, float32[::1], float32[::1], float32[::1], float32[::1])")
def advance(
    ticks: int,
    e: npt.NDArray[np.float32],
    d: npt.NDArray[np.float32],
    e_gain: npt.NDArray[np.float32],
    d_gain: npt.NDArray[np.float32],
) -> None:
    """Advance all lanes in place, two ticks at a time: half the stores, which bound the speed."""
    for _ in range(ticks // 2):
        for lane in range(e.size):
            first = (e[lane] - ENTROPY_STEP) + e_gain[lane]
            first = ZERO if first < ZERO else first
            second = (first - ENTROPY_STEP) + e_gain[lane]
            e[lane] = ZERO if second < ZERO else second
            d[lane] = (d[lane] * DECOHERENCE_KEEP + d_gain[lane]) * DECOHERENCE_KEEP + d_gain[lane]
    if ticks % 2:
        for lane in range(e.size):
            last = (e[lane] - ENTROPY_STEP) + e_gain[lane]
            e[lane] = ZERO if last < ZERO else last
            d[lane] = d[lane] * DECOHERENCE_KEEP + d_gain[lane]


@compiled("UniTuple(float32, 2)(int64, float32, float32, float32, float32)")
def advance_one(
    ticks: int, e: np.float32, d: np.float32, e_gain: np.float32, d_gain: np.float32
) -> tuple[np.float32, np.float32]:
    """Advance one run, held in registers."""
    for _ in range(ticks):
        e = (e - ENTROPY_STEP) + e_gain
        e = ZERO if e < ZERO else e
        d = d * DECOHERENCE_KEEP + d_gain
    return e, d


@compiled("void(int64, int64, float32[::1], float32[:, ::1], float32[:, ::1])")
def simulate(
    ticks: int,
    every: int,
    stretch: npt.NDArray[np.float32],
    entropy: npt.NDArray[np.float32],
    decoherence: npt.NDArray[np.float32],
) -> None:
    """Write entropy and decoherence of every run at every record, each (records, points)."""
    points, kept = stretch.size, entropy.shape[0]
    e, d = np.empty(LANES, F4), np.empty(LANES, F4)
    for start in range(0, points, LANES):
        count = min(LANES, points - start)
        s = stretch[start : start + count]
        e_gain, d_gain = s * ENTROPY_GAIN, s * DECOHERENCE_GAIN
        e[:] = ENTROPY_START
        d[:] = DECOHERENCE_START
        for record in range(kept):
            ahead = min(every, ticks - record * every)
            if count == 1:
                e[0], d[0] = advance_one(ahead, e[0], d[0], e_gain[0], d_gain[0])
            else:
                advance(ahead, e[:count], d[:count], e_gain, d_gain)
            entropy[record, start : start + count] = e[:count]
            decoherence[record, start : start + count] = d[:count]


def run(
    *, points: int, ticks: int, eps: npt.NDArray[np.float32], record_every: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the recorded ticks of ``points`` runs, each with its own ``eps``.

    Args:
        points: Number of runs.
        ticks: Ticks to simulate.
        eps: Stretch of each run, float32, C-contiguous, shape (points,); not modified.
        record_every: Ticks between records; 0 for the last only.

    Returns:
        Each output with shape (points, records), bit-equal to the reference.
    """
    every = stride(ticks, record_every)
    kept = records({"ticks": ticks, "record_every": record_every})
    stretch = np.clip(eps, ZERO, STRETCH_TOP)
    columns = np.empty((2, kept, points), F4)
    simulate(ticks, every, stretch, columns[0], columns[1])
    e, d = np.ascontiguousarray(columns[0].T), np.ascontiguousarray(columns[1].T)
    c = ONE - e * COHERENCE_LOSS
    tick = np.minimum(np.arange(1, kept + 1) * every, ticks)
    s_score, c_score, h_score = (
        c.astype(np.float64), (ONE - e).astype(np.float64), (ONE - d).astype(np.float64),
    )  # fmt: skip
    return {
        "tick": np.tile(tick, (points, 1)),
        "coherence": c, "entropy": e, "decoherence": d,
        "stretch": np.repeat(stretch[:, np.newaxis], kept, axis=1),
        "S": s_score, "C": c_score, "H": h_score, "E": (s_score + c_score) + h_score,
    }  # fmt: skip
