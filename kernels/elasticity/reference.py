"""The elasticity equations in NumPy, as written; every other backend is checked against this."""

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.recording import stride

F4 = np.float32


def run(
    *, points: int, ticks: int, eps: npt.NDArray[np.float32], record_every: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the recorded ticks of ``points`` runs, each with its own ``eps``.

    Args:
        points: Number of runs.
        ticks: Ticks to simulate.
        eps: Stretch of each run, float32, shape (points,); not modified.
        record_every: Ticks between records; 0 for the last only.

    Returns:
        Each output with shape (points, records).
    """
    every = stride(ticks, record_every)
    s = np.clip(eps, F4(0), F4(0.01))
    e, d = np.full(points, F4(7e-4)), np.full(points, F4(9e-6))
    kept = []
    for tick in range(1, ticks + 1):
        e = np.clip((e - F4(1e-6)) + s * F4(2e-7), F4(0), F4(1e-3))
        c = np.clip(F4(1) - e * F4(0.2), F4(0), F4(1))
        d = np.clip(d * (F4(1) - F4(5e-4)) + s * F4(1e-7), F4(0), F4(1e-3))
        if tick % every == 0 or tick == ticks:
            kept.append((np.full(points, tick), c, e, d, s))
    tick_of, c, e, d, s = (np.stack(column, axis=1) for column in zip(*kept, strict=True))
    scores = {
        "S": c.astype(np.float64),
        "C": (F4(1) - e).astype(np.float64),
        "H": (F4(1) - d).astype(np.float64),
    }
    return {
        "tick": tick_of, "coherence": c, "entropy": e, "decoherence": d, "stretch": s, **scores,
        "E": (scores["S"] + scores["C"]) + scores["H"],
    }  # fmt: skip
