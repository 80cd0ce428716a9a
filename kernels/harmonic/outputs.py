"""From the sums of the recorded ticks to the outputs; the same few operations for each backend."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic.stability import stable_coupling

THRESHOLD = np.float32(1e-3)
"""Converged once the average coherence changes, and the phases drift, by less than this."""

F4 = np.float32


@dataclass(frozen=True, slots=True)
class Raw:
    """What a backend measures.

    Args:
        ticks: Recorded ticks, int64, shape (records,).
        average: A / N, float32, shape (records, points).
        drift: D / N, likewise.
        energy: En, likewise.
        first_drift: D / N after the first tick, float32, shape (points,).
        settled_drift: D / N at convergence, or at the end without it, likewise.
        converged: Tick of convergence or 0, int64, shape (points,).
    """

    ticks: npt.NDArray[np.int64]
    average: npt.NDArray[np.float32]
    drift: npt.NDArray[np.float32]
    energy: npt.NDArray[np.float32]
    first_drift: npt.NDArray[np.float32]
    settled_drift: npt.NDArray[np.float32]
    converged: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Course:
    """How runs went as a whole: ticks in all, and of each run what :class:`Raw` says of it."""

    ticks: int
    first_drift: npt.NDArray[np.float32]
    settled_drift: npt.NDArray[np.float32]
    converged: npt.NDArray[np.int64]


def outputs(
    raw: Raw, pockets: int, coupling: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[Any]]:
    """Return every output with a leading axis of points.

    NaN passes through every clamp, so that an overflowed run shows as NaN.
    """
    average, drift, energy = (
        np.ascontiguousarray(column.T) for column in (raw.average, raw.drift, raw.energy)
    )
    course = Course(int(raw.ticks[-1]), raw.first_drift, raw.settled_drift, raw.converged)
    zero, one = F4(0), F4(1)
    s_score = np.clip(average, zero, one).astype(np.float64)
    c_score = np.clip(one - drift, zero, one).astype(np.float64)
    h_score = np.clip(one - np.clip(energy / F4(pockets), zero, one), zero, one).astype(np.float64)
    return {
        "tick": np.tile(raw.ticks, (coupling.size, 1)),
        "avg_coherence": average, "phase_drift": drift, "phase_energy": energy,
        "S": s_score, "C": c_score, "H": h_score, "E": (s_score + c_score) + h_score,
        **summary(course, pockets, coupling),
    }  # fmt: skip


def summary(
    course: Course, pockets: int, coupling: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs that a run has once: convergence and stability."""
    until = np.where(course.converged > 0, course.converged, course.ticks)
    first = course.first_drift.astype(np.float64)
    shed = first - course.settled_drift.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(until > 1, shed / (first * (until - 1)), 0.0)
    return {
        "converged_tick": course.converged,
        "convergence_rate": rate,
        "stable": coupling.astype(np.float64) <= stable_coupling(pockets),
    }
