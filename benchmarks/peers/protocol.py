"""How ``run.py`` talks to the process that drives a peer: a JSON line each way.

A peer has a method for each measurement it offers, which takes how long it may take and returns
figures. What a peer does not offer shows as a dash.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil

Values = dict[str, float]

LEAST_ROUND_TRIPS = 50
RAMP_SHARE = 0.1


class Peer(Protocol):
    """A system that is measured."""

    def start(self, seconds: float) -> Values:
        """Start everything, and measure how long that takes."""

    def stop(self) -> None:
        """End everything."""


def serve(peer: Peer) -> None:
    """Answer every request of ``run.py`` until it hangs up, then stop what was started.

    Whatever a peer prints goes to stderr: stdout carries answers only.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        for line in sys.stdin:
            request = json.loads(line)
            answers.write(json.dumps(_answer(peer, request)) + "\n")
            answers.flush()
    finally:
        peer.stop()


def _answer(peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
    measure = getattr(peer, request["do"], None)
    if measure is None:
        return {"values": {}}
    try:
        return {"values": measure(request["seconds"])}
    except ImportError as error:
        return {"failed": "not installed", "why": str(error)}
    except Exception as error:  # noqa: BLE001 - a peer is foreign code: its failure is a result
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}


def round_trips(one: Callable[[], object], seconds: float) -> Values:
    """Return the median and the 99th percentile of single round trips, in microseconds."""
    _repeat(one, seconds * RAMP_SHARE)
    took = sorted(_repeat(one, seconds))
    p99 = took[min(len(took) - 1, round(len(took) * 0.99))]
    return {"trip_p50": took[len(took) // 2] * 1e6, "trip_p99": p99 * 1e6}


def rate(batch: Callable[[], int], seconds: float) -> float:
    """Return how many a second come back, over as many batches as fit; the first warms up."""
    batch()
    done, began_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - began_s) < seconds or not done:
        done += batch()
    return done / elapsed_s


def middle_s(one: Callable[[], object], seconds: float) -> float:
    """Return the median seconds of something long; the first time warms up."""
    one()
    took = sorted(_repeat(one, seconds, least=3))
    return took[len(took) // 2]


def _repeat(
    one: Callable[[], object], seconds: float, least: int = LEAST_ROUND_TRIPS
) -> list[float]:
    took: list[float] = []
    end_s = time.perf_counter() + seconds
    while len(took) < least or time.perf_counter() < end_s:
        began_s = time.perf_counter()
        one()
        took.append(time.perf_counter() - began_s)
    return took


def idle(seconds: float, alone: Iterable[int], groups: Iterable[Iterable[int]]) -> Values:
    """Return what processes cost while nothing is asked of them.

    Args:
        seconds: How long to look.
        alone: The processes whose own memory is of interest, one a node; medians of them.
        groups: For each node its root processes; with their descendants they are all it runs.
    """
    single, roots = list(alone), [list(group) for group in groups]
    before = _used([single, *roots])
    time.sleep(seconds)
    trees = [_family(group) for group in roots]
    after = _used([single, *trees])
    values: Values = {}
    if single:
        values["idle_rss"] = _middle(_rss_mib(pid) for pid in single)
        values["idle_cpu"] = _middle(_spent(before, after, [pid], seconds) for pid in single)
        values["idle_wakeups"] = _middle(
            (after[pid][1] - before[pid][1]) / seconds for pid in single if pid in before
        )
    values["idle_all_memory"] = _middle(sum(map(_pss_mib, tree)) for tree in trees)
    values["idle_all_cpu"] = _middle(_spent(before, after, tree, seconds) for tree in trees)
    return values


def _family(roots: Iterable[int]) -> list[int]:
    found: dict[int, None] = {}
    for root in roots:
        found[root] = None
        found.update(dict.fromkeys(child.pid for child in psutil.Process(root).children(True)))
    return list(found)


def _used(groups: Iterable[Iterable[int]]) -> dict[int, tuple[float, int]]:
    """Return CPU seconds and voluntary context switches of some processes and all below them."""
    used: dict[int, tuple[float, int]] = {}
    for pid in (pid for group in groups for pid in _family(group)):
        try:
            times = psutil.Process(pid).cpu_times()
            used[pid] = (times.user + times.system, _switches(pid))
        except (psutil.Error, OSError):
            continue  # it ended meanwhile
    return used


def _spent(
    before: Mapping[int, tuple[float, int]],
    after: Mapping[int, tuple[float, int]],
    pids: Iterable[int],
    seconds: float,
) -> float:
    """Return percent of one core."""
    nothing = (0.0, 0)
    spent = sum(after.get(pid, nothing)[0] - before.get(pid, nothing)[0] for pid in pids)
    return max(0.0, 100 * spent / seconds)


def _switches(pid: int) -> int:
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        lines = (thread / "status").read_text(encoding="utf-8").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
    return total


def _rss_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def _pss_mib(pid: int) -> float:
    """Return its memory, that shared with n processes counted as an n-th."""
    try:
        return float(psutil.Process(pid).memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


def _middle(numbers: Iterable[float]) -> float:
    ordered = sorted(numbers)
    return ordered[len(ordered) // 2]
