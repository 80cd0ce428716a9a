"""Decisions a second on one core: scored one by one, and as columns with their records packed.

Run it with ``python benchmarks/decisions.py``. It pins itself to one core and prints medians of
its rounds with the least and the most, and how many times faster the columns are.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable

import numpy as np

from qallow_agent.ethics.batch import first_verdicts, gather, pack_batch, score_batch
from qallow_agent.ethics.evidence import Evidence, digest
from qallow_agent.ethics.examples import START_MS, comfortable
from qallow_agent.ethics.gate import Gate
from qallow_agent.ethics.policy import preset
from qallow_agent.ethics.records import pack, record
from qallow_agent.ethics.score import score
from qallow_agent.ethics.signals import SCORED

POLICY = preset("desktop")
SEED = 7


def draw(count: int) -> list[Evidence]:
    """Return evidence of full length, each with one random signal somewhere on its ramp."""
    rng = random.Random(SEED)
    ramped = [each for each in SCORED if each.bad is not None and each.good is not None]
    found: list[Evidence] = []
    for number in range(count):
        signal = rng.choice(ramped)
        assert signal.bad is not None
        assert signal.good is not None
        share = rng.random()
        value = (signal.bad + (signal.good - signal.bad) * share) / 1e6
        found.append(comfortable({signal.id: value}, job=f"job-{number}"))
    return found


def rates(work: Callable[[], object], decisions: int, rounds: int) -> list[float]:
    """Return decisions a second of each round, after one that warms up."""
    work()
    found: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(decisions / (time.perf_counter() - start))
    return found


def show(label: str, values: list[float]) -> None:
    """Print one line: the median, the least and the most."""
    print(
        f"{label:48} {statistics.median(values):12,.0f}/s ({min(values):,.0f}-{max(values):,.0f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=100_000, help="decisions a round")
    parser.add_argument("--rounds", type=int, default=7)
    wanted = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    few = draw(2_000)
    once = gather(few, [START_MS] * len(few))
    repeats = max(1, wanted.decisions // len(few))
    many = type(once)(
        once.signals,
        np.asfortranarray(np.tile(once.values, (repeats, 1))),
        np.asfortranarray(np.tile(once.grades, (repeats, 1))),
        np.asfortranarray(np.tile(once.times_ms, (repeats, 1))),
        np.tile(once.now_ms, repeats),
    )
    count = len(many.now_ms)
    hashes = np.array([digest(each)[:24] for each in few] * repeats, "S24")
    ms = np.zeros(count, np.int64)

    def whole() -> bytes:
        found = score_batch(many, POLICY)
        return pack_batch(found, first_verdicts(found, POLICY.threshold), hashes, ms)

    def decide() -> None:
        gate = Gate()
        for each in few:
            found = score(each, POLICY, START_MS)
            pack(record(each, found, gate.judge("d", found, 0.0), START_MS))

    def plain() -> list[int]:
        return [score(each, POLICY, START_MS).e for each in few]

    assert plain() == score_batch(once, POLICY).e.tolist()
    one = rates(plain, len(few), wanted.rounds)
    columns = rates(lambda: score_batch(many, POLICY), count, wanted.rounds)
    show("score, one by one", one)
    show("score, verdict, digest and record, one by one", rates(decide, len(few), wanted.rounds))
    show("score, as columns", columns)
    show("score, verdict and record, as columns", rates(whole, count, wanted.rounds))
    show("evidence to columns", rates(lambda: gather(few, [START_MS] * len(few)), len(few), 3))
    ratio = statistics.median(columns) / statistics.median(one)
    print(f"{len(many.signals)} signals each; columns are {ratio:.0f} times faster")


if __name__ == "__main__":
    main()
