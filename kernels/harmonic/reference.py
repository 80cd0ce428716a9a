"""The harmonic equations in NumPy, as written; every other backend is checked against this.

Arrays are (pockets, points): pocket by pocket for the sums, all points at once.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic.outputs import THRESHOLD, Raw
from qallow_agent.kernels.harmonic.outputs import outputs as finished
from qallow_agent.kernels.recording import records, stride

F4 = np.float32
Array4 = npt.NDArray[np.float32]
State = dict[str, npt.NDArray[Any]]

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


def begun(pockets: int) -> tuple[Array4, Array4]:
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
    given: dict[str, Any] = {
        "points": points, "pockets": pockets, "ticks": ticks, "coupling": coupling,
        "record_every": record_every,
    }  # fmt: skip
    state = begin(**given)
    advance(state, 0, ticks, **given)
    return outputs(state, **given)


def begin(*, points: int, pockets: int, ticks: int, coupling: Array4, record_every: int) -> State:
    """Return the state before the first tick: phases, coherences, what sums were, the records."""
    del coupling
    kept = records({"ticks": ticks, "record_every": record_every})
    p, c = (column.repeat(points).reshape(pockets, points) for column in begun(pockets))
    h = mean(np.abs(p - mean(p)))
    return {
        "p": p, "c": c, "h": h, "average": mean(c), "first": h.copy(), "settled": h.copy(),
        "converged": np.zeros(points, np.int64),
        "kept": np.zeros((3, kept, points), F4),
    }  # fmt: skip


@np.errstate(over="ignore", invalid="ignore", under="ignore")
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
    del points, pockets
    every = stride(ticks, record_every)
    k = coupling
    p, c, h, average = state["p"], state["c"], state["h"], state["average"]
    first, settled, converged = state["first"], state["settled"], state["converged"]
    for tick in range(since + 1, until + 1):
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
            state["kept"][:, (tick - 1) // every] = average, drift, energy
    now = {"p": p, "c": c, "h": h, "average": average, "first": first, "settled": settled,
           "converged": converged}  # fmt: skip
    for name, values in now.items():
        state[name][...] = values


def outputs(
    state: State, *, points: int, pockets: int, ticks: int, coupling: Array4, record_every: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of a finished state, each with a leading axis of points."""
    del points
    every = stride(ticks, record_every)
    averages, drifts, energies = state["kept"]
    raw = Raw(
        ticks=np.minimum(np.arange(1, len(averages) + 1) * every, ticks), average=averages,
        drift=drifts, energy=energies, first_drift=state["first"],
        settled_drift=state["settled"], converged=state["converged"],
    )  # fmt: skip
    return finished(raw, pockets, coupling)
