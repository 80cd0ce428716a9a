"""What fingerprints cost: the same work with and without them, in turn, on one agent.

Usage: ``python benchmarks/fingerprints.py [--rounds N]``. Prints medians and their ratio.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qallow_agent.client.session import Mesh, connect
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.testing.agents import AgentProcess

HERE = Path(__file__).resolve().parent
SETTINGS = (
    "runners.threads=1",
    "devices.cpu_slots=1",
    "jobs.max_slots=1",
    "kernels.modules=plugin_kernels:NOOP,plugin_kernels:ECHO",
    f"runners.import_paths={HERE}",
)
TASKS = 5_000
RESULTS = 200_000
POINTS = 2_000_000
ARRAY_ITEMS = 16 << 20
ARRAYS = 4
ANSWER_S = 120.0
OPTIONS = {hashed: JobOptions(fingerprint=hashed) for hashed in (True, False)}
REST_S = 0.1

Work = Callable[[bool], int]
"""Does some work, with fingerprints or without; returns how much that was."""


def works(mesh: Mesh) -> dict[str, Work]:
    """Return the kinds of work that are measured, by what they count."""
    few = np.linspace(0, 0.01, RESULTS, dtype="f4")
    many = np.linspace(0, 0.01, POINTS, dtype="f4")
    large = np.zeros(ARRAY_ITEMS, "f4")

    def submits(hashed: bool) -> int:  # noqa: FBT001 - all of one type
        options = OPTIONS[hashed]
        futures = [mesh.submit("bench-noop", options=options) for _ in range(TASKS)]
        return len([future.result(ANSWER_S) for future in futures])

    def results(hashed: bool) -> int:  # noqa: FBT001
        return sum(1 for _ in mesh.map("bench-noop", {"value": few}, fingerprint=hashed))

    def blocks(hashed: bool) -> int:  # noqa: FBT001
        sweep = mesh.map("bench-noop", {"value": many}, ordered=False, fingerprint=hashed)
        return sum(block.points for block in sweep.blocks())

    def ticks(hashed: bool) -> int:  # noqa: FBT001
        axes = {"eps": many}
        sweep = mesh.map("elasticity", axes, ordered=False, fingerprint=hashed, ticks=1)
        return sum(block.points for block in sweep.blocks())

    def rings(hashed: bool) -> int:  # noqa: FBT001
        axes = {"coupling": np.linspace(1e-4, 8e-3, RESULTS)}
        sweep = mesh.map("harmonic", axes, ordered=False, fingerprint=hashed, pockets=32, ticks=400)
        return sum(block.points for block in sweep.blocks())

    def arrays(hashed: bool) -> int:  # noqa: FBT001
        for _ in range(ARRAYS):
            mesh.submit("bench-echo", options=OPTIONS[hashed], data=large).result(ANSWER_S)
        return ARRAYS * large.nbytes >> 20

    return {
        "single empty tasks a second": submits,
        "results of an empty map a second": results,
        "points of an empty map a second, as blocks": blocks,
        "points of elasticity a second, one tick each": ticks,
        "points of harmonic a second, 32 pockets, 400 ticks": rings,
        "MiB of an array a second, there and back": arrays,
    }


def measure(work: Work, rounds: int) -> tuple[float, float]:
    """Return how much is done a second without fingerprints, and with them."""
    work(True)  # the first runner starts and compiles
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * rounds):
        hashed = number % 4 in {1, 2}
        time.sleep(REST_S)
        work(hashed)  # the one runner changes hands between jobs
        began_s = time.perf_counter()
        found[hashed].append(work(hashed) / (time.perf_counter() - began_s))
    return statistics.median(found[False]), statistics.median(found[True])


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-fingerprints-") as folder:
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        agent = AgentProcess("box", Path(folder) / "box", SETTINGS, environment)
        try:
            agent.start().wait_ready(60.0)
            with connect(agent.socket) as mesh:
                for name, work in works(mesh).items():
                    without, with_them = measure(work, rounds)
                    ratio = with_them / without
                    print(f"{name}: {without:,.0f} without, {with_them:,.0f} with: {ratio:.3f}")
        finally:
            agent.close()


if __name__ == "__main__":
    main()
