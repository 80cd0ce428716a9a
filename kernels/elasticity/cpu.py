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
from qallow_agent.kernels.jit import compiled, wide_vectors
from qallow_agent.kernels.recording import records, stride
from qallow_agent.kernels.scratch import workspace
from qallow_agent.kernels.spec import Values
from qallow_agent.kernels.threads import CREW

F4, F8 = np.float32, np.float64
Array4 = npt.NDArray[np.float32]
Array8 = npt.NDArray[np.float64]
ZERO, ONE = F4(0), F4(1)
STRETCH_TOP = F4(0.01)
ENTROPY_START, ENTROPY_STEP, ENTROPY_GAIN = F4(7e-4), F4(1e-6), F4(2e-7)
DECOHERENCE_START, DECOHERENCE_GAIN = F4(9e-6), F4(1e-7)
DECOHERENCE_KEEP = F4(1) - F4(5e-4)
COHERENCE_LOSS = F4(0.2)

LANES = 256
"""Runs advanced together; four lines of this many float32 stay in the nearest cache."""

DENSE_LANES = 16
"""With many records fewer: memory is then written in longer runs."""

LEAST_LANES = 64
"""What the loop over lanes takes in one turn; fewer would not be vectorised."""

PADDING = 16
"""How much further apart than a power of two the records of neighbours lie, which would otherwise
compete for the same few places in the nearest cache."""

STRIP = 1 << 14
"""Values of e, and of d, that are recorded before the outputs are written."""

ROOM = 4 * LANES + 2 * (STRIP + DENSE_LANES * PADDING)

DEMANDS = Demands(adds=3, operations=5, stores=1)
"""Of one tick of a run: e is stepped, raised and clamped, d scaled and raised; both are stored
every second tick."""


def bound(limits: Limits, _values: Values) -> float:
    """Return the operations a second that no code can exceed with these equations."""
    return OPS_PER_TICK * DEMANDS.bound(limits)


@compiled("void(int64, float32[::1], float32[::1], float32[::1], float32[::1])")
def advance(ticks: int, e: Array4, d: Array4, e_gain: Array4, d_gain: Array4) -> None:
    """Advance all lanes in place, two ticks at a time: half the stores, which bound the speed."""
    wide_vectors()
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


@compiled(
    "void(int64, int64, int64, float32[::1], float32[::1], float32, float32, float32[:, ::1])"
)
def trace_one(
    ticks: int,
    every: int,
    before: int,
    e_strip: Array4,
    d_strip: Array4,
    e_gain: np.float32,
    d_gain: np.float32,
    lanes: Array4,
) -> None:
    """Record one run, held in registers, from the record after ``before`` on."""
    e, d = lanes[0, 0], lanes[1, 0]
    for record in range(e_strip.size):
        for _ in range(min(every, ticks - (before + record) * every)):
            e = (e - ENTROPY_STEP) + e_gain
            e = ZERO if e < ZERO else e
            d = d * DECOHERENCE_KEEP + d_gain
        e_strip[record], d_strip[record] = e, d
    lanes[0, 0], lanes[1, 0] = e, d


@compiled("void(int64, int64, int64, int64, int64, int64, float32[:, ::1], float32[:, ::1])")
def trace(
    ticks: int,
    every: int,
    before: int,
    records: int,
    count: int,
    apart: int,
    lanes: Array4,
    strips: Array4,
) -> None:
    """Record the runs of a tile side by side, the records of each ``apart`` from the next's."""
    width = LANES if count > LEAST_LANES else LEAST_LANES
    e, d = lanes[0, :width], lanes[1, :width]
    e_gain, d_gain = lanes[2, :width], lanes[3, :width]
    for record in range(records):
        ahead = min(every, ticks - (before + record) * every)
        advance(ahead, e, d, e_gain, d_gain)
        for lane in range(count):
            strips[0, lane * apart + record] = e[lane]
            strips[1, lane * apart + record] = d[lane]


