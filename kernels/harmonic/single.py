"""One small ring, with sequential float32 sums."""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic.layout import STRIP, flush
from qallow_agent.kernels.harmonic.ring import THRESHOLD, lift
from qallow_agent.kernels.harmonic.strip import VECTOR
from qallow_agent.kernels.jit import compiled, wide_vectors

F4 = np.float32
Array4 = npt.NDArray[np.float32]
Array8 = npt.NDArray[np.float64]
ZERO, HALF, ONE = F4(0), F4(0.5), F4(1)

ROW = 64
"""Values of a row: a ring with its last pocket before the first and its first behind the last."""

FIRST_AT = 16
"""Where the first pocket lies in a row: where a vector begins."""

ROOM = 6 * ROW + 3 * STRIP
"""Working memory: old and new phases and coherences, distances, results, the records to write."""

Advance = Callable[[Array4, Array4, Array4, np.float32, np.float32, np.float32], None]
Lift = Callable[[Array4, Array4, np.float32, np.float32], None]


def _advancer(width: int) -> tuple[Advance, Lift]:
    """Return how phases and coherences of a constant number of pockets, whole vectors, advance."""

    @compiled("void(float32[::1], float32[::1], float32[::1], float32, float32, float32)")
    def advance(
        old: Array4, new: Array4, far: Array4, k120: np.float32, k15: np.float32, mean: np.float32
    ) -> None:
        wide_vectors()
        for at in range(FIRST_AT, FIRST_AT + width):
            here, around = old[at], old[at - 1] + old[at + 1]
            phase = (here + k120 * (HALF * around - here)) - (k15 * here) * F4(0.01)
            new[at] = phase
            far[at] = abs(phase - mean)

    @compiled("void(float32[::1], float32[::1], float32, float32)")
    def lift_all(old: Array4, new: Array4, k60: np.float32, b: np.float32) -> None:
        wide_vectors()
        for at in range(FIRST_AT, FIRST_AT + width):
            here, around = old[at], old[at - 1] + old[at + 1]
            level = (here + k60 * (HALF * around - here)) + b
            level = ZERO if level < ZERO else level
            new[at] = ONE if level > ONE else level

    return advance, lift_all


advance_half, lift_half = _advancer(VECTOR)
advance_whole, lift_whole = _advancer(2 * VECTOR)


@compiled("float32(float32[::1])")
def total(values: Array4) -> np.float32:
    """Return the sum of values, ascending."""
    whole = ZERO
    for at in range(values.size):
        whole += values[at]
    return whole


@compiled("UniTuple(float32, 2)(float32[::1], float32[::1])")
def totals(values: Array4, others: Array4) -> tuple[np.float32, np.float32]:
    """Return two sums, ascending; side by side they take no longer than one."""
    whole, other = ZERO, ZERO
    for at in range(values.size):
        whole += values[at]
        other += others[at]
    return whole, other


@compiled("void(float32[::1], int64)")
def close_ring(row: Array4, pockets: int) -> None:
    """Copy the last pocket before the first and the first behind the last."""
    row[FIRST_AT - 1] = row[FIRST_AT + pockets - 1]
    row[FIRST_AT + pockets] = row[FIRST_AT]


@compiled("float32(float32[::1])")
def energy_of(far: Array4) -> np.float32:
    """Return the sum of energies from the distances; of them the sign does not matter."""
    whole = ZERO
    for at in range(far.size):
        whole += (HALF * far[at]) * far[at]
    return whole


@compiled(
    "void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], int64,"
    " UniTuple(float32, 3))"
)
def step(
    p: Array4,
    c: Array4,
    p_new: Array4,
    c_new: Array4,
    far: Array4,
    pockets: int,
    given: tuple[np.float32, np.float32, np.float32],
) -> None:
    """Advance a ring by a tick, with a coupling, the old mean and h."""
    coupling, mean, h = given
    k120, k15, k60 = coupling * F4(120), coupling * F4(15), coupling * F4(60)
    close_ring(p, pockets)
    close_ring(c, pockets)
    if pockets <= VECTOR:
        advance_half(p, p_new, far, k120, k15, mean)
        lift_half(c, c_new, k60, lift(h, coupling))
    else:
        advance_whole(p, p_new, far, k120, k15, mean)
        lift_whole(c, c_new, k60, lift(h, coupling))


