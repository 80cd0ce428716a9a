import os
import struct
from collections.abc import Iterator

import pytest

from qallow_agent.base.ids import LeaseId
from qallow_agent.runtime.slate import MAX_LEASE_BYTES, Running, Slate, canary_lease, make_slate


@pytest.fixture
def slates() -> Iterator[tuple[Slate, Slate]]:
    """Return the writer's and the reader's view of one memory."""
    descriptor = make_slate()
    writer, reader = Slate(descriptor), Slate(descriptor)
    os.close(descriptor)
    yield writer, reader
    writer.close()
    reader.close()


def test_a_fresh_slate_says_nothing_runs(slates: tuple[Slate, Slate]) -> None:
    _, reader = slates
    assert reader.read() is None


def test_the_reader_sees_the_task_that_runs(slates: tuple[Slate, Slate]) -> None:
    writer, reader = slates
    writer.lease(LeaseId("lease-a"))
    writer.begin(7, 2, 123.5)
    assert reader.read() == Running(LeaseId("lease-a"), 7, 2, 123.5)
    writer.end()
    assert reader.read() is None


def test_a_task_outlives_its_writer(slates: tuple[Slate, Slate]) -> None:
    writer, reader = slates
    writer.lease(LeaseId("lease-a"))
    writer.begin(1, 1, 0.0)
    writer.close()
    assert reader.read() == Running(LeaseId("lease-a"), 1, 1, 0.0)


@pytest.mark.parametrize("length", [0, 1, MAX_LEASE_BYTES])
def test_a_lease_of_any_allowed_length_is_kept(slates: tuple[Slate, Slate], length: int) -> None:
    writer, reader = slates
    writer.lease(LeaseId("x" * 20))
    writer.lease(LeaseId("y" * length))
    writer.begin(1, 1, 0.0)
    running = reader.read()
    assert running is not None
    assert running.lease == "y" * length


@pytest.mark.parametrize("task", [-(2**63), 0, 2**63 - 1])
def test_task_numbers_of_64_bits_fit(slates: tuple[Slate, Slate], task: int) -> None:
    writer, reader = slates
    writer.begin(task, 1, 0.0)
    running = reader.read()
    assert running is not None
    assert running.task == task


def test_a_task_number_beyond_64_bits_is_refused_and_nothing_seems_to_run(
    slates: tuple[Slate, Slate],
) -> None:
    writer, reader = slates
    with pytest.raises(struct.error):
        writer.begin(2**63, 1, 0.0)
    assert reader.read() is None


def test_a_canary_is_told_from_a_task() -> None:
    assert Running(canary_lease("harmonic"), 0, 0, 0.0).canary == "harmonic"
    assert Running(LeaseId("lease-a"), 0, 0, 0.0).canary == ""
    assert len(canary_lease("x" * 1000).encode()) <= MAX_LEASE_BYTES
