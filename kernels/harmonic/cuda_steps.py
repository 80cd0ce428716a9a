"""The harmonic equations as functions that CUDA kernels call; products are never contracted."""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

import numpy as np

from qallow_agent.kernels.board import on_board, times

F4 = np.float32
ZERO, HALF, ONE = F4(0), F4(0.5), F4(1)
THRESHOLD = F4(1e-3)

MEAN, CALM, AVERAGE, FIRST, SETTLED = 0, 1, 2, 3, 4
"""Rows of what a run carries from tick to tick: m, h, A / N, and the two drifts of its outputs."""

LIVES = 5

Pulls = tuple[np.float32, np.float32, np.float32]
"""Couplings of phases, of their decay and of coherences."""


@on_board
def scaled(k: np.float32) -> Pulls:
    """Return a run's coupling as the equations use it."""
    return times(k, F4(120)), times(k, F4(15)), times(k, F4(60))


@on_board
def clamp(value: np.float32) -> np.float32:
    """Return a value within [0, 1]; NaN passes through."""
    value = ZERO if value < ZERO else value
    return ONE if value > ONE else value


@on_board
def feed(k: np.float32, h: np.float32) -> np.float32:
    """Return what every coherence gains this tick."""
    return (F4(0.0004) + times(k, F4(0.25))) + times(clamp(ONE - h), F4(0.0003))


@on_board
def carried(h: np.float32, drift: np.float32) -> np.float32:
    """Return h after a tick of this drift."""
    return times(h, F4(0.85)) + times(drift, F4(0.15))


@on_board
def square(x: np.float32) -> np.float32:
    """Return a pocket's share of the energy."""
    return times(times(HALF, x), x)


@on_board
def still(average: np.float32, previous: np.float32, drift: np.float32) -> np.bool:
    """Return whether a run has converged at this tick."""
    return abs(average - previous) < THRESHOLD and drift < THRESHOLD


@on_board
def advance(
    p_left: np.float32,
    p_here: np.float32,
    p_right: np.float32,
    c_left: np.float32,
    c_here: np.float32,
    c_right: np.float32,
    b: np.float32,
    pulls: Pulls,
) -> tuple[np.float32, np.float32]:
    """Return a pocket's phase and coherence after a tick, from the old values around it."""
    p_pull = times(HALF, p_left + p_right) - p_here
    c_pull = times(HALF, c_left + c_right) - c_here
    phase = (p_here + times(pulls[0], p_pull)) - times(times(pulls[1], p_here), F4(0.01))
    return phase, clamp((c_here + times(pulls[2], c_pull)) + b)
