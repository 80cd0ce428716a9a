"""The harmonic equations compiled for the CPU, bit-equal to the reference.

Many small rings run side by side in lanes; few of them, and large rings, run one at a time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.bounds import Demands, Limits
from qallow_agent.kernels.harmonic import OPS_PER_POCKET_TICK, lanes, ring, single
from qallow_agent.kernels.harmonic.layout import NARROW, flush
from qallow_agent.kernels.harmonic.outputs import Course, summary
from qallow_agent.kernels.recording import records, stride
from qallow_agent.kernels.scratch import scratch, workspace
from qallow_agent.kernels.spec import Values
from qallow_agent.kernels.threads import CREW

F4 = np.float32

WORTH_A_TILE = 8
"""A tile takes as long as so many single runs, however few of its lanes are used."""

DEMANDS = Demands(adds=11, operations=20, stores=2)
"""Of one tick of a pocket in a small ring: both updates with their clamps, the sums of phases and
of distances. The other two sums are formed where a record or a convergence needs them."""

WIDE_DEMANDS = Demands(adds=15, operations=26, stores=3)
"""The same in a large ring, whose sums take two conversions and two additions for each vector."""


def bound(limits: Limits, values: Values) -> float:
    """Return the operations a second that no code can exceed with these equations."""
    demands = DEMANDS if int(values["pockets"]) <= NARROW else WIDE_DEMANDS
    return OPS_PER_POCKET_TICK * demands.bound(limits)


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
    recorded = np.minimum(np.arange(1, kept + 1) * every, ticks)
    singles, doubles = np.empty((3, points, kept), F4), np.empty((4, points, kept))
    tick, drifts = np.empty((points, kept), np.int64), np.empty((2, points), F4)
    converged = np.empty(points, np.int64)
    flat = singles.reshape(3, -1), doubles.reshape(4, -1)

    def small(begin: int, end: int) -> None:
        few = (end - begin) % lanes.LANES
        few = few if few < WORTH_A_TILE else 0
        plan = (pockets, ticks, every)
        room = workspace(lanes.ROOM)
        lanes.simulate(plan, (begin, end - few), coupling, *flat, drifts, converged, room)
        room = workspace(single.ROOM)
        for point in range(end - few, end):
            converged[point] = single.simulate(plan, point, coupling[point], *flat, drifts, room)
        tick[begin:end] = recorded

    def large(begin: int, end: int, *, shared: bool = False) -> None:
        rings = scratch(4 * pockets, F4).reshape(2, 2, pockets)
        for point in range(begin, end):
            strips = np.empty((3, kept), F4)
            converged[point], *drifts[:, point] = ring.simulate(
                (ticks, every), coupling[point], rings, strips, shared=shared
            )
            flush(strips, (1, kept, kept, kept), point * kept, F4(pockets), *flat)
        tick[begin:end] = recorded

    if pockets <= NARROW:
        CREW.run(small, points, lanes.LANES)
    elif pockets < ring.WORTH_SHARING:
        CREW.run(large, points)
    else:
        large(0, points, shared=True)
    course = Course(ticks, drifts[0], drifts[1], converged)
    return {
        "tick": tick,
        "avg_coherence": singles[0], "phase_drift": singles[1], "phase_energy": singles[2],
        "S": doubles[0], "C": doubles[1], "H": doubles[2], "E": doubles[3],
        **summary(course, pockets, coupling),
    }  # fmt: skip
