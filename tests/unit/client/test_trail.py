"""A trail believes a state only if it follows from what it knows, and goes on without a bad one."""

from typing import Any

import pytest

from qallow_agent.base.errors import CheckpointCorrupt, JobNotFound
from qallow_agent.client.book import KernelBook
from qallow_agent.client.trail import Trail, retrace
from qallow_agent.kernels.state import Checkpoint, Section, blob_digest, encode_checkpoint

KERNEL = "ab" * 32
SCALARS = {"ticks": 10_000, "eps": 1e-4}


def state(tick: int, previous: bytes = b"", **changes: Any) -> bytes:
    """Return the blob of a state that follows from another one."""
    given: dict[str, Any] = {
        "kernel_hash": KERNEL, "tick": tick, "previous": blob_digest(previous) if previous else "",
        "sections": (Section("e", "f4", (2,), bytes(8)),), "epoch": tick // 10,
        "scalars": SCALARS,
    }  # fmt: skip
    return encode_checkpoint(Checkpoint(**(given | changes)))


@pytest.fixture
def trail() -> Trail:
    return Trail(KERNEL, SCALARS)


def test_the_newest_state_is_where_the_run_goes_on(trail: Trail) -> None:
    first = state(10)
    second = state(20, first)
    assert trail.tip is None
    for blob in (first, second):
        trail.add(blob)
    assert trail.tip is not None
    assert (trail.tip.tick, trail.tip.epoch, trail.tip.blob) == (20, 2, second)
    head, array = trail.tip.as_array()
    assert (head.name, head.shape, array.tobytes()) == ("@state", (len(second),), second)


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (state(30, state(25)), "follows from none"),
        (state(10, state(10)), "follows from none"),
        (state(5, state(10)), "follows from none"),
        (state(30, kernel_hash="cd" * 32), "belongs to kernel"),
        (state(30, scalars={"ticks": 11_000}), "epoch 3 at tick 30 is of a run with other"),
        (state(30)[:-1], "announces"),
        (b"", "no checkpoint"),
    ],
)
def test_a_state_that_does_not_follow_is_refused_by_name(
    trail: Trail, blob: bytes, why: str
) -> None:
    known = state(10)
    trail.add(known)
    with pytest.raises(CheckpointCorrupt, match=why):
        trail.add(blob)
    assert trail.tip is not None
    assert trail.tip.blob == known


def test_an_older_state_serves_when_the_newest_was_no_good(trail: Trail) -> None:
    first = state(10)
    trail.add(first)
    trail.add(state(20, first))
    doubted = trail.doubt()
    assert doubted is not None
    assert (doubted.tick, trail.tip and trail.tip.tick) == (20, 10)
    trail.add(state(30, first))
    assert trail.tip is not None
    assert trail.tip.tick == 30


def test_a_second_runner_behind_the_first_adds_nothing(trail: Trail) -> None:
    trail.add(state(50))
    behind = state(20)
    assert trail.add(behind) is None
    assert trail.add(state(60, behind)) is not None


def test_many_states_are_thinned_out_and_later_ones_still_follow(trail: Trail) -> None:
    before = b""
    for tick in range(10, 1_000, 10):
        before = state(tick, before)
        assert trail.add(before) is not None
    epochs = [mark.epoch for mark in trail.marks]
    assert (len(epochs), epochs[0], epochs[-1]) == (8, 1, 99)
    assert trail.blob(99) == before
    with pytest.raises(JobNotFound, match="epoch 50") as caught:
        trail.blob(50)
    assert caught.value.hint.startswith("there are: 1, ")


def test_a_state_of_a_kernel_that_changed_is_refused() -> None:
    with pytest.raises(CheckpointCorrupt, match="not installed here"):
        retrace(state(10), KernelBook())
