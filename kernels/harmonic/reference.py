"""The harmonic equations in NumPy, as written; every other backend is checked against this.

Arrays are (pockets, points): pocket by pocket for the sums, all points at once.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic.outputs import THRESHOLD, Raw, outputs
from qallow_agent.kernels.recording import stride

F4 = np.float32
Array4 = npt.NDArray[np.float32]

NARROW = 32
"""Up to so many pockets the sums are sequential float32, as in the original."""

SUM_LANES, SUM_CHUNK = 128, 1 << 13
"""Above, pocket i is added to partial sum ``i mod 128`` of chunk ``i // 8192``, in float64."""


def total(terms: Array4) -> npt.NDArray[Any]:
    """Return the sum over pockets in the documented order: float32 when narrow, else float64.

    A chunk's partial sums are folded in halves (0 + 64, 1 + 65, ...; then 0 + 32, ...), and the
    chunks added ascending. The order is fixed, so results do not depend on threads or machines.
    """
    if len(terms) <= NARROW:
        narrow = np.zeros(terms.shape[1], F4)
        for row in terms:
            narrow = narrow + row
        return narrow
    wide = np.zeros(terms.shape[1], np.float64)
    for start in range(0, len(terms), SUM_CHUNK):
        chunk = terms[start : start + SUM_CHUNK].astype(np.float64)
        partial = np.zeros((SUM_LANES, terms.shape[1]), np.float64)
        for at in range(0, len(chunk), SUM_LANES):
            block = chunk[at : at + SUM_LANES]
            partial[: len(block)] += block
        while len(partial) > 1:
            partial = partial[: len(partial) // 2] + partial[len(partial) // 2 :]
        wide = wide + partial[0]
    return wide


def mean(terms: Array4) -> Array4:
    """Return the sum over pockets divided by their number, rounded to float32."""
    summed = total(terms)
    averaged: Array4 = (summed / summed.dtype.type(len(terms))).astype(F4)
    return averaged


def start(pockets: int) -> tuple[Array4, Array4]:
    """Return the phases and coherences that every run starts from, each (pockets,)."""
    i = np.arange(pockets)
    return (i.astype(F4) / F4(pockets)) * F4(0.4), F4(0.78) + F4(0.02) * (i % 3).astype(F4)


def clamp(values: Array4) -> Array4:
    """Return values within [0, 1]; NaN passes through."""
    return np.clip(values, F4(0), F4(1))


def pull(values: Array4) -> Array4:
    """Return half the sum of both neighbours, less the value itself."""
    left, right = np.roll(values, 1, axis=0), np.roll(values, -1, axis=0)
    return F4(0.5) * (left + right) - values


@np.errstate(over="ignore", invalid="ignore", under="ignore")
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
        Each output with a leading axis of points; NaN where an unstable run overflowed.
    """
    every = stride(ticks, record_every)
    k = coupling
    p, c = (column.repeat(points).reshape(pockets, points) for column in start(pockets))
    h = mean(np.abs(p - mean(p)))
    average = mean(c)
    first = settled = h
    converged = np.zeros(points, np.int64)
    kept = []
    for tick in range(1, ticks + 1):
        m = mean(p)
        b = (F4(0.0004) + k * F4(0.25)) + clamp(F4(1) - h) * F4(0.0003)
        p = (p + (k * F4(120)) * pull(p)) - ((k * F4(15)) * p) * F4(0.01)
        c = clamp((c + (k * F4(60)) * pull(c)) + b)
        x = p - m
        drift, energy = mean(np.abs(x)), total((F4(0.5) * x) * x).astype(F4)
        h = h * F4(0.85) + drift * F4(0.15)
        previous, average = average, mean(c)
        first = drift if tick == 1 else first
        settled = np.where(converged > 0, settled, drift)
        still = (np.abs(average - previous) < THRESHOLD) & (drift < THRESHOLD)
        converged = np.where((converged == 0) & still, tick, converged)
        if tick % every == 0 or tick == ticks:
            kept.append((tick, average, drift, energy))
    at, averages, drifts, energies = zip(*kept, strict=True)
    raw = Raw(
        ticks=np.array(at, np.int64), average=np.stack(averages), drift=np.stack(drifts),
        energy=np.stack(energies), first_drift=first, settled_drift=settled, converged=converged,
    )  # fmt: skip
    return outputs(raw, pockets, k)
