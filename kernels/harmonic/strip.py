"""A stretch of a large ring, advanced by several ticks while it lies in the nearest cache.

Phases need nothing but their neighbours' phases, coherences in addition the ``b`` of each tick,
and sums the means. All three are given here for every tick; who gives them has to see to it that
they are the right ones. A stretch is copied with as many pockets to its left and right as there
are ticks, since each tick spoils one more of them at either end.
"""

# ruff: noqa: FURB136 - clamps are written as comparisons, so that NaN passes through them

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.harmonic.layout import copy
from qallow_agent.kernels.jit import compiled, wide_vectors

F4, F8 = np.float32, np.float64
Array4 = npt.NDArray[np.float32]
Array8 = npt.NDArray[np.float64]
ZERO, HALF, ONE = F4(0), F4(0.5), F4(1)

SUM_LANES = 128
"""Partial sums of a chunk: pocket i counts into sum ``i mod 128``."""

SUM_CHUNK = 1 << 13
"""Pockets in a chunk; its partial sums are folded in halves and added to the total."""

BLOCK = 1 << 11
"""Pockets advanced together; a multiple of SUM_LANES that divides SUM_CHUNK."""

MOST_TICKS = 32
"""Ticks advanced together: memory is read and written so much less often than once a tick."""

VECTOR, TURN = 16, 64
"""Pockets in the widest vector, and in one turn of a vectorised loop."""

STRIP = BLOCK + 2 * MOST_TICKS + 2 * TURN
STRIPS = 6 * STRIP
"""Old and new phases and coherences, distances from the mean and energies, with room around."""

P_KIND, D_KIND, C_KIND, E_KIND, KINDS = 0, 1, 2, 3, 4
"""What is summed over pockets: phases, distances, coherences, energies."""

MEANS, LIFTS, WANTED = 0, 1, 2
"""Rows that are given for each tick: old mean, b, and how many of the kinds are wanted, 2 to 4."""

PARTIALS = MOST_TICKS * KINDS * SUM_LANES
ROOM = PARTIALS + STRIPS // 2
"""Working memory of a thread, in float64: the partial sums, then the strips."""


@compiled("float64(float64[::1])")
def fold(kind: Array8) -> float:
    """Return one kind of partial sums folded in halves; the partial sums are used up."""
    wide_vectors()
    for lane in range(64):  # constant lengths are what makes LLVM vectorise these
        kind[lane] += kind[64 + lane]
    for lane in range(32):
        kind[lane] += kind[32 + lane]
    for lane in range(16):
        kind[lane] += kind[16 + lane]
    for lane in range(8):
        kind[lane] += kind[8 + lane]
    even = (kind[0] + kind[4]) + (kind[2] + kind[6])
    odd = (kind[1] + kind[5]) + (kind[3] + kind[7])
    return float(even + odd)


