"""One compiled run of elasticity in stages, bit-equal to the run in one go.

What lies between two records is recorded into a spare place: the code that records holds the state
in registers, and so is the fast one.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.elasticity.cpu import (
    DECOHERENCE_GAIN,
    ENTROPY_GAIN,
    STRETCH_TOP,
    ZERO,
    trace_one,
    write,
)
from qallow_agent.kernels.elasticity.reference import begin
from qallow_agent.kernels.recording import stride

__all__ = ["advance", "begin", "outputs"]

F4 = np.float32
Array4 = npt.NDArray[np.float32]
State = dict[str, npt.NDArray[Any]]


def advance(
    state: State,
    since: int,
    until: int,
    *,
    points: int,
    ticks: int,
    eps: Array4,
    record_every: int,
) -> None:
    """Take a state from after one tick to after another, in place."""
    every = stride(ticks, record_every)
    stretch = np.clip(eps, ZERO, STRETCH_TOP)
    spare = np.empty(1, F4)
    for point in range(points):
        gains = stretch[point] * ENTROPY_GAIN, stretch[point] * DECOHERENCE_GAIN
        lanes = np.array([[state["e"][point]], [state["d"][point]]], F4)
        e_kept, d_kept = state["e_kept"][point], state["d_kept"][point]
        tick = since
        if tick % every:
            stop = min((tick // every + 1) * every, until, ticks)
            trace_one(stop - tick, stop - tick, 0, spare, spare, *gains, lanes)
            if stop % every == 0 or stop == ticks:
                e_kept[(stop - 1) // every], d_kept[(stop - 1) // every] = lanes[:, 0]
            tick = stop
        first, last = -(-tick // every), until // every if until < ticks else e_kept.size
        if first < last:
            trace_one(ticks, every, first, e_kept[first:last], d_kept[first:last], *gains, lanes)
            tick = min(last * every, ticks)
        if tick < until:
            trace_one(until - tick, until - tick, 0, spare, spare, *gains, lanes)
        state["e"][point], state["d"][point] = lanes[:, 0]


def outputs(
    state: State, *, points: int, ticks: int, eps: Array4, record_every: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of a finished state, each with shape (points, records)."""
    every = stride(ticks, record_every)
    kept = state["e_kept"].shape[1]
    singles, doubles = np.empty((3, points * kept), F4), np.empty((4, points * kept))
    e_kept, d_kept = state["e_kept"].reshape(-1), state["d_kept"].reshape(-1)
    write(e_kept, d_kept, 0, points * kept, singles, doubles)
    c, e, d = singles.reshape(3, points, kept)
    s_score, c_score, h_score, score = doubles.reshape(4, points, kept)
    stretch = np.clip(eps, ZERO, STRETCH_TOP)
    tick = np.minimum(np.arange(1, kept + 1) * every, ticks)
    return {
        "tick": np.tile(tick, (points, 1)), "coherence": c, "entropy": e, "decoherence": d,
        "stretch": np.repeat(stretch[:, np.newaxis], kept, axis=1),
        "S": s_score, "C": c_score, "H": h_score, "E": score,
    }  # fmt: skip
