"""One seed, one run: the same under every hash seed, another one under another seed."""

import os
import subprocess
import sys

PROGRAM = """
from random import Random
from qallow_agent.testing.chaos import Chaos
from qallow_agent.testing.effort import Order
from qallow_agent.testing.simulation import Plan, Simulation

simulation = Simulation(Plan(seed={seed}))
simulation.mesh(["a", "b", "c", "d"])
simulation.run(2.0)
simulation.submit("a", Order(points=500))
Chaos(simulation, Random("chaos")).torment(6.0)
simulation.run(2.0)
print(simulation.record.steps, simulation.record.digest())
"""


def trace(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(seed=seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_same_seed_gives_the_same_trace_under_any_hash_seed() -> None:
    traces = [trace(5, hash_seed) for hash_seed in ("0", "1", "4242")]
    assert traces[0]
    assert traces[1:] == traces[:1] * 2


def test_another_seed_gives_another_trace() -> None:
    assert trace(5, "0") != trace(6, "0")
