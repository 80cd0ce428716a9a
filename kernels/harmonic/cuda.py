"""The harmonic equations on a CUDA board, bit-equal to the reference.

A small ring belongs to one thread, a large one to one block of threads or more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda

from qallow_agent.kernels.board import explained, launches, parts
from qallow_agent.kernels.harmonic import cuda_large, cuda_small
from qallow_agent.kernels.harmonic.cuda_steps import FIRST, LIVES, SETTLED
from qallow_agent.kernels.harmonic.outputs import Raw, outputs
from qallow_agent.kernels.harmonic.reference import NARROW, SUM_CHUNK, begun, mean
from qallow_agent.kernels.recording import records, stride

F4, F8 = np.float32, np.float64
Array4 = npt.NDArray[np.float32]

SMALL_BLOCK = 128
"""Threads in a block of small rings: 143 registers each leave room for three such blocks."""

GRID_ROWS = 65_535
"""Large rings in a launch: the rows that a grid may have (CUDA, compute capabilities)."""

Measured = tuple[Array4, Array4, npt.NDArray[np.int64]]
"""Averages, drifts and energies, (3, records, runs); what runs carry, (5, runs); converged."""


def run(
    *, points: int, pockets: int, ticks: int, coupling: Array4, record_every: int
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

    Raises:
        DeviceMemory: Not even one run fits the board.
        DeviceLost: The board does not answer.
    """
    every = stride(ticks, record_every)
    kept = records({"ticks": ticks, "record_every": record_every})
    measured, lives = np.empty((3, kept, points), F4), np.empty((LIVES, points), F4)
    converged = np.empty(points, np.int64)
    small = pockets <= NARROW
    simulate, most = (_small, points) if small else (_large, GRID_ROWS)
    ring_bytes = (8 if small else 17) * pockets
    for part in parts(points, 64 + 12 * kept + ring_bytes, most):
        with explained():
            found = simulate(np.stack(begun(pockets)), coupling[part], ticks, every, kept)
        measured[:, :, part], lives[:, part], converged[part] = found
    raw = Raw(
        ticks=np.minimum(np.arange(1, kept + 1) * every, ticks),
        average=measured[0], drift=measured[1], energy=measured[2],
        first_drift=lives[FIRST], settled_drift=lives[SETTLED], converged=converged,
    )  # fmt: skip
    return outputs(raw, pockets, coupling)


def _small(origin: Array4, coupling: Array4, ticks: int, every: int, kept: int) -> Measured:
    runs, pockets = coupling.size, origin.shape[1]
    lives, measured = cuda.device_array((LIVES, runs), F4), cuda.device_array((3, kept, runs), F4)
    rings = cuda.device_array((2, pockets, runs), F4)
    converged = cuda.device_array(runs, np.int64)
    there = (
        cuda.to_device(coupling), cuda.to_device(origin), cuda.to_device(_opening(origin)),
        rings, lives, measured, converged,
    )  # fmt: skip
    launch = cuda_small.simulator(pockets)[-(-runs // SMALL_BLOCK), SMALL_BLOCK]
    for begin, end in launches(ticks, updates_each=runs * pockets):
        launch((begin, end, ticks, every), *there)
    return measured.copy_to_host(), lives.copy_to_host(), converged.copy_to_host()


def _large(origin: Array4, coupling: Array4, ticks: int, every: int, kept: int) -> Measured:
    runs, pockets = coupling.size, origin.shape[1]
    blocks = -(-pockets // SUM_CHUNK)
    m, h, average = _opening(origin)
    begun = np.array([m, h, average, h, h], F4)  # no drift yet: the first tick overwrites it
    lives = cuda.to_device(np.tile(begun[:, np.newaxis], (2, 1, runs)))
    converged = cuda.to_device(np.zeros(runs, np.int64))
    measured = cuda.device_array((3, kept, runs), F4)
    rings = cuda.device_array((2, runs, 2, pockets), F4)
    partials = cuda.device_array((2, cuda_large.KINDS, runs, blocks), F8)
    coupled, origin_there = cuda.to_device(coupling), cuda.to_device(origin)
    launch = cuda_large.simulate[(blocks, runs), cuda_large.BLOCK]
    spans = (
        launches(ticks, updates_each=runs * pockets)
        if blocks == 1
        else ((tick, tick + 1) for tick in range(ticks))
    )
    for begin, end in spans:
        span = (begin, end, ticks, every)
        launch(span, coupled, origin_there, rings, partials, lives, measured, converged)
    close = cuda_large.close[-(-runs // SMALL_BLOCK), SMALL_BLOCK]
    close((ticks, ticks, ticks, every), pockets, partials, lives, measured, converged)
    carried = lives.copy_to_host()[ticks % 2]
    return measured.copy_to_host(), carried, converged.copy_to_host()


def _opening(origin: Array4) -> Array4:
    """Return mean phase, mean distance from it, and mean coherence at the start."""
    p, c = origin[:, :, np.newaxis]
    m = mean(p)
    return np.concatenate([m, mean(np.abs(p - m)), mean(c)])
