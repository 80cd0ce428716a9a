"""What the compilers make of the CUDA kernels, checked without a board.

Needs numba-cuda with NVIDIA's compiler (``make gpu``); the registers also need ``ptxas``, which
comes with it.
"""

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: make gpu", allow_module_level=True)

BOARDS = ((7, 5), (8, 7), (9, 0))
"""Turing, Jetson Orin and Hopper."""

REGISTERS = {"elasticity": 40, "small-32": 168, "large": 120}
"""Most a thread may take: three blocks of small rings, or one of a large ring, then share 65536."""

KERNELS = ("elasticity", "small-2", "small-7", "small-31", "small-32", "large", "close")


@pytest.fixture(autouse=True)
def _any_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer numba when it asks for which board to compile the functions that kernels call."""
    dispatcher = importlib.import_module("numba.cuda.dispatcher")
    board = SimpleNamespace(compute_capability=BOARDS[0])
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: board)


def kernel_of(name: str) -> tuple[Any, str]:
    if name == "elasticity":
        module = importlib.import_module("qallow_agent.kernels.elasticity.cuda")
        return module.simulate, module.SIGNATURE
    if name.startswith("small"):
        module = importlib.import_module("qallow_agent.kernels.harmonic.cuda_small")
        return module.simulator(int(name.partition("-")[2])), module.SIGNATURE
    module = importlib.import_module("qallow_agent.kernels.harmonic.cuda_large")
    if name == "close":
        return module.close, module.CLOSE_SIGNATURE
    return module.simulate, module.SIGNATURE


@cache
def ptx_of(name: str, board: tuple[int, int] = BOARDS[0]) -> str:
    from numba import cuda  # noqa: PLC0415 - only where it is installed
    from numba.core import sigutils  # noqa: PLC0415 - likewise

    function, signature = kernel_of(name)
    arguments, _ = sigutils.normalize_signature(signature)
    text, _ = cuda.compile_ptx(function.py_func, arguments, cc=board)
    return str(text)


def blocks(ptx: str) -> Iterator[list[str]]:
    """Yield the operations of each stretch of PTX without a label: a loop's body is one."""
    for part in re.split(r"^\$L\w+:", ptx, flags=re.MULTILINE):
        yield re.findall(r"^\s+(?:@!?%p\d+ )?([a-z]+[\w.]*)\s", part, flags=re.MULTILINE)


def longest(ptx: str) -> list[str]:
    return max(blocks(ptx), key=len)


def test_the_longest_stretch_of_a_text_is_found() -> None:
    text = "\tmov.u32 %r1, 1;\n$L__BB0_1:\n\tadd.f32 %f1, %f2;\n\t@%p1 bra $L__BB0_1;\n"
    assert longest(text) == ["add.f32", "bra"]


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_is_contracted_or_left_to_be(name: str) -> None:
    ptx = ptx_of(name)
    assert "fma." not in ptx
    assert "mad.f32" not in ptx
    assert re.findall(r"\smul\.f(?:32|64)", ptx) == [], "ptxas may contract these"
    assert ".ftz" not in ptx, "subnormal numbers must stay"
    assert "div.full" not in ptx
    assert "div.approx" not in ptx


@pytest.mark.parametrize("name", KERNELS)
def test_no_sum_depends_on_who_comes_first(name: str) -> None:
    assert re.findall(r"\s(?:atom|red)\.", ptx_of(name)) == []


@pytest.mark.parametrize("name", [name for name in KERNELS if name not in {"large", "close"}])
def test_what_needs_no_double_precision_has_none(name: str) -> None:
    assert ".f64" not in ptx_of(name)


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_lies_in_local_memory(name: str) -> None:
    assert ".local" not in ptx_of(name)


def test_a_tick_of_elasticity_is_six_operations() -> None:
    unroll = importlib.import_module("qallow_agent.kernels.elasticity.cuda").UNROLL
    loop = [operation for operation in longest(ptx_of("elasticity")) if operation != "mov.f32"]
    arithmetic = [operation for operation in loop if ".f32" in operation]
    assert len(arithmetic) == 6 * unroll
    assert len(loop) <= len(arithmetic) * 1.1


@pytest.mark.parametrize("pockets", [7, 31, 32])
def test_a_pocket_of_a_small_ring_is_arithmetic_alone(pockets: int) -> None:
    loop = [item for item in longest(ptx_of(f"small-{pockets}")) if not item.startswith("mov")]
    assert not any("shared" in item or "local" in item for item in loop)
    arithmetic = [item for item in loop if ".f32" in item]
    assert len(arithmetic) <= 26 * pockets + 40
    assert len(loop) <= len(arithmetic) + 15


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", KERNELS)
def test_every_board_keeps_all_in_registers(
    name: str, board: tuple[int, int], tmp_path: Path
) -> None:
    ptxas = find_ptxas()
    if ptxas is None:
        pytest.skip("no ptxas: make gpu installs one")
    source = tmp_path / "kernel.ptx"
    source.write_text(ptx_of(name, board))
    done = subprocess.run(
        [ptxas, "-v", f"-arch=sm_{board[0]}{board[1]}", str(source), "-o", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in done.stderr
    [registers] = map(int, re.findall(r"Used (\d+) registers", done.stderr))
    assert registers <= REGISTERS.get(name, 168)


def find_ptxas() -> str | None:
    package = find_spec("nvidia.cuda_nvcc")
    for folder in package.submodule_search_locations or () if package is not None else ():
        if (Path(folder) / "bin" / "ptxas").exists():
            return str(Path(folder) / "bin" / "ptxas")
    return shutil.which("ptxas")
