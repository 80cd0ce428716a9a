"""The real router against simpler ones and against one that knows everything."""

import random
from statistics import geometric_mean, median

import pytest

from qallow_agent.testing.fleet import (
    POLICIES,
    FleetPlan,
    bounded_pareto,
    draw_servers,
    draw_tasks,
    play,
)

NAIVE = ("random", "round-robin", "least-loaded")
MEAN_WITHIN, P99_WITHIN = 4.0, 6.0
"""Of the oracle, which sees every queue as it is, and every rate."""


def test_the_router_beats_simpler_policies_and_is_not_far_from_the_oracle() -> None:
    plans = [FleetPlan(seed, tasks=600, load=load) for seed, load in enumerate((0.3, 0.5, 0.7))]
    found = {name: [play(plan, policy) for plan in plans] for name, policy in POLICIES.items()}
    mean = {name: geometric_mean([each.mean for each in row]) for name, row in found.items()}
    p99 = {name: geometric_mean([each.p99 for each in row]) for name, row in found.items()}
    for name in NAIVE:
        assert mean["ours"] < mean[name], name
        assert p99["ours"] < p99[name], name
    assert mean["ours"] <= mean["oracle"] * MEAN_WITHIN
    assert p99["ours"] <= p99["oracle"] * P99_WITHIN


def test_the_same_seed_gives_the_same_figures() -> None:
    plan = FleetPlan(seed=4, tasks=100, machines=6)
    assert play(plan, POLICIES["ours"]) == play(plan, POLICIES["ours"])


def test_a_policy_cannot_beat_the_best_machine_alone() -> None:
    plan = FleetPlan(seed=5, tasks=50, load=0.01)
    found = play(plan, POLICIES["oracle"])
    assert found.median >= 1.0


def test_sizes_and_rates_are_as_wide_as_the_plan_says() -> None:
    plan = FleetPlan(seed=6, machines=200, gpus=0)
    servers = draw_servers(plan)
    rates = [server.rate for server in servers]
    assert 50 < max(rates) / min(rates) <= plan.spread
    sizes = [task.ops for task in draw_tasks(plan, servers)]
    assert max(sizes) / min(sizes) <= plan.sizes * 1.01
    largest = sorted(sizes)[-len(sizes) // 100 :]
    assert sum(largest) > 0.2 * sum(sizes)


def test_the_distribution_has_the_median_that_its_formula_gives() -> None:
    rng = random.Random(7)
    shape, most = 0.69, 1e4
    drawn = median(bounded_pareto(rng, shape, most) for _ in range(20_000))
    assert drawn == pytest.approx((1 - 0.5 * (1 - most**-shape)) ** (-1 / shape), rel=0.05)
