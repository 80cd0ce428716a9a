import os
from collections.abc import Iterator

import pytest

from qallow_agent.base.machine import Instant
from qallow_agent.mesh.io.port import Arrival, KnockFailed
from qallow_agent.mesh.io.readiness import Readiness

ARRIVAL = KnockFailed("@x", "why", Instant(0.0, 0))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def readiness() -> Iterator[Readiness]:
    made = Readiness()
    yield made
    made.close()


def test_a_source_is_read_once_when_watched_and_then_when_readable(
    readiness: Readiness, pipe: tuple[int, int]
) -> None:
    def source(arrivals: list[Arrival]) -> bool:
        arrivals.append(ARRIVAL)
        return False

    readiness.watch(pipe[0], source)
    assert readiness.stirred
    assert readiness.collect() == [ARRIVAL]
    assert readiness.collect() == []
    os.write(pipe[1], b"x")
    assert readiness.collect() == [ARRIVAL]


def test_a_source_with_more_is_read_again_without_a_signal(
    readiness: Readiness, pipe: tuple[int, int]
) -> None:
    left = [True, False]
    readiness.watch(pipe[0], lambda _: left.pop(0))
    readiness.collect()
    assert readiness.stirred
    readiness.collect()
    assert not readiness.stirred


def test_a_source_forgotten_by_another_is_not_read(
    readiness: Readiness, pipe: tuple[int, int]
) -> None:
    read: list[int] = []

    def selfish(_: list[Arrival]) -> bool:
        for end in pipe:
            readiness.forget(end)
        read.append(1)
        return True

    readiness.watch(pipe[0], selfish)
    readiness.watch(pipe[1], selfish)
    readiness.collect()
    readiness.collect()
    assert read == [1]
    readiness.stir(pipe[0])
    assert not readiness.stirred
