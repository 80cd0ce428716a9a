"""What a user's program is told by mypy, in its strictest mode."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, as_completed, wait

import qallow_agent as qa


def frames() -> Iterator[dict[str, float]]:
    yield {"eps": 1e-4}


async def camera() -> AsyncIterator[dict[str, float]]:
    yield {"eps": 1e-4}


def main() -> None:
    with qa.connect() as mesh:
        future: qa.JobFuture = mesh.submit("harmonic", pockets=32, deadline="2s")
        result: qa.Result = future.result(timeout=10)
        print(result.where, result.seconds, result.values["avg_coherence"].mean())
        sweep = mesh.map("elasticity", {"eps": [1e-5, 1e-4]}, ticks=1000, progress=True)
        for point in sweep:
            print(point.index, point.E)
        for block in mesh.map("elasticity", qa.Columns({"eps": [1e-5, 1e-4]})).blocks():
            print(block.start, block.arrays()["E"].shape)
        left_out: list[str] = mesh.map("elasticity", qa.read_columns("a.csv")).save("out.npz")
        print(left_out, mesh.map("elasticity", [{"eps": 0.1}]).arrays()["E"].dtype)
        with mesh.stream("elasticity", frames(), ahead=8) as results:
            print(next(results).index)


def pool() -> None:
    with qa.Executor(deadline="10s") as pool:
        futures = [pool.submit("elasticity", eps=eps) for eps in (1e-5, 1e-4)]
        waited: set[Future[qa.Result]] = set(wait(futures, 10).done)
        print(waited, [each.result().E for each in as_completed(futures)])
        print([each.index for each in pool.map("elasticity", [1e-5, 1e-4], timeout=5)])


async def loop() -> None:
    async with qa.aconnect() as mesh:
        result: qa.Result = await mesh.submit("harmonic", options=qa.JobOptions(priority=1))
        print(result.where)
        async for part in mesh.stream("elasticity", camera()):
            print(part.index)
        async with mesh.map("elasticity", {"eps": [1e-5]}) as sweep:
            print(await sweep.job(), [each.index async for each in sweep])


main()
pool()
asyncio.run(loop())
"""

MISTAKES = """
import qallow_agent as qa

with qa.connect(timeout_s="soon") as mesh:
    mesh.submit(pow)
    mesh.map("elasticity", {"eps": [1.0]}, progress="yes")
    result: str = mesh.submit("harmonic").result()
    mesh.strem("elasticity", [])
"""


def check(text: str, folder: Path, cache: Path) -> list[str]:
    """Return what mypy says of a program."""
    (folder / "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context",
         "--follow-imports=silent", "--config-file=", "--cache-dir", str(cache), "program.py"],
        cwd=folder, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_a_users_program_passes_in_strict_mode(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cache = Path(request.config.cache.mkdir("qallow-mypy"))
    assert check(PROGRAM, tmp_path, cache) == []
    found = [int(line.split(":")[1]) for line in check(MISTAKES, tmp_path, cache)]
    assert found == [4, 5, 6, 7, 8]
