"""What this machine can do at best, measured here and now: the yardstick of every kernel's speed.

A figure on its own says little: it depends on the processor, its clock and its neighbours. A share
of a limit that was measured in the same minute can be compared.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from qallow_agent.kernels.bounds import Limits
from qallow_agent.kernels.jit import compiled, wide_vectors
from qallow_agent.kernels.scratch import scratch
from qallow_agent.kernels.threads import CREW

F4 = np.float32
Array4 = npt.NDArray[np.float32]

CACHED = 2048
"""Values worked on again and again: they stay in the nearest cache."""

CHAIN = 6
"""Operations from a load to the store of its result, so that neither counts."""

SHARE_S = 0.02
"""Seconds of one attempt at a limit."""

ATTEMPTS = 15
"""The best attempt counts: other programs can only make one slower."""

MEMORY_BYTES = 512 << 20
"""Larger than any nearest caches; read and written once an attempt."""

ITEM_BYTES = 4


@compiled("void(int64, float32[::1])")
def add_much(rounds: int, values: Array4) -> None:
    """Add CHAIN times to each value in each round."""
    wide_vectors()
    step = values[0]
    for _ in range(rounds):
        for at in range(values.size):
            value = values[at]
            value = value + step
            value = value + step
            value = value + step
            value = value + step
            value = value + step
            values[at] = value + step


@compiled("void(int64, float32[::1])")
def add_and_multiply(rounds: int, values: Array4) -> None:
    """Multiply and add in turns, CHAIN operations to each value in each round."""
    wide_vectors()
    step = values[0]
    for _ in range(rounds):
        for at in range(values.size):
            value = values[at]
            value = value * step + step
            value = value * step + step
            values[at] = value * step + step


@compiled("void(int64, float32[::1])", contract=True)
def multiply_add(rounds: int, values: Array4) -> None:
    """Multiply and add at once, CHAIN times two operations to each value in each round."""
    wide_vectors()
    step = values[0]
    for _ in range(rounds):
        for at in range(values.size):
            value = values[at]
            value = value * step + step
            value = value * step + step
            value = value * step + step
            value = value * step + step
            value = value * step + step
            values[at] = value * step + step


@compiled("void(int64, float32[::1])")
def store_much(rounds: int, values: Array4) -> None:
    """Store every value once a round."""
    wide_vectors()
    for number in range(rounds):
        value = F4(number)
        for at in range(values.size):
            values[at] = value


@compiled("void(int64, float32[::1])")
def stream(rounds: int, values: Array4) -> None:
    """Read and write every value once a round."""
    wide_vectors()
    for _ in range(rounds):
        for at in range(values.size):
            values[at] = values[at] + F4(1)


LOOPS: Mapping[str, tuple[Callable[[int, Array4], None], int]] = {
    "adds_per_s": (add_much, CHAIN),
    "operations_per_s": (add_and_multiply, CHAIN),
    "contracted_per_s": (multiply_add, 2 * CHAIN),
    "stores_per_s": (store_much, 1),
}
"""Limit -> what measures it, and what that counts for each value in each round."""


def measure_limits(
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
    memory_bytes: int = MEMORY_BYTES,
) -> Limits:
    """Return this machine's limits for so many threads; takes two seconds and keeps them busy.

    Args:
        threads: Threads to use at a time.
        clock: Seconds, injected.
        memory_bytes: Memory to take for the last limit; more than all caches together.

    Raises:
        MemoryError: The process may not take so much memory.
    """
    kept = CREW.threads
    CREW.resize(threads)
    try:
        cached = {
            name: _best(loop, [scratch(CACHED, F4) for _ in range(threads)], count, clock)
            for name, (loop, count) in LOOPS.items()
        }
        parts = np.array_split(np.zeros(memory_bytes // ITEM_BYTES, F4), threads)
        moved = _best(stream, parts, 2 * ITEM_BYTES, clock)
    finally:
        CREW.resize(kept)
    return Limits(threads=threads, memory_bytes_per_s=moved, **cached)


def _best(
    loop: Callable[[int, Array4], None],
    parts: list[Array4],
    count: int,
    clock: Callable[[], float],
) -> float:
    """Return the best rate at which one thread a part goes through the parts."""
    rounds, rate = 1, 0.0
    for _ in range(ATTEMPTS):
        work = rounds * count * sum(part.size for part in parts)

        def part(begin: int, end: int, rounds: int = rounds) -> None:
            for values in parts[begin:end]:
                loop(rounds, values)

        began_s = clock()
        CREW.run(part, len(parts))
        rate = max(rate, work / max(clock() - began_s, 1e-9))
        rounds = max(1, int(SHARE_S * rate / (work / rounds)))
    return rate
