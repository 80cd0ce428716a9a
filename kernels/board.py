"""How CUDA kernels are compiled, launched and kept within a board's memory.

Products are rounded before they are added, as on a CPU, so that a result is the same to the bit
wherever it was computed. NVVM and ptxas contract ``a * b + c`` by themselves and numba has no
switch for it; a product with an explicit rounding mode is what both leave alone.
"""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import numpy as np
from numba import cuda
from numba.cuda import config, libdevice
from numba.cuda.cudadrv.driver import CudaAPIError

from qallow_agent.base.errors import DeviceLost, DeviceMemory
from qallow_agent.base.units import show_bytes
from qallow_agent.kernels.jit import Function

SIMULATED: Final = bool(config.ENABLE_CUDASIM)
"""Whether kernels run in numba's simulator, where a product is rounded anyway."""

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # a small batch is what was asked for

times: Callable[[np.float32, np.float32], np.float32] = (
    operator.mul if SIMULATED else libdevice.fmul_rn
)
"""Product of two float32, rounded to nearest, never contracted; for use within kernels."""

over: Callable[[np.float32, np.float32], np.float32] = (
    operator.truediv if SIMULATED else libdevice.fdiv_rn
)
"""Quotient likewise; NVVM turns a plain one by a power of two into a product to be contracted."""

Span = tuple[int, int, int, int]
"""What a launch simulates: ticks made before it, and when it ends; all ticks; between records."""

MEMORY_SHARE: Final = 0.8
"""Of what a board has free; the rest is for other processes and for fragments."""

LAUNCH_TICKS: Final = 1 << 22
LAUNCH_UPDATES: Final = 1 << 34
"""A launch ends after so many ticks of one run, or updates of all together: within a second even on
an edge module. Longer ones are killed where the board also drives a display, and cannot be
interrupted where a job is cancelled."""


def on_board(function: Function) -> Function:
    """Compile a function that kernels call."""
    return cast("Function", cuda.jit(device=True)(function))


def launchable(function: Callable[..., Any]) -> Any:
    """Compile a kernel at its first launch, for the board of this process.

    Nothing is kept on disk: numba looks only at the file of a kernel, not at those of the functions
    it calls, and would bring back what an edit of them has replaced.
    """
    return cuda.jit(function)


def parts(points: int, bytes_each: int, most: int) -> Iterator[slice]:
    """Cut a batch into slices that fit the memory a board has free now.

    Args:
        points: Runs in the batch.
        bytes_each: What one run takes on the board.
        most: Runs in a slice, however much is free.

    Raises:
        DeviceMemory: Not even one run fits.
        DeviceLost: The board or its driver does not answer.
    """
    with explained():
        free_bytes = cuda.current_context().get_memory_info()[0]
    room = int(min(most, free_bytes * MEMORY_SHARE / bytes_each))
    if not room:
        raise DeviceMemory(
            f"one run needs {show_bytes(bytes_each)} on the board, which has "
            f"{show_bytes(free_bytes)} free",
            hint="fewer pockets or records, or a larger device",
        )
    for begin in range(0, points, room):
        yield slice(begin, min(begin + room, points))


def launches(ticks: int, updates_each: int) -> Iterator[tuple[int, int]]:
    """Cut a simulation into launches, each from after one tick up to another.

    Args:
        ticks: Ticks to simulate.
        updates_each: Updates that one tick of the whole batch makes.
    """
    length = max(1, min(LAUNCH_TICKS, LAUNCH_UPDATES // updates_each))
    for begin in range(0, ticks, length):
        yield begin, min(begin + length, ticks)


@contextmanager
def explained() -> Iterator[None]:
    """Translate what CUDA raises into whose fault it is.

    Raises:
        DeviceMemory: The board has no room for the task.
        DeviceLost: The board, its driver or its compiler cannot be used.
    """
    try:
        yield
    except CudaAPIError as error:
        if "OUT_OF_MEMORY" in str(error):
            raise DeviceMemory(
                f"the board has too little memory free: {error}",
                hint="smaller tasks, or a larger device",
            ) from error
        raise DeviceLost(f"the board failed: {error}") from error
    except ImportError as error:  # numba's word for a driver or a compiler that is not there
        raise DeviceLost(
            f"CUDA does not start: {' '.join(str(error).split())}",
            hint="install NVIDIA's driver, and pip install 'qallow-agent[gpu]'",
        ) from error
