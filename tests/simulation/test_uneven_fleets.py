"""Sweeps on machines of very different speed: nobody waits long for the slowest."""

import pytest

from qallow_agent.jobs.messages import JobOptions
from qallow_agent.testing.effort import Order
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Plan, Simulation

POINT_S = 0.02
START_S = 0.4
"""A runner's start and its connection, which no schedule can hide."""
WITHIN = 1.1
"""Of the ideal makespan: all runners busy to the end, points divided at will."""


def makespan(slow: float, points: int, seed: int) -> tuple[float, float]:
    """Return how long a sweep took on two machines and a slower one, and the ideal."""
    simulation = Simulation(Plan(seed=seed))
    simulation.add("slow", craft=Craft(point_s=POINT_S * slow))
    simulation.mesh(["a", "b", "slow"])
    simulation.settle()
    simulation.run(3.0)
    client = simulation.submit("a", Order(points=points, slots=6))
    began_s = simulation.now
    took_s = simulation.until(lambda: client.over, 600.0)
    assert client.effort.done == points
    assert simulation.now - began_s == took_s
    return took_s, points / (4 / POINT_S + 2 / (POINT_S * slow))


@pytest.mark.parametrize(("slow", "points"), [(1, 1_000), (10, 300), (10, 2_000), (100, 1_000)])
def test_a_sweep_ends_soon_after_the_ideal_however_slow_one_machine_is(
    slow: int, points: int
) -> None:
    took_s, ideal_s = makespan(slow, points, seed=slow + points)
    assert ideal_s <= took_s <= ideal_s * WITHIN + START_S


def test_points_are_shared_in_proportion_to_speed() -> None:
    simulation = Simulation(Plan(seed=4))
    simulation.add("slow", craft=Craft(point_s=POINT_S * 10))
    simulation.mesh(["a", "slow"])
    simulation.settle()
    simulation.run(3.0)
    client = simulation.submit("a", Order(points=2_000, slots=4))
    simulation.settle(120.0)
    share = client.effort.dispatcher.share
    assert share["a/cpu0"] / share["slow/cpu0"] == pytest.approx(10, rel=0.15)


def test_a_job_of_higher_priority_overtakes_one_that_holds_everything() -> None:
    simulation = Simulation(Plan(seed=5))
    simulation.mesh(["a"])
    simulation.settle()
    low = simulation.submit("a", Order(points=2_000, slots=2))
    simulation.run(2.0)
    high = simulation.submit("a", Order(points=200, slots=2, options=_priority(5)))
    simulation.until(lambda: high.over, 30.0)
    assert not low.over
    simulation.settle(120.0)
    assert (low.effort.done, high.effort.done) == (2_000, 200)


def test_a_job_of_lower_priority_is_served_in_the_end() -> None:
    simulation = Simulation(Plan(seed=6))
    simulation.mesh(["a"])
    simulation.settle()
    greedy = [
        simulation.submit("a", Order(points=6_000, slots=2, options=_priority(2))) for _ in range(2)
    ]
    low = simulation.submit("a", Order(points=20, slots=1, options=_priority(0)))
    simulation.until(lambda: low.over, 50.0)
    assert low.effort.done == 20
    assert not all(each.over for each in greedy)


def _priority(priority: int) -> JobOptions:
    return JobOptions(priority=priority, start_s=600.0)
