"""The harmonic equations compiled for the CPU, bit-equal to the reference.

Many small rings run side by side in lanes; few of them, and large rings, run one at a time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.bounds import Demands, Limits
from qallow_agent.kernels.harmonic import OPS_PER_POCKET_TICK, lanes, ring
from qallow_agent.kernels.harmonic.outputs import Raw, outputs
from qallow_agent.kernels.recording import records, stride
from qallow_agent.kernels.spec import Values

F4 = np.float32

WORTH_A_TILE = 8
"""A tile takes as long as so many single runs, however few of its lanes are used."""

DEMANDS = Demands(adds=13, operations=24, stores=2)
"""Of one tick of a pocket: both updates with their clamps, and the four sums."""


def bound(limits: Limits, _values: Values) -> float:
    """Return the operations a second that no code can exceed with these equations."""
    return OPS_PER_POCKET_TICK * DEMANDS.bound(limits)


def run(
    *, points: int, pockets: int, ticks: int, coupling: npt.NDArray[np.float32], record_every: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the recorded ticks of ``points`` runs, each with its own coupling.

    Args:
        points: Number of runs.
        pockets: Pockets in each ring, at least 2.
        ticks: Ticks to simulate.
        coupling: Coupling of each run, float32, shape (points,); not modified.
        record_every: Ticks between records; 0 for the last only.

    Returns:
        Each output with a leading axis of points, bit-equal to the reference; NaN where an
        unstable run overflowed.
    """
    every = stride(ticks, record_every)
    kept = records({"ticks": ticks, "record_every": record_every})
    measured = np.empty((3, kept, points), F4)
    drifts = np.empty((2, points), F4)
    converged = np.empty(points, np.int64)
    begin = 0
    while pockets <= ring.NARROW and points - begin >= WORTH_A_TILE:
        end = min(begin + lanes.LANES, points)
        used = end - begin
        tile = np.zeros(lanes.LANES, F4)
        tile[:used] = coupling[begin:end]
        tile_kept = np.empty((3, kept, lanes.LANES), F4)
        tile_drifts = np.empty((2, lanes.LANES), F4)
        tile_converged = np.empty(lanes.LANES, np.int64)
        lanes.simulate(pockets, ticks, every, tile, tile_kept, tile_drifts, tile_converged)
        measured[:, :, begin:end] = tile_kept[:, :, :used]
        drifts[:, begin:end] = tile_drifts[:, :used]
        converged[begin:end] = tile_converged[:used]
        begin = end
    p, c = np.empty(pockets, F4), np.empty(pockets, F4)
    for point in range(begin, points):
        one_kept, one_drifts = np.empty((3, kept), F4), np.empty(2, F4)
        converged[point] = ring.simulate(ticks, every, coupling[point], p, c, one_kept, one_drifts)
        measured[:, :, point] = one_kept
        drifts[:, point] = one_drifts
    raw = Raw(
        ticks=np.minimum(np.arange(1, kept + 1) * every, ticks),
        average=measured[0], drift=measured[1], energy=measured[2],
        first_drift=drifts[0], settled_drift=drifts[1], converged=converged,
    )  # fmt: skip
    return outputs(raw, pockets, coupling)