@compiled("void(float32[::1], float64[::1])")
def add(values: Array4, sums: Array8) -> None:
    """Add values to the partial sums, lane by lane."""
    if values.size == BLOCK:
        for lane in range(SUM_LANES):  # a constant length is what makes LLVM vectorise this
            partial = sums[lane]
            for row in range(BLOCK // SUM_LANES):
                partial += F8(values[row * SUM_LANES + lane])
            sums[lane] = partial
        return
    for begin in range(0, values.size, SUM_LANES):
        row_of = values[begin : begin + SUM_LANES]
        for lane in range(row_of.size):
            sums[lane] += F8(row_of[lane])


@compiled("void(float32[::1], float32[::1], float32[::1], float32, float32, float32)")
def move_phases(
    old: Array4, new: Array4, far: Array4, k120: np.float32, k15: np.float32, mean: np.float32
) -> None:
    """Advance phases by a tick; ``far`` becomes their distance from the old mean."""
    wide_vectors()
    for at in range(new.size):
        here = old[at + 1]
        phase = (here + k120 * (HALF * (old[at] + old[at + 2]) - here)) - (k15 * here) * F4(0.01)
        new[at] = phase
        far[at] = abs(phase - mean)


@compiled("void(float32[::1], float32[::1], float32, float32)")
def lift_levels(old: Array4, new: Array4, k60: np.float32, b: np.float32) -> None:
    """Advance coherences by a tick."""
    wide_vectors()
    for at in range(new.size):
        here = old[at + 1]
        level = (here + k60 * (HALF * (old[at] + old[at + 2]) - here)) + b
        level = ZERO if level < ZERO else level
        new[at] = ONE if level > ONE else level


@compiled("void(float32[::1], float32[::1])")
def square(far: Array4, energy: Array4) -> None:
    """Set energies from distances: of them the sign does not matter."""
    wide_vectors()
    for at in range(energy.size):
        energy[at] = (HALF * far[at]) * far[at]


@compiled("void(float32[::1], float32[::1], int64)")
def fetch(ring: Array4, strip: Array4, begin: int) -> None:
    """Copy the pockets from ``begin`` on, which may lie before the first or go beyond the last."""
    if begin >= 0 and begin + strip.size <= ring.size:
        copy(ring[begin : begin + strip.size], strip)
        return
    for at in range(strip.size):
        strip[at] = ring[(begin + at) % ring.size]


@compiled(
    "void(float32[:, ::1], float32[:, ::1], UniTuple(int64, 2), float32, float64[:, ::1],"
    " float64[:, :, ::1], float32[::1])"
)
def advance_block(
    old: Array4,
    new: Array4,
    span: tuple[int, int],
    coupling: np.float32,
    given: Array8,
    partials: Array8,
    room: Array4,
) -> None:
    """Advance a block by some ticks and add to their partial sums.

    Args:
        old: Phases and coherences of the ring, (2, pockets).
        new: Written within the block, likewise.
        span: First pocket of the block, and the one after its last: at most BLOCK.
        coupling: How strongly neighbours pull.
        given: Old mean, b and kinds wanted of each tick, (3 or more, MOST_TICKS).
        partials: Partial sums of each tick, (ticks, KINDS, SUM_LANES).
        room: Working memory, STRIPS values.
    """
    ticks, size = len(partials), span[1] - span[0]
    lead = max(ticks, VECTOR)
    first, core, core_end = TURN, TURN + lead, TURN + lead + size
    last = first - (first - core_end - lead) // TURN * TURN
    p, p_new = room[:STRIP], room[STRIP : 2 * STRIP]
    c, c_new = room[2 * STRIP : 3 * STRIP], room[3 * STRIP : 4 * STRIP]
    far, energy = room[4 * STRIP : 5 * STRIP], room[5 * STRIP :]
    fetch(old[0], p[first : core_end + lead], span[0] - lead)
    fetch(old[1], c[first : core_end + lead], span[0] - lead)
    k120, k15, k60 = coupling * F4(120), coupling * F4(15), coupling * F4(60)
    for tick in range(ticks):
        mean, b, wanted = F4(given[MEANS, tick]), F4(given[LIFTS, tick]), given[WANTED, tick]
        move_phases(p[first - 1 : last + 1], p_new[first:last], far[first:last], k120, k15, mean)
        lift_levels(c[first - 1 : last + 1], c_new[first:last], k60, b)
        add(p_new[core:core_end], partials[tick, P_KIND])
        add(far[core:core_end], partials[tick, D_KIND])
        if wanted > C_KIND:
            add(c_new[core:core_end], partials[tick, C_KIND])
        if wanted > E_KIND:
            square(far[core:core_end], energy[core:core_end])
            add(energy[core:core_end], partials[tick, E_KIND])
        p, p_new, c, c_new = p_new, p, c_new, c
    copy(p[core:core_end], new[0, span[0] : span[1]])
    copy(c[core:core_end], new[1, span[0] : span[1]])


@compiled(
    "void(float32[:, ::1], float32[:, ::1], UniTuple(int64, 2), float32, float64[:, ::1],"
    " float64[:, :, ::1], float64[::1])"
)
def advance_chunks(
    old: Array4,
    new: Array4,
    span: tuple[int, int],
    coupling: np.float32,
    given: Array8,
    sums: Array8,
    room: Array8,
) -> None:
    """Advance neighbouring chunks by some ticks; set the sums of each.

    Args:
        old: Phases and coherences of the ring, (2, pockets).
        new: Written within the chunks, likewise.
        span: First chunk, and the one after the last.
        coupling: How strongly neighbours pull.
        given: Old mean, b and kinds wanted of each tick, (3 or more, MOST_TICKS).
        sums: Written within the chunks: the sums of each tick, (chunks, ticks, KINDS).
        room: Working memory, ROOM values.
    """
    pockets, ticks = old.shape[1], sums.shape[1]
    partials = room[: ticks * KINDS * SUM_LANES].reshape(ticks, KINDS, SUM_LANES)
    strips = room[PARTIALS:].view(F4)
    for chunk in range(span[0], span[1]):
        partials[:] = 0.0
        chunk_end = min((chunk + 1) * SUM_CHUNK, pockets)
        for begin in range(chunk * SUM_CHUNK, chunk_end, BLOCK):
            end = min(begin + BLOCK, chunk_end)
            advance_block(old, new, (begin, end), coupling, given, partials, strips)
        for tick in range(ticks):
            for kind in range(KINDS):
                wanted = kind < given[WANTED, tick]
                sums[chunk, tick, kind] = fold(partials[tick, kind]) if wanted else 0.0


@compiled("void(float32[:, ::1], UniTuple(int64, 2), float64[:, :, ::1])")
def start_chunks(ring: Array4, span: tuple[int, int], sums: Array8) -> None:
    """Set pockets to their start; set the sums of their phases and coherences.

    Args:
        ring: Written: phases and coherences, (2, pockets).
        span: First chunk, and the one after the last.
        sums: Written within the chunks, (chunks, 1 or more, KINDS).
    """
    pockets = ring.shape[1]
    partials = np.zeros((2, SUM_LANES), F8)
    for chunk in range(span[0], span[1]):
        begin, end = chunk * SUM_CHUNK, min((chunk + 1) * SUM_CHUNK, pockets)
        for i in range(begin, end):
            ring[0, i] = (F4(i) / F4(pockets)) * F4(0.4)
            ring[1, i] = F4(0.78) + F4(0.02) * F4(i % 3)
        partials[:] = 0.0
        add(ring[0, begin:end], partials[0])
        add(ring[1, begin:end], partials[1])
        sums[chunk, 0, P_KIND], sums[chunk, 0, C_KIND] = fold(partials[0]), fold(partials[1])


@compiled("void(float32[:, ::1], float32[:, ::1], UniTuple(int64, 2), float32, float64[:, :, ::1])")
def spread_chunks(
    ring: Array4, other: Array4, span: tuple[int, int], mean: np.float32, sums: Array8
) -> None:
    """Set the sums of the distances of phases from their mean; ``other`` is overwritten."""
    partial = np.zeros(SUM_LANES, F8)
    for chunk in range(span[0], span[1]):
        begin, end = chunk * SUM_CHUNK, min((chunk + 1) * SUM_CHUNK, ring.shape[1])
        for i in range(begin, end):
            other[0, i] = abs(ring[0, i] - mean)
        partial[:] = 0.0
        add(other[0, begin:end], partial)
        sums[chunk, 0, D_KIND] = fold(partial)
