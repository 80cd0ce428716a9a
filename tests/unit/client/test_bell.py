import select
from collections.abc import Iterator

import pytest

from qallow_agent.client.bell import Bell


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell()
    yield made
    made.close()


def rings(bell: Bell) -> bool:
    return bool(select.select([bell.fileno()], [], [], 0)[0])


def test_ringing_wakes_a_sleeper_once(bell: Bell) -> None:
    bell.asleep = True
    bell.ring()
    bell.ring()
    assert rings(bell)
    bell.hear()
    assert not rings(bell)


def test_ringing_costs_nothing_when_nobody_sleeps(bell: Bell) -> None:
    bell.ring()
    assert not rings(bell)
    bell.hear()


def test_ringing_a_closed_bell_is_harmless() -> None:
    bell = Bell()
    bell.close()
    bell.asleep = True
    bell.ring()
