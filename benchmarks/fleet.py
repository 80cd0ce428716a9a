"""Placement against simpler policies, an oracle, and the clock: ratios of seeded fleets.

``python benchmarks/fleet.py`` prints, for fleets of several loads, the mean and p99 slowdown of
each policy divided by the oracle's, and how long one decision takes with 1,000 devices.
"""

import argparse
import random
import time
from collections.abc import Callable
from statistics import geometric_mean

from qallow_agent.base.ids import NodeId
from qallow_agent.placement.forecast import forecast, judge
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.router import choose
from qallow_agent.placement.settings import PlacementSettings
from qallow_agent.testing.fleet import HASH, KERNEL, POLICIES, FleetPlan, play

LOADS = (0.3, 0.5, 0.7)
DEVICES = 1_000
REPEATS = 20


def ratios(seeds: int, tasks: int, owners: int) -> None:
    """Print each policy's slowdowns as multiples of the oracle's, over some seeds."""
    print(f"slowdown / the oracle's, {seeds} fleets of 24 machines, {owners} owners, {tasks} tasks")
    print(f"{'policy':<14}" + "".join(f"{f'load {load}: mean':>18}{'p99':>8}" for load in LOADS))
    plans = {
        load: [FleetPlan(seed, load=load, tasks=tasks, owners=owners) for seed in range(seeds)]
        for load in LOADS
    }
    best = {load: [play(plan, POLICIES["oracle"]) for plan in plans[load]] for load in LOADS}
    for name, policy in POLICIES.items():
        cells = ""
        for load in LOADS:
            found = [play(plan, policy) for plan in plans[load]]
            pairs = list(zip(found, best[load], strict=True))
            mean = geometric_mean([one.mean / other.mean for one, other in pairs])
            p99 = geometric_mean([one.p99 / other.p99 for one, other in pairs])
            cells += f"{mean:>18.2f}{p99:>8.2f}"
        print(f"{name:<14}{cells}")


def decisions() -> None:
    """Print the processor time of one decision about 1,000 devices, at best of several."""
    rng, settings = random.Random(1), PlacementSettings()
    book = [
        Candidate(
            node=NodeId(f"box{number}"), node_name=f"box{number}", device="cpu0", kind="cpu",
            state="ok", slots=rng.choice([2, 8, 64]), busy=rng.randrange(3),
            memory_bytes=8 << 30, kernels={KERNEL: HASH}, rate=10 ** rng.uniform(8, 10),
            rtt_s=0.001, warm=1, model=rng.choice("ABC"),
        )
        for number in range(DEVICES)
    ]  # fmt: skip
    request = Request(KERNEL, HASH, slots=256, points=100_000, ops=1e8)
    measured: dict[str, Callable[[], object]] = {
        "refuse a deadline": lambda: judge(request, 1e-3, forecast(request, book, settings)),
        "choose 256 slots and explain": lambda: choose(request, book, settings, rng),
    }
    print(f"\nprocessor time with {DEVICES:,} devices, best of {REPEATS}")
    for name, act in measured.items():
        spent: list[float] = []
        for _ in range(REPEATS):
            began_s = time.process_time()
            act()
            spent.append(time.process_time() - began_s)
        print(f"{name:<30}{min(spent) * 1e3:>8.1f} ms")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--owners", type=int, default=4)
    given = parser.parse_args()
    ratios(given.seeds, given.tasks, given.owners)
    decisions()


if __name__ == "__main__":
    main()
