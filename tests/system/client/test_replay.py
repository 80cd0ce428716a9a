"""Checkpoints in Python: those of a future, and a run that starts again from one."""

import pytest

from qallow_agent.base.errors import CheckpointCorrupt, JobNotFound
from qallow_agent.client.session import Mesh

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


def test_a_run_is_replayed_from_its_states_to_the_same_bits(mesh: Mesh) -> None:
    future = mesh.submit(
        "harmonic", pockets=2_000, ticks=200_000, record_every=7_000, checkpoint_every=1_000
    )
    whole = future.result(60)
    assert 0 < len(future.epochs) <= 8
    epoch = future.epochs[-1]
    again = mesh.replay(future.checkpoint(epoch)).result(60)
    assert {name: array.tobytes() for name, array in again.values.items()} == {
        name: array.tobytes() for name, array in whole.values.items()
    }
    with pytest.raises(JobNotFound, match="no checkpoint of epoch 1000000") as caught:
        future.checkpoint(1_000_000)
    assert caught.value.hint.endswith(str(epoch))
    with pytest.raises(CheckpointCorrupt, match="announces"):
        mesh.replay(future.checkpoint(epoch)[:-1])


def test_a_state_above_a_megabyte_travels_in_pieces(mesh: Mesh) -> None:
    future = mesh.submit("harmonic", pockets=200_000, ticks=9_000, checkpoint_every=50)
    whole = future.result(80)
    blob = future.checkpoint(future.epochs[-1])
    assert len(blob) > 1 << 20
    again = mesh.replay(blob).result(60)
    assert all((again.values[name] == whole.values[name]).all() for name in whole.values)


def test_a_short_run_keeps_nothing(mesh: Mesh) -> None:
    future = mesh.submit("harmonic", ticks=500)
    future.result(60)
    assert future.epochs == ()
    with pytest.raises(JobNotFound, match="no checkpoints"):
        future.checkpoint(1)
