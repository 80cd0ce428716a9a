"""The CUDA backends of the built-in kernels: equal to the reference, to the bit.

Runs on a board where there is one. ``test_cuda_simulator.py`` runs the same file in numba's
simulator, one interpreter thread a CUDA thread, hence the tiny sizes there.
"""

import ctypes
import os
import threading
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from itertools import count, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from qallow_agent.base.errors import DeviceLost, DeviceMemory
from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.execution import run_canary, run_task
from qallow_agent.kernels.spec import Kernel

Results = dict[str, npt.NDArray[Any]]

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
KERNELS = (elasticity.KERNEL, harmonic.KERNEL)


def why_no_board() -> str:
    if SIMULATED:
        return ""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1) here; the simulator runs these tests"
    return "" if find_spec("numba_cuda") else "numba-cuda is missing: pip install -e '.[gpu]'"


if why_no_board():
    pytestmark = [pytest.mark.gpu, pytest.mark.skip(reason=why_no_board())]
elif SIMULATED:
    pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")]  # NumPy on overflow
else:
    pytestmark = [pytest.mark.gpu, pytest.mark.timeout(120)]

real_sizes = pytest.mark.skipif(SIMULATED, reason="too large for the simulator")
simulator_only = pytest.mark.skipif(not SIMULATED, reason="changes what only the simulator reads")


class Allocations(dict[Any, Any]):
    """Shared arrays of a block, each made once: the simulator looks and makes without a lock."""

    def __init__(self) -> None:
        self._making = threading.Lock()

    def get(self, key: Any, default: Any = None) -> Any:
        self._making.acquire()
        found = super().get(key, default)
        if found is not None:
            self._making.release()
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._making.release()


