"""Whatever happens to a mesh of five, the laws hold, and in the end all is well."""

from random import Random
from types import SimpleNamespace

import pytest

from qallow_agent.jobs.messages import JobState
from qallow_agent.testing.chaos import Chaos
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Simulation

TORMENT_S = 60.0


def tormented(simulation: Simulation, seed: int, spare: tuple[str, ...] = ()) -> None:
    Chaos(simulation, Random(f"chaos/{seed}"), spare).torment(TORMENT_S)
    simulation.settle()


@pytest.mark.parametrize("seed", range(12))
def test_a_job_whose_owner_lives_loses_nothing_to_any_fault(
    tools: SimpleNamespace, seed: int
) -> None:
    # With meters: the joules of jobs and idling must add up whatever happens.
    simulation = tools.small("abcde", seed, craft=Craft(idle_w=20.0, busy_w=15.0))
    client = simulation.submit("a", tools.order(points=8000))
    tormented(simulation, seed, spare=("a",))
    assert (client.state, client.effort.done) == (JobState.SUCCEEDED, 8000)


@pytest.mark.parametrize("seed", range(100, 108))
def test_a_job_with_poison_ends_although_its_owner_may_die(
    tools: SimpleNamespace, seed: int
) -> None:
    simulation = tools.small("abcde", seed)
    client = simulation.submit("a", tools.order(poison=(77, 3000)))
    tormented(simulation, seed)
    assert client.state is JobState.FAILED
    assert client.effort.done + client.effort.failed == 6000
    assert client.effort.failed >= 2
