"""Plans of simulations that are cheap enough to run in dozens."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from qallow_agent.jobs.messages import JobOptions
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.mesh.sync.settings import SyncSettings
from qallow_agent.testing.effort import Order
from qallow_agent.testing.simulation import Plan, Simulation


def plan(seed: int = 0, pulse_s: float = 1.0, **changes: object) -> Plan:
    made = Plan(seed=seed, dispatch=DispatchSettings(slice_s=0.4), **changes)  # type: ignore[arg-type]
    made.rooms = replace(made.rooms, sync=SyncSettings(pulse_s=pulse_s, pulse_max_s=10.0))
    return made


def order(points: int = 6000, **changes: object) -> Order:
    options = JobOptions(retries=100, start_s=300.0)
    return Order(points=points, slots=6, options=options, **changes)  # type: ignore[arg-type]


def small(names: str = "abc", seed: int = 0, **changes: object) -> Simulation:
    simulation = Simulation(plan(seed, **changes))
    simulation.mesh(list(names))
    simulation.settle()
    simulation.run(3.0)
    return simulation


@pytest.fixture
def tools() -> SimpleNamespace:
    return SimpleNamespace(plan=plan, order=order, small=small)
