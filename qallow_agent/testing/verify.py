"""Check a sweep's results: every point once, and some of them bit for bit against the reference."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.registry import load_catalog

_SAMPLES = 3


def main(words: Sequence[str]) -> int:
    """Check ``DIR/results.npz`` of a harmonic sweep of ``POINTS`` points; 0 when it is right."""
    folder, points = Path(words[0]), int(words[1])
    kernel = load_catalog().get("harmonic")
    with np.load(folder / "results.npz") as results:
        everyone = np.array_equal(results["point"], np.arange(points))
        print(f"{len(results['point']):,} of {points:,} points, each once: {_yes(everyone)}")
        same = True
        for point in np.linspace(0, points - 1, _SAMPLES).astype(int):
            scalars = {"coupling": float(results["coupling"][point]), "pockets": 32, "ticks": 400}
            wanted = run_task(kernel, "reference", scalars, {}, {})
            same &= all(results[name][point].tobytes() == wanted[name].tobytes() for name in wanted)
        print(f"{_SAMPLES} points against the NumPy reference, bit for bit: {_yes(same)}")
    return 0 if everyone and same else 1


def _yes(fact: bool) -> str:  # noqa: FBT001 - one word for one fact
    return "yes" if fact else "NO"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