@compiled("void(float32[::1], float32[::1], int64, int64, float32[:, ::1], float64[:, ::1])")
def write(
    e_strip: Array4, d_strip: Array4, begin: int, end: int, singles: Array4, doubles: Array8
) -> None:
    """Write the outputs of neighbouring records, each array in a loop of its own.

    LLVM gives up vectorising a loop over this many arrays, since it must check all for overlap.
    """
    wide_vectors()
    c, e, d = singles[0, begin:end], singles[1, begin:end], singles[2, begin:end]
    for at in range(c.size):
        c[at] = ONE - e_strip[at] * COHERENCE_LOSS
    for at in range(e.size):
        e[at] = e_strip[at]
    for at in range(d.size):
        d[at] = d_strip[at]
    s_score, c_score = doubles[0, begin:end], doubles[1, begin:end]
    h_score, score = doubles[2, begin:end], doubles[3, begin:end]
    for at in range(s_score.size):
        s_score[at] = F8(ONE - e_strip[at] * COHERENCE_LOSS)
    for at in range(c_score.size):
        c_score[at] = F8(ONE - e_strip[at])
    for at in range(h_score.size):
        h_score[at] = F8(ONE - d_strip[at])
    for at in range(score.size):
        coherent = F8(ONE - e_strip[at] * COHERENCE_LOSS) + F8(ONE - e_strip[at])
        score[at] = coherent + F8(ONE - d_strip[at])


@compiled(
    "void(int64, int64, float32[::1], int64, int64, float32[:, ::1], float64[:, ::1], float32[::1])"
)
def simulate(
    ticks: int,
    every: int,
    stretch: Array4,
    first: int,
    last: int,
    singles: Array4,
    doubles: Array8,
    room: Array4,
) -> None:
    """Run the points from ``first`` to before ``last`` and write their outputs.

    Args:
        ticks: Ticks to simulate.
        every: Ticks between records.
        stretch: Clamped stretch of every point.
        first: First point.
        last: Point after the last.
        singles: Written: c, e and d, (3, points * records).
        doubles: Written: S, C, H and E, (4, points * records).
        room: Room for e, d and their gains of each lane, and for recorded e and d; ROOM values.
    """
    lanes = room[: 4 * LANES].reshape(4, LANES)
    strips = room[4 * LANES :].reshape(2, STRIP + DENSE_LANES * PADDING)
    kept = singles.shape[1] // stretch.size
    width = LANES if kept * LANES <= STRIP else DENSE_LANES
    for start in range(first, last, width):
        count = min(width, last - start)
        fits = max(1, min(kept, STRIP // count))
        apart = fits if fits == kept else fits + PADDING
        for lane in range(LANES):
            s = stretch[start + min(lane, count - 1)]
            lanes[0, lane], lanes[1, lane] = ENTROPY_START, DECOHERENCE_START
            lanes[2, lane], lanes[3, lane] = s * ENTROPY_GAIN, s * DECOHERENCE_GAIN
        for before in range(0, kept, fits):
            records = min(fits, kept - before)
            if count == 1:
                trace_one(
                    ticks, every, before, strips[0, :records], strips[1, :records],
                    lanes[2, 0], lanes[3, 0], lanes,
                )  # fmt: skip
            else:
                trace(ticks, every, before, records, count, apart, lanes, strips)
            if apart == kept:
                begin, end = start * kept, (start + count) * kept
                write(strips[0], strips[1], begin, end, singles, doubles)
                continue
            for lane in range(count):
                begin = (start + lane) * kept + before
                e_strip, d_strip = strips[0, lane * apart :], strips[1, lane * apart :]
                write(e_strip, d_strip, begin, begin + records, singles, doubles)


def run(*, points: int, ticks: int, eps: Array4, record_every: int) -> dict[str, npt.NDArray[Any]]:
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
    singles, doubles = np.empty((4, points, kept), F4), np.empty((4, points, kept))
    tick = np.empty((points, kept), np.int64)
    recorded = np.minimum(np.arange(1, kept + 1) * every, ticks)

    def part(begin: int, end: int) -> None:
        simulate(
            ticks, every, stretch, begin, end,
            singles[:3].reshape(3, -1), doubles.reshape(4, -1),
            workspace(ROOM),
        )  # fmt: skip
        singles[3, begin:end] = stretch[begin:end, np.newaxis]
        tick[begin:end] = recorded

    CREW.run(part, points, LANES)
    return {
        "tick": tick,
        "coherence": singles[0], "entropy": singles[1], "decoherence": singles[2],
        "stretch": singles[3],
        "S": doubles[0], "C": doubles[1], "H": doubles[2], "E": doubles[3],
    }  # fmt: skip
