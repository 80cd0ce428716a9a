"""Golden results and blobs: changing one needs a new version of the kernel or of the format."""

import hashlib

import numpy as np
import pytest

import qallow_agent.kernels.elasticity.cpu
import qallow_agent.kernels.harmonic.cpu  # noqa: F401 - compiles while tests are collected
from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.spec import Kernel
from qallow_agent.kernels.state import Checkpoint, Section, encode_checkpoint

CASES = [
    (
        elasticity.KERNEL,
        {"record_every": 100},
        {"eps": [0.0, 1e-4, 0.01]},
        "cf0a0d237ec752ad243383d878f6b4f5a0fa61b07acb3675011a218bb02194dc",
    ),
    (
        harmonic.KERNEL,
        {"record_every": 100},
        {"coupling": [0.0, 1e-3, 5e-3]},
        "7391e39bc61747d72f73488d5fe2295f645215d24515c661b237021fb940fb0f",
    ),
    (
        harmonic.KERNEL,
        {"pockets": 100, "ticks": 50},
        {"coupling": [1e-3]},
        "11d5c74f2ae62682c2710fc0ba8bea1febd7431e58838d33b2d9c826a951e6eb",
    ),
]
"""Kernel, scalars, columns, SHA-256 of all outputs in declared order."""


@pytest.mark.parametrize(("kernel", "scalars", "columns", "expected"), CASES)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_results_are_the_golden_ones(
    kernel: Kernel,
    backend: str,
    scalars: dict[str, object],
    columns: dict[str, list[float]],
    expected: str,
) -> None:
    arrays = {name: np.array(column, np.float32) for name, column in columns.items()}
    results = run_task(kernel, backend, scalars, arrays, {})
    digest = hashlib.sha256()
    for output in kernel.spec.outputs:
        digest.update(results[output.name].tobytes())
    assert digest.hexdigest() == expected


def test_a_checkpoint_has_its_golden_bytes() -> None:
    section = Section("phase", "f4", (1,), np.float32(0.5).tobytes())
    blob = encode_checkpoint(
        Checkpoint("ab" * 32, 1000, "", (section,), 1, ("attempt:a",), {"ticks": 2000})
    )
    assert (
        blob
        == bytes.fromhex(
            "71616c6c6f7743320000008c"  # magic, header length
            "98d940" + "6162" * 32 + "cd03e8a0"  # kernel hash, tick, no previous
            "c420d99e58435243d9fef9c88273b8d553b4fba4d0baf8009d29eae74fa99e0d9f57"  # body hash
            "9193a57068617365a266349101"  # heads
            "0191a9617474656d70743a6181a57469636b73cd07d0"  # epoch, parents, parameters
            "0000003f"  # body
        )
    )
