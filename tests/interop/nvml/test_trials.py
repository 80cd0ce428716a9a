"""``kernels test`` beside a fake driver: its boards compute in numba's simulator only."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


def try_kernel(library: Path, folder: Path, **variables: str) -> Any:
    (folder / "gpu.txt").write_text("boards 2\n")
    return subprocess.run(
        [sys.executable, "-m", "qallow_agent.cli.main", "kernels", "test", "elasticity",
         "--device", "gpu1", "--json"],
        env={**os.environ, "FAKE_NVML": str(folder / "gpu.txt"), "LD_LIBRARY_PATH": str(library),
             "PYTHONPATH": str(folder), **variables},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.timeout(60)
def test_kernels_are_tried_on_a_board_that_has_what_they_need(
    library: Path, tmp_path: Path
) -> None:
    (tmp_path / "numba_cuda").mkdir()
    (tmp_path / "numba_cuda" / "__init__.py").touch()
    done = try_kernel(library, tmp_path, NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    [trial] = json.loads(done.stdout)["trials"]
    assert (trial["device"], trial["backend"], trial["max_error"]) == ("gpu1", "cuda", 0.0)


@pytest.mark.skipif(find_spec("numba_cuda") is not None, reason="numba-cuda is installed")
def test_a_board_without_what_kernels_need_is_left_out_with_the_fix(
    library: Path, tmp_path: Path
) -> None:
    done = try_kernel(library, tmp_path)
    assert done.returncode == 1
    assert "pip install 'qallow-agent[gpu]'" in done.stderr
