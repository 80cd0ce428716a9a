"""One small ring, with sequential float32 sums."""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic.layout import STRIP, flush
from qallow_agent.kernels.harmonic.ring import THRESHOLD, lift
from qallow_agent.kernels.harmonic.strip import VECTOR
from qallow_agent.kernels.jit import compiled

F4 = np.float32
Array4 = npt.NDArray[np.float32]
Array8 = npt.NDArray[np.float64]
ZERO, HALF, ONE = F4(0), F4(0.5), F4(1)

ROW = 64
"""Values of a row: a ring with its last pocket before the first and its first behind the last."""

FIRST_AT = 16
"""Where the first pocket lies in a row: where a vector begins."""

P, C, FAR, ROWS = FIRST_AT, FIRST_AT + 2 * ROW, FIRST_AT + 4 * ROW, 5 * ROW
"""Where phases, coherences and distances from the mean begin; phases and coherences have two rows,
which are old and new in turns."""

MEAN, H, AVERAGE, FIRST, SETTLED, LEVELS = 0, 1, 2, 3, 4, 16
"""What the levels of a run hold after its finished ticks: the mean phase, h, the average coherence
that is known, the drift of the first tick and of the last before convergence; and their room."""

CONVERGED, KNOWN, RECORD = range(3)
"""What the counts of a run hold."""

ROOM = ROWS + LEVELS + 3 * STRIP
"""Working memory: the rows above, the levels, and the records to write."""

Given = tuple[np.float32, np.float32, np.float32]
Step = Callable[[Array4, int, Given], tuple[np.float32, np.float32]]


def _stepper(width: int, old: int) -> Step:
    """Return a tick of rings of at most ``width`` pockets, whole vectors, with fixed old rows.

    Phases are a tick ahead of all else: they wait for no sum, so that the processor moves them
    while it adds up those before. All rows are in one array at constant places: LLVM then knows
    that they do not overlap.
    """
    p_old, p_new = P + old * ROW, P + (1 - old) * ROW
    c_old, c_new = C + old * ROW, C + (1 - old) * ROW

    @compiled("UniTuple(float32, 2)(float32[::1], int64, UniTuple(float32, 3))")
    def step(rows: Array4, pockets: int, given: Given) -> tuple[np.float32, np.float32]:
        coupling, mean, b = given
        k120, k15, k60 = coupling * F4(120), coupling * F4(15), coupling * F4(60)
        rows[p_old - 1], rows[p_old + pockets] = rows[p_old + pockets - 1], rows[p_old]
        rows[c_old - 1], rows[c_old + pockets] = rows[c_old + pockets - 1], rows[c_old]
        for at in range(width):
            here, around = rows[p_old + at], rows[p_old + at - 1] + rows[p_old + at + 1]
            phase = (here + k120 * (HALF * around - here)) - (k15 * here) * F4(0.01)
            rows[p_new + at] = phase
            rows[FAR + at] = abs(here - mean)
        for at in range(width):
            here, around = rows[c_old + at], rows[c_old + at - 1] + rows[c_old + at + 1]
            level = (here + k60 * (HALF * around - here)) + b
            level = ZERO if level < ZERO else level
            rows[c_new + at] = ONE if level > ONE else level
        p_sum, d_sum = ZERO, ZERO
        for at in range(pockets):
            p_sum += rows[p_old + at]
            d_sum += rows[FAR + at]
        return p_sum, d_sum

    return step


half_from_first, half_from_second = _stepper(VECTOR, 0), _stepper(VECTOR, 1)
whole_from_first, whole_from_second = _stepper(2 * VECTOR, 0), _stepper(2 * VECTOR, 1)


@compiled("UniTuple(float32, 2)(float32[::1], int64, int64, UniTuple(float32, 3))")
def advance(rows: Array4, pockets: int, old: int, given: Given) -> tuple[np.float32, np.float32]:
    """Advance a ring by a tick with a coupling, the mean before and b; ``old`` rows become new.

    Returns:
        The sums of the old phases and of their distances from the mean before them.
    """
    if pockets <= VECTOR:
        if old == 0:
            return half_from_first(rows, pockets, given)
        return half_from_second(rows, pockets, given)
    if old == 0:
        return whole_from_first(rows, pockets, given)
    return whole_from_second(rows, pockets, given)


@compiled("float32(float32[::1])")
def total(values: Array4) -> np.float32:
    """Return the sum of values, ascending."""
    whole = ZERO
    for at in range(values.size):
        whole += values[at]
    return whole