@compiled("void(float32[::1], float32[::1], float32[::1], int64)")
def start(p: Array4, c: Array4, levels: Array4, pockets: int) -> None:
    """Set a ring to its start; set its mean phase and the mean distance from it."""
    for at in range(ROW):  # the ring again and again: cells that nobody reads hold usual values
        i = (at - FIRST_AT) % pockets
        p[at] = (F4(i) / F4(pockets)) * F4(0.4)
        c[at] = F4(0.78) + F4(0.02) * F4(i % 3)
    last = FIRST_AT + pockets
    levels[0] = total(p[FIRST_AT:last]) / F4(pockets)
    levels[1] = total(np.abs(p[FIRST_AT:last] - levels[0])) / F4(pockets)


@compiled(
    "int64(UniTuple(int64, 3), int64, float32, float32[:, ::1], float64[:, ::1], float32[:, ::1],"
    " float32[::1])"
)
def simulate_one(
    plan: tuple[int, int, int],
    point: int,
    coupling: np.float32,
    singles: Array4,
    doubles: Array8,
    drifts: Array4,
    room: Array4,
) -> int:
    """Run one point and write its outputs; return its tick of convergence or 0."""
    pockets, ticks, every = plan
    count, kept, last = F4(pockets), singles.shape[1] // drifts.shape[1], FIRST_AT + pockets
    p, c, p_new, c_new = (
        room[:ROW],
        room[ROW : 2 * ROW],
        room[2 * ROW : 3 * ROW],
        room[3 * ROW : 4 * ROW],
    )
    far, levels = room[4 * ROW : 5 * ROW], room[5 * ROW : 6 * ROW]
    strips = room[6 * ROW :].reshape(3, STRIP)
    start(p, c, levels, pockets)
    mean, h, average = levels[0], levels[1], ZERO
    converged, known, record = 0, 0, 0
    for tick in range(1, ticks + 1):
        recorded = tick % every == 0 or tick == ticks
        step(p, c, p_new, c_new, far, pockets, (coupling, mean, h))
        p_sum, d_sum = totals(p_new[FIRST_AT:last], far[FIRST_AT:last])
        mean, drift = p_sum / count, d_sum / count
        h = h * F4(0.85) + drift * F4(0.15)
        near = converged == 0 and drift < THRESHOLD
        if tick == 1:
            drifts[0, point] = drift
        if converged == 0:
            drifts[1, point] = drift
        if near and known < tick - 1:
            average = total(c[FIRST_AT:last]) / count
        if near or recorded:
            before, average = average, total(c_new[FIRST_AT:last]) / count
            known = tick
            if near and abs(average - before) < THRESHOLD:
                converged = tick
        if recorded:
            at = record % STRIP
            strips[0, at], strips[1, at] = average, drift
            strips[2, at] = energy_of(far[FIRST_AT:last])
            record += 1
            if at + 1 == STRIP or record == kept:
                block = (1, at + 1, STRIP, kept)
                flush(strips, block, point * kept + record - at - 1, count, singles, doubles)
        p, c, p_new, c_new = p_new, c_new, p, c
    return converged


@compiled(
    "void(UniTuple(int64, 3), UniTuple(int64, 2), float32[::1], float32[:, ::1],"
    " float64[:, ::1], float32[:, ::1], int64[::1], float32[::1])"
)
def simulate(
    plan: tuple[int, int, int],
    span: tuple[int, int],
    coupling: Array4,
    singles: Array4,
    doubles: Array8,
    drifts: Array4,
    converged: npt.NDArray[np.int64],
    room: Array4,
) -> None:
    """Run neighbouring points one by one; arguments as for lanes.simulate."""
    for point in range(span[0], span[1]):
        converged[point] = simulate_one(
            plan, point, coupling[point], singles, doubles, drifts, room
        )
