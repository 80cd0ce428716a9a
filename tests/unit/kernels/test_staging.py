"""Runs in stages: when states are kept, and what is made of them."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from qallow_agent.base.errors import BadParameter, CheckpointCorrupt
from qallow_agent.kernels import elasticity, staging
from qallow_agent.kernels.backends import Stage, load_stage
from qallow_agent.kernels.execution import run_task
from qallow_agent.kernels.staging import LEAST_S, PAUSE_S, Pace, Plan, run_staged
from qallow_agent.kernels.state import blob_digest, decode_checkpoint, encode_checkpoint

HASH = "ab" * 32
SCALARS = {"ticks": 3_000, "eps": 1e-3, "record_every": 30}


class Clock:
    """Goes on by a fixed step each time it is read."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def stage() -> Stage:
    found = load_stage(elasticity.KERNEL, "reference")
    assert found is not None
    return found


def run(since: bytes = b"", grain: int = 50, **changes: Any) -> tuple[dict[str, Any], list[bytes]]:
    blobs: list[bytes] = []
    clock = Clock(0.0)

    def advance(state: Any, begun: int, until: int, **given: Any) -> None:
        clock.now_s += 0.01 * (until - begun)  # a slow device
        stage().advance(state, begun, until, **given)

    slow = stage()._replace(advance=advance)
    outputs = run_staged(
        elasticity.KERNEL, slow, SCALARS | changes, Plan(grain, 0.0, HASH, ("attempt:a",)),
        since=since, keep=blobs.append, clock=clock,
    )  # fmt: skip
    return outputs, blobs


def test_every_epoch_of_a_slow_run_is_kept_and_each_names_the_one_before() -> None:
    outputs, blobs = run()
    whole = run_task(elasticity.KERNEL, "reference", SCALARS, {}, {})
    assert {name: array.tobytes() for name, array in outputs.items()} == {
        name: array.tobytes() for name, array in whole.items()
    }
    states = [decode_checkpoint(blob, kernel_hash=HASH) for blob in blobs]
    assert [each.epoch for each in states] == list(range(1, 60))
    assert all(each.tick == 50 * each.epoch for each in states)
    assert states[0].parents == ("attempt:a",)
    for before, blob, after in zip(states, blobs, states[1:], strict=False):
        assert before.tick < after.tick
        assert after.previous == blob_digest(blob)
        assert after.parents == ("attempt:a", f"checkpoint:{after.previous[:16]}")


def test_a_run_goes_on_from_any_of_its_states() -> None:
    outputs, blobs = run()
    for blob in blobs[::15]:
        again, later = run(since=blob)
        assert all(np.array_equal(again[name], outputs[name]) for name in outputs)
        assert all(decode_checkpoint(each).tick > decode_checkpoint(blob).tick for each in later)


def test_a_state_of_other_parameters_or_another_shape_is_refused() -> None:
    _, (blob, *_) = run()
    with pytest.raises(CheckpointCorrupt, match="other parameters"):
        run(since=blob, eps=2e-3)
    with pytest.raises(CheckpointCorrupt, match="other parameters"):
        run(since=blob, ticks=20)
    state = decode_checkpoint(blob)
    for sections in (state.sections[1:], (*state.sections, state.sections[0]), ()):
        with pytest.raises(CheckpointCorrupt, match="no state of this kernel"):
            run(since=encode_checkpoint(replace(state, sections=sections)))
    with pytest.raises(CheckpointCorrupt, match="other parameters"):
        run(since=encode_checkpoint(replace(state, tick=3_000)))


def test_wrong_parameters_are_refused_before_anything_runs() -> None:
    with pytest.raises(BadParameter):
        run(ticks=0)


def test_a_state_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_BYTES", 10)
    assert run()[1] == []


def test_stops_lie_where_epochs_end_and_grow_with_the_speed() -> None:
    pace = Pace(1_000, PAUSE_S, Clock(0.001))
    tick, lengths = 0, []
    for _ in range(5):
        stop = pace.stop(tick, 10**9)
        lengths.append(stop - tick)
        assert not pace.went(stop - tick)
        tick = stop
    assert lengths == [1_000, 8_000, 64_000, 512_000, 4_096_000]
    assert pace.stop(tick + 500, tick + 700) == tick + 700


def test_what_takes_long_to_keep_is_kept_less_often() -> None:
    clock = Clock(0.0)
    pace = Pace(10, 0.0, clock)
    pace.stop(0, 10**6)
    clock.now_s = 1.0
    assert pace.went(10)
    clock.now_s = 1.5
    pace.kept(1)
    clock.now_s = 6.4
    assert not pace.went(10)
    clock.now_s = 6.6
    assert pace.went(10)


def test_a_large_state_leaves_the_way_to_others() -> None:
    clock = Clock(0.0)
    pace = Pace(10, PAUSE_S, clock)
    pace.kept(100 * 10**6)
    clock.now_s = 4.9
    assert not pace.went(10)
    clock.now_s = 5.1
    assert pace.went(10)


def test_no_more_than_fifty_are_kept_a_second() -> None:
    clock = Clock(0.0)
    pace = Pace(1, 0.0, clock)
    pace.kept(1)
    clock.now_s = LEAST_S / 2
    assert not pace.went(1)
