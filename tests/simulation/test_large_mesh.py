from dataclasses import replace
from types import SimpleNamespace

import pytest

from qallow_agent.mesh.discovery.settings import DiscoverySettings
from qallow_agent.mesh.wire.kinds import MemberState
from qallow_agent.testing.simulation import Simulation

COUNT = 60


@pytest.mark.timeout(120)
def test_sixty_boxes_on_sixty_lans_find_each_other_through_one_seed(
    tools: SimpleNamespace,
) -> None:
    plan = tools.plan(1, pulse_s=5.0, check_every=50)
    plan.rooms = replace(plan.rooms, discovery=DiscoverySettings(seeds=("10.0.0.2:7946",)))
    simulation = Simulation(plan)
    names = [f"n{number}" for number in range(COUNT)]
    for name in names:
        simulation.add(name, lan=name)
    simulation.mesh(names)
    simulation.settle(10.0)

    simulation.faults.kill("n7")
    others = [name for name in names if name != "n7"]
    dead = MemberState.DEAD
    took_s = simulation.until(
        lambda: all(simulation.laws.believed(name, "n7") is dead for name in others),
        10.0,
        every_s=0.1,
    )
    assert took_s < 4.0
