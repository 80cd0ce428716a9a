"""One compiled harmonic run in stages, bit-equal to the run in one go.

A state holds what later ticks depend on and nothing that addresses memory: where a ring lies, and
how many records there are, follows from the tick. What a large ring merely expects of its sums is
left out; it is learnt again within a few ticks.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic import ring, single
from qallow_agent.kernels.harmonic.layout import NARROW, flush
from qallow_agent.kernels.harmonic.outputs import Course, summary
from qallow_agent.kernels.recording import records, stride
from qallow_agent.kernels.scratch import scratch

F4 = np.float32
Array4 = npt.NDArray[np.float32]
State = dict[str, npt.NDArray[Any]]


def begin(*, points: int, pockets: int, ticks: int, coupling: Array4, record_every: int) -> State:
    """Return the state before the first tick; of each point its ring, its levels, its records."""
    kept = records({"ticks": ticks, "record_every": record_every})
    wide = pockets > NARROW
    width = 2 * pockets if wide else single.ROWS
    state: State = {
        "ring": np.zeros((points, width), F4), "levels": np.zeros((points, single.LEVELS), F4),
        "counts": np.zeros((points, 2), np.int64), "kept": np.zeros((points, 3, kept), F4),
    }  # fmt: skip
    for point in range(points):
        if wide:
            started = _room(pockets, state["kept"][point])
            ring.begin(started)
            state["ring"][point] = started.rings[0].reshape(-1)
            state["levels"][point, :6] = started.levels
            continue
        rows = scratch(single.ROWS, F4)
        levels = state["levels"][point]
        levels[single.MEAN], levels[single.H] = single.start(rows, pockets, coupling[point])
        state["ring"][point] = rows
    return state


def advance(
    state: State,
    since: int,
    until: int,
    *,
    points: int,
    pockets: int,
    ticks: int,
    coupling: Array4,
    record_every: int,
) -> None:
    """Take a state from after one tick to after another, in place."""
    every = stride(ticks, record_every)
    for point in range(points):
        counts, levels = state["counts"][point], state["levels"][point]
        if pockets > NARROW:
            moving = _room(pockets, state["kept"][point])
            moving.rings[0] = state["ring"][point].reshape(2, pockets)
            moving.levels[:] = levels[:6]
            moving.converged = int(counts[0])
            ring.go(moving, (ticks, every, until), since, coupling[point])
            state["ring"][point] = moving.rings[moving.old].reshape(-1)
            levels[:6], counts[0] = moving.levels, moving.converged
            continue
        rows = scratch(single.ROWS, F4)
        rows[:] = state["ring"][point]
        told = np.array([*counts, since // every], np.int64)
        plan = (pockets, ticks, every)
        single.go(plan, (since, until), coupling[point], rows, levels, told, state["kept"][point])
        state["ring"][point], counts[:] = rows, told[:2]


def outputs(
    state: State, *, points: int, pockets: int, ticks: int, coupling: Array4, record_every: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of a finished state, each with a leading axis of points."""
    every = stride(ticks, record_every)
    kept = state["kept"].shape[2]
    singles, doubles = np.empty((3, points * kept), F4), np.empty((4, points * kept))
    for point in range(points):
        block = (1, kept, kept, kept)
        flush(state["kept"][point], block, point * kept, F4(pockets), singles, doubles)
    average, drift, energy = singles.reshape(3, points, kept)
    s_score, c_score, h_score, score = doubles.reshape(4, points, kept)
    first, settled = (ring.FIRST, ring.SETTLED) if pockets > NARROW else (
        single.FIRST, single.SETTLED)  # fmt: skip
    levels = state["levels"]
    course = Course(
        ticks, levels[:, first].copy(), levels[:, settled].copy(), state["counts"][:, 0].copy()
    )
    tick = np.minimum(np.arange(1, kept + 1) * every, ticks)
    return {
        "tick": np.tile(tick, (points, 1)),
        "avg_coherence": average, "phase_drift": drift, "phase_energy": energy,
        "S": s_score, "C": c_score, "H": h_score, "E": score,
        **summary(course, pockets, coupling),
    }  # fmt: skip


def _room(pockets: int, kept: Array4) -> ring.Ring:
    """Return a ring to work on, whose records go where they are kept."""
    shared = pockets >= ring.WORTH_SHARING
    rings = scratch(4 * pockets, F4).reshape(2, 2, pockets)
    return ring.Ring(rings, np.zeros(6, F4), kept, shared=shared)