@compiled("float32(float32[::1])")
def energy_of(far: Array4) -> np.float32:
    """Return the sum of energies from the distances; of them the sign does not matter."""
    whole = ZERO
    for at in range(far.size):
        whole += (HALF * far[at]) * far[at]
    return whole


@compiled("UniTuple(float32, 2)(float32[::1], int64, float32)")
def start(rows: Array4, pockets: int, coupling: np.float32) -> tuple[np.float32, np.float32]:
    """Set coherences to their start and phases to a tick later.

    Returns:
        The mean phase at the start and the mean distance from it.
    """
    p = np.empty(pockets, F4)
    for i in range(pockets):
        p[i] = (F4(i) / F4(pockets)) * F4(0.4)
    for at in range(2 * ROW):  # the ring again and again: cells nobody reads hold usual values
        i = (at - FIRST_AT) % pockets
        here, around = p[i], p[i - 1] + p[(i + 1) % pockets]
        pulled = here + coupling * F4(120) * (HALF * around - here)
        rows[at] = pulled - (coupling * F4(15) * here) * F4(0.01)
        rows[2 * ROW + at] = F4(0.78) + F4(0.02) * F4(i % 3)
    mean = total(p) / F4(pockets)
    return mean, total(np.abs(p - mean)) / F4(pockets)


@compiled(
    "void(UniTuple(int64, 3), UniTuple(int64, 2), float32, float32[::1], float32[::1], int64[::1],"
    " float32[:, ::1])"
)
def go(
    plan: tuple[int, int, int],
    span: tuple[int, int],
    coupling: np.float32,
    rows: Array4,
    levels: Array4,
    counts: npt.NDArray[np.int64],
    strips: Array4,
) -> None:
    """Take one ring from after one tick to after another.

    Args:
        plan: Pockets in the ring, ticks of the whole run, ticks between records.
        span: The two ticks.
        coupling: How strongly neighbours pull.
        rows: The ring, (ROWS,).
        levels: What MEAN and the others name, (LEVELS,).
        counts: Tick of convergence or 0, the tick whose average is known, and where in the strips
            the next record goes; (3,).
        strips: Written: averages, drifts and energies of the records, (3, at least so many).
    """
    pockets, ticks, every = plan
    count, old, record = F4(pockets), span[0] % 2, counts[RECORD]
    mean, h, average = levels[MEAN], levels[H], levels[AVERAGE]
    converged, known = counts[CONVERGED], counts[KNOWN]
    for tick in range(span[0] + 1, span[1] + 1):
        recorded = tick % every == 0 or tick == ticks
        p_sum, d_sum = advance(rows, pockets, old, (coupling, mean, lift(h, coupling)))
        mean, drift = p_sum / count, d_sum / count
        h = h * F4(0.85) + drift * F4(0.15)
        near = converged == 0 and drift < THRESHOLD
        if tick == 1:
            levels[FIRST] = drift
        if converged == 0:
            levels[SETTLED] = drift
        if near and known < tick - 1:
            average = total(rows[C + old * ROW : C + old * ROW + pockets]) / count
        old = 1 - old
        if near or recorded:
            before, known = average, tick
            average = total(rows[C + old * ROW : C + old * ROW + pockets]) / count
            if near and abs(average - before) < THRESHOLD:
                converged = tick
        if recorded:
            strips[0, record], strips[1, record] = average, drift
            strips[2, record] = energy_of(rows[FAR : FAR + pockets])
            record += 1
    levels[MEAN], levels[H], levels[AVERAGE] = mean, h, average
    counts[CONVERGED], counts[KNOWN], counts[RECORD] = converged, known, record


@compiled(
    "int64(UniTuple(int64, 3), int64, float32, float32[:, ::1], float64[:, ::1], float32[:, ::1],"
    " float32[::1])"
)
def simulate(
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
    kept = singles.shape[1] // drifts.shape[1]
    rows, levels, strips = room[:ROWS], room[ROWS : ROWS + LEVELS], room[ROWS + LEVELS :]
    blocks = strips.reshape(3, STRIP)
    counts = np.zeros(3, np.int64)
    levels[MEAN], levels[H] = start(rows, pockets, coupling)
    levels[AVERAGE] = ZERO
    for before in range(0, kept, STRIP):
        records = min(STRIP, kept - before)
        counts[RECORD] = 0
        span = (before * every, min((before + records) * every, ticks))
        go(plan, span, coupling, rows, levels, counts, blocks)
        block = (1, records, STRIP, kept)
        flush(blocks, block, point * kept + before, F4(pockets), singles, doubles)
    drifts[0, point], drifts[1, point] = levels[FIRST], levels[SETTLED]
    return int(counts[CONVERGED])