@pytest.fixture(autouse=True)
def _threads_share_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    if not SIMULATED:
        return
    shared = import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared
    begin = shared.__init__

    def begin_with_lock(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        self._allocations = Allocations()

    monkeypatch.setattr(shared, "__init__", begin_with_lock)


def same(left: Results, right: Results) -> bool:
    return all(
        left[name].dtype == right[name].dtype
        and np.array_equal(left[name], right[name], equal_nan=left[name].dtype.kind == "f")
        for name in left.keys() | right.keys()
    )


def stretches(points: int) -> npt.NDArray[np.float32]:
    return np.linspace(-0.001, 0.012, points, dtype=np.float32)


def couplings(points: int, last: float = 0.02) -> npt.NDArray[np.float32]:
    return np.linspace(0, last, points, dtype=np.float32)


def equals_reference(kernel: Kernel, column: npt.NDArray[np.float32], **scalars: int) -> bool:
    name = "eps" if kernel is elasticity.KERNEL else "coupling"
    return same(
        run_task(kernel, "cuda", scalars, {name: column}, {}),
        run_task(kernel, "reference", scalars, {name: column}, {}),
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.spec.name)
def test_a_board_knows_the_answers(kernel: Kernel) -> None:
    if SIMULATED:
        kernel = replace(kernel, canary=replace(kernel.canary, copies=1))
    outcome = run_canary(kernel, "cuda", count().__next__)
    assert outcome.passed, outcome.why


@pytest.mark.parametrize(("ticks", "record_every"), [(1, 0), (2, 1), (75, 7), (76, 1), (33, 16)])
def test_elasticity_equals_the_reference(ticks: int, record_every: int) -> None:
    column = stretches(150)
    assert equals_reference(elasticity.KERNEL, column, ticks=ticks, record_every=record_every)


@real_sizes
def test_elasticity_stays_equal_where_numbers_become_subnormal() -> None:
    asked = {"ticks": 152_000, "record_every": 1_000}
    assert equals_reference(elasticity.KERNEL, np.zeros(2, np.float32), **asked)


@pytest.mark.parametrize("pockets", [2, 3, 4, 5, 8, 31, 32])
def test_small_rings_equal_the_reference(pockets: int) -> None:
    column = couplings(7 if SIMULATED else 1_000)
    assert equals_reference(harmonic.KERNEL, column, pockets=pockets, ticks=20, record_every=9)


def test_an_unstable_ring_overflows_in_the_same_tick() -> None:
    column = couplings(2)
    assert equals_reference(harmonic.KERNEL, column, pockets=4, ticks=75, record_every=1)


def test_a_ring_that_converges_says_so_at_the_same_tick() -> None:
    name = {"coupling": couplings(3, 0.008)}
    asked = {"pockets": 2, "ticks": 300 if SIMULATED else 3_000}
    found = run_task(harmonic.KERNEL, "cuda", asked, name, {})["converged_tick"]
    assert (
        found.tolist()
        == run_task(harmonic.KERNEL, "reference", asked, name, {})["converged_tick"].tolist()
    )
    assert found.any()


@pytest.mark.parametrize("pockets", [33, 300])
def test_large_rings_equal_the_reference(pockets: int) -> None:
    column = couplings(1 if SIMULATED else 100, 0.008) + np.float32(1e-4)
    assert equals_reference(harmonic.KERNEL, column, pockets=pockets, ticks=3, record_every=2)


@simulator_only
def test_a_ring_of_several_blocks_and_tiles_equals_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import qallow_agent.kernels.harmonic.cuda as backend  # noqa: PLC0415 - needs a CUDA module
    from qallow_agent.kernels.harmonic import cuda_large, reference  # noqa: PLC0415

    for module in (backend, cuda_large, reference):
        monkeypatch.setattr(module, "SUM_CHUNK", 512)
    monkeypatch.setattr(cuda_large, "TILE", 256)
    column = np.array([0.003], np.float32)
    assert equals_reference(harmonic.KERNEL, column, pockets=900, ticks=2, record_every=1)


@real_sizes
@pytest.mark.parametrize("pockets", [4_096, 65_536, 65_537, 200_000])
def test_rings_of_several_blocks_and_tiles_equal_the_reference(pockets: int) -> None:
    column = couplings(2, 0.008)
    assert equals_reference(harmonic.KERNEL, column, pockets=pockets, ticks=6, record_every=4)


def test_the_cut_of_a_sweep_into_tasks_does_not_change_results() -> None:
    column, asked = couplings(20), {"pockets": 4, "ticks": 10}
    whole = run_task(harmonic.KERNEL, "cuda", asked, {"coupling": column}, {})
    parts = [
        run_task(harmonic.KERNEL, "cuda", asked, {"coupling": column[begin:end]}, {})
        for begin, end in pairwise([0, 1, 3, 20])
    ]
    assert same(whole, {key: np.concatenate([part[key] for part in parts]) for key in whole})


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.spec.name)
def test_the_cut_of_a_simulation_into_launches_does_not_change_results(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qallow_agent.kernels import board  # noqa: PLC0415 - needs a CUDA module

    monkeypatch.setattr(board, "LAUNCH_TICKS", 4)
    assert equals_reference(kernel, couplings(5), ticks=23, record_every=3)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.spec.name)
def test_a_batch_larger_than_the_board_runs_in_parts(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_free(monkeypatch, 1_000)
    assert equals_reference(kernel, couplings(40), ticks=5)


def test_a_run_larger_than_the_board_is_refused_and_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_free(monkeypatch, 100_000)
    with pytest.raises(DeviceMemory, match="one run needs"):
        run_task(harmonic.KERNEL, "cuda", {"pockets": 10_000, "ticks": 1}, {}, {})


def has_free(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    from numba import cuda  # noqa: PLC0415 - needs a CUDA module

    context = type(cuda.current_context())
    monkeypatch.setattr(context, "get_memory_info", lambda _: (free_bytes, free_bytes))


def test_what_cuda_raises_is_sorted_by_blame() -> None:
    from numba.cuda.cudadrv.driver import CudaAPIError  # noqa: PLC0415 - needs a CUDA module

    from qallow_agent.kernels.board import explained  # noqa: PLC0415 - likewise

    with pytest.raises(DeviceMemory), explained():
        raise CudaAPIError(2, "cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(DeviceLost, match="UNKNOWN"), explained():
        raise CudaAPIError(999, "cuCtxSynchronize results in CUDA_ERROR_UNKNOWN")
    with pytest.raises(DeviceLost, match="does not start"), explained():
        raise ImportError("CUDA driver library cannot be found")
