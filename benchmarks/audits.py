"""What it costs to have answers compared: ratios to the same work without, in real agents.

Two agents on this machine, one runner each, and three kinds of work: empty tasks one at a time,
many empty tasks at once, and a sweep of the elasticity kernel. Each round measures all of them
plain, with audits of 1 % in the background, and with ``verify=2``, in another order.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import describe

from qallow_agent.client.session import Mesh, connect
from qallow_agent.testing.agents import AgentProcess

HERE = Path(__file__).parent
SETTINGS = (
    "devices.cpu_slots=1",
    "devices.gpu=off",
    "mesh.sync.ntp_servers=",
    "kernels.modules=plugin_kernels:NOOP",
    f"runners.import_paths={HERE}",
)
ONE_BY_ONE, AT_ONCE, POINTS = 500, 20_000, 40_000
READY_S = 120.0


def one_at_a_time(mesh: Mesh, verify: int) -> float:
    """Return seconds of an empty task, submitted and awaited."""
    began_s = time.perf_counter()
    for number in range(ONE_BY_ONE):
        mesh.submit("bench-noop", value=float(number), verify=verify).result(60)
    return (time.perf_counter() - began_s) / ONE_BY_ONE


def at_once(mesh: Mesh, verify: int) -> float:
    """Return seconds of an empty task among many."""
    began_s = time.perf_counter()
    futures = [mesh.submit("bench-noop", value=1.0, verify=verify) for _ in range(AT_ONCE)]
    for future in futures:
        future.result(120)
    return (time.perf_counter() - began_s) / AT_ONCE


def sweep(mesh: Mesh, verify: int) -> float:
    """Return seconds of a point of a sweep."""
    axis = [1e-6 * number for number in range(1, POINTS + 1)]
    began_s = time.perf_counter()
    for _ in mesh.map("elasticity", {"eps": axis}, ticks=1_000, verify=verify).blocks():
        pass
    return (time.perf_counter() - began_s) / POINTS


WORK: dict[str, Callable[[Mesh, int], float]] = {
    "empty task, one at a time": one_at_a_time,
    "many empty tasks": at_once,
    "sweep of elasticity, 1,000 ticks": sweep,
}
WAYS = {"plain": ("0", 1), "audits of 1 %": ("0.01", 1), "verify=2": ("0", 2)}


def measure(way: str, folder: Path, cache: Path) -> dict[str, float]:
    """Return seconds of each kind of work, on a fresh mesh of two agents.

    Args:
        way: A key of ``WAYS``.
        folder: For this mesh alone.
        cache: Compiled kernels, for all of them.
    """
    share, verify = WAYS[way]
    environment = os.environ | {
        "HOME": str(folder),
        "PYTHONPATH": str(HERE),
        "QALLOW_NODE__CACHE_DIR": str(cache),
    }
    settings = (*SETTINGS, f"ethics.audit_share={share}")
    one = AgentProcess("one", folder / "one", settings, environment)
    two = AgentProcess("two", folder / "two", settings, environment)
    try:
        one.start().wait_ready()
        two.start(one.invite()).wait_ready()
        end_s = time.monotonic() + READY_S
        while sum(row["state"] == "ok" for row in one.ask("devices")["devices"]) < 2:
            if time.monotonic() > end_s:
                raise TimeoutError(one.log + two.log)
            time.sleep(0.2)
        with connect(one.socket) as mesh:
            for work in WORK.values():
                work(mesh, verify)  # runners warm up
            return {name: work(mesh, verify) for name, work in WORK.items()}
    finally:
        two.close()
        one.close()


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found: dict[str, dict[str, list[float]]] = {way: {name: [] for name in WORK} for way in WAYS}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(rounds):
            order = list(WAYS)
            random.Random(number).shuffle(order)
            for way in order:
                with tempfile.TemporaryDirectory() as folder:
                    for name, seconds in measure(way, Path(folder), Path(cache)).items():
                        found[way][name].append(seconds)
    print("\n".join(describe()))
    print(f"\n| work | {' | '.join(WAYS)} |\n|---|{'---:|' * len(WAYS)}")
    for name in WORK:
        plain_s = statistics.median(found["plain"][name])
        cells = []
        for way in WAYS:
            each_s = found[way][name]
            middle_s = statistics.median(each_s)
            spread = f"{min(each_s) * 1e6:,.3g}-{max(each_s) * 1e6:,.3g}"
            cells.append(f"{middle_s * 1e6:,.3g} us ({spread}), {middle_s / plain_s:.2f}x")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
