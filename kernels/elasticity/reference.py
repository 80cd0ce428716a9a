"""The elasticity equations in NumPy, as written; every other backend is checked against this."""

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.recording import records, stride

F4 = np.float32
Array4 = npt.NDArray[np.float32]
State = dict[str, npt.NDArray[Any]]


def run(*, points: int, ticks: int, eps: Array4, record_every: int) -> dict[str, npt.NDArray[Any]]:
    """Return the recorded ticks of ``points`` runs, each with its own ``eps``.

    Args:
        points: Number of runs.
        ticks: Ticks to simulate.
        eps: Stretch of each run, float32, shape (points,); not modified.
        record_every: Ticks between records; 0 for the last only.

    Returns:
        Each output with shape (points, records).
    """
    given: dict[str, Any] = {
        "points": points,
        "ticks": ticks,
        "eps": eps,
        "record_every": record_every,
    }
    state = begin(**given)
    advance(state, 0, ticks, **given)
    return outputs(state, **given)


def begin(*, points: int, ticks: int, eps: Array4, record_every: int) -> State:
    """Return the state before the first tick: e and d, and room for those of every record."""
    del eps
    kept = records({"ticks": ticks, "record_every": record_every})
    e, d = np.full(points, F4(7e-4)), np.full(points, F4(9e-6))
    return {"e": e, "d": d, "e_kept": np.zeros((points, kept), F4),
            "d_kept": np.zeros((points, kept), F4)}  # fmt: skip


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
    del points
    every = stride(ticks, record_every)
    s = np.clip(eps, F4(0), F4(0.01))
    e, d = state["e"], state["d"]
    for tick in range(since + 1, until + 1):
        e = np.clip((e - F4(1e-6)) + s * F4(2e-7), F4(0), F4(1e-3))
        d = np.clip(d * (F4(1) - F4(5e-4)) + s * F4(1e-7), F4(0), F4(1e-3))
        if tick % every == 0 or tick == ticks:
            state["e_kept"][:, (tick - 1) // every] = e
            state["d_kept"][:, (tick - 1) // every] = d
    state["e"][:], state["d"][:] = e, d


def outputs(
    state: State, *, points: int, ticks: int, eps: Array4, record_every: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of a finished state, each with shape (points, records)."""
    every = stride(ticks, record_every)
    e, d = state["e_kept"], state["d_kept"]
    s = np.clip(eps, F4(0), F4(0.01))
    c = np.clip(F4(1) - e * F4(0.2), F4(0), F4(1))
    tick = np.minimum(np.arange(1, e.shape[1] + 1) * every, ticks)
    scores = {
        "S": c.astype(np.float64),
        "C": (F4(1) - e).astype(np.float64),
        "H": (F4(1) - d).astype(np.float64),
    }
    return {
        "tick": np.tile(tick, (points, 1)), "coherence": c, "entropy": e, "decoherence": d,
        "stretch": np.repeat(s[:, np.newaxis], e.shape[1], axis=1), **scores,
        "E": (scores["S"] + scores["C"]) + scores["H"],
    }  # fmt: skip
