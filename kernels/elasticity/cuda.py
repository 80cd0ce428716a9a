"""The elasticity equations on a CUDA board, bit-equal to the reference: one thread a run.

The same clamps are left out as on the CPU, since they cannot bind.
"""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda

from qallow_agent.kernels.board import Span, explained, launchable, launches, on_board, parts, times
from qallow_agent.kernels.recording import records, stride

F4 = np.float32
Array4 = npt.NDArray[np.float32]
ZERO, ONE = F4(0), F4(1)
STRETCH_TOP, COHERENCE_LOSS = F4(0.01), F4(0.2)
ENTROPY_START, ENTROPY_STEP, ENTROPY_GAIN = F4(7e-4), F4(1e-6), F4(2e-7)
DECOHERENCE_START, DECOHERENCE_GAIN = F4(9e-6), F4(1e-7)
DECOHERENCE_KEEP = F4(1) - F4(5e-4)

BLOCK = 128
"""Threads in a block; small blocks spread small batches over more multiprocessors."""

UNROLL = 16
"""Ticks without a test between them; a loop of constant length is what NVVM unrolls."""

SIGNATURE = "void(UniTuple(int64, 4), float32[::1], float32[:, ::1], float32[:, :, ::1])"
"""How ``simulate`` is called."""


@on_board
def advance(
    ticks: int, e: np.float32, d: np.float32, e_gain: np.float32, d_gain: np.float32
) -> tuple[np.float32, np.float32]:
    """Advance one run, held in registers."""
    for _ in range(ticks // UNROLL):
        for _ in range(UNROLL):
            e = (e - ENTROPY_STEP) + e_gain
            e = ZERO if e < ZERO else e
            d = times(d, DECOHERENCE_KEEP) + d_gain
    for _ in range(ticks % UNROLL):
        e = (e - ENTROPY_STEP) + e_gain
        e = ZERO if e < ZERO else e
        d = times(d, DECOHERENCE_KEEP) + d_gain
    return e, d


@launchable
def simulate(span: Span, stretch: Array4, state: Array4, kept: Array4) -> None:
    """Advance every run by the ticks of a span.

    Args:
        span: See :data:`~qallow_agent.kernels.board.Span`.
        stretch: Stretch of each run, (points,).
        state: Entropy and decoherence between launches, (2, points).
        kept: Written: entropy and decoherence of each record, (2, records, points).
    """
    point = cuda.grid(1)
    if point >= stretch.size:
        return
    begin, end, ticks, every = span
    e_gain = times(stretch[point], ENTROPY_GAIN)
    d_gain = times(stretch[point], DECOHERENCE_GAIN)
    e, d = ENTROPY_START, DECOHERENCE_START
    if begin > 0:
        e, d = state[0, point], state[1, point]
    tick, record = begin, begin // every
    wait = (record + 1) * every - begin
    while tick < end:
        ahead = min(wait, end - tick)
        e, d = advance(ahead, e, d, e_gain, d_gain)
        tick += ahead
        wait -= ahead
        if wait == 0 or tick == ticks:
            kept[0, record, point], kept[1, record, point] = e, d
            record += 1
            wait = every
    state[0, point], state[1, point] = e, d


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

    Raises:
        DeviceMemory: Not even one run fits the board.
        DeviceLost: The board does not answer.
    """
    every = stride(ticks, record_every)
    kept = records({"ticks": ticks, "record_every": record_every})
    stretch = np.clip(eps, ZERO, STRETCH_TOP)
    measured = np.empty((2, kept, points), F4)
    for part in parts(points, bytes_each=12 + 8 * kept, most=points):
        with explained():
            runs = part.stop - part.start
            there = cuda.to_device(stretch[part])
            state = cuda.device_array((2, runs), F4)
            columns = cuda.device_array((2, kept, runs), F4)
            launch = simulate[-(-runs // BLOCK), BLOCK]
            for begin, end in launches(ticks, updates_each=runs):
                launch((begin, end, ticks, every), there, state, columns)
            measured[:, :, part] = columns.copy_to_host()
    return _outputs(measured, stretch, ticks, every)


def _outputs(
    measured: npt.NDArray[np.float32], stretch: npt.NDArray[np.float32], ticks: int, every: int
) -> dict[str, npt.NDArray[Any]]:
    """Return every output with shape (points, records)."""
    kept, points = measured.shape[1:]
    e, d = np.ascontiguousarray(measured[0].T), np.ascontiguousarray(measured[1].T)
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
