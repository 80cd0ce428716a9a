"""Points from files, results into files, and streams, through a real agent and the command line."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qallow_agent.base.errors import AgentUnreachable, KernelFailed
from qallow_agent.client.files import read_columns
from qallow_agent.client.session import Mesh, connect
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

RAISES = 1


@pytest.mark.parametrize("name", ["out.csv", "out.npz", "out.parquet"])
def test_a_file_of_points_becomes_a_file_of_results(
    lone: AgentProcess, tmp_path: Path, name: str
) -> None:
    (tmp_path / "points.csv").write_text("mood\n" + "\n".join(map(str, range(10, 310))))
    words = ("map", "moody", "--params", tmp_path / "points.csv", "-o", tmp_path / "new" / name)
    done = lone.run_cli(*words, within_s=60)
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'new' / name}" in done.stderr
    assert [each.name for each in (tmp_path / "new").iterdir()] == [name]
    found = read_columns(tmp_path / "new" / name).by_name
    assert {key: each.tolist() for key, each in found.items()} == {
        "point": list(range(300)),
        "mood": list(range(10, 310)),
        "value": list(range(10, 310)),
    }


def test_a_file_and_a_sweep_are_not_combined(lone: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("mood\n10\n11\n")
    done = lone.run_cli(
        "map", "moody", "--params", tmp_path / "points.csv", "--sweep", "mood=10,11"
    )
    assert done.returncode == 2
    assert "cannot be combined" in done.stderr


def test_one_evaluation_goes_into_a_file_too(lone: AgentProcess, tmp_path: Path) -> None:
    done = lone.run_cli("run", "moody", "--set", "mood=12", "-o", tmp_path / "one.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one.csv").read_text() == "point,value\n0,12.0\n"


def test_results_are_saved_and_kept_as_arrays(mesh: Mesh, tmp_path: Path) -> None:
    grid = {"mood": range(10, 1_010)}
    assert mesh.map("moody", grid).save(tmp_path / "out.npz") == []
    arrays = mesh.map("moody", grid).arrays()
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert {name: archive[name].tobytes() for name in archive.files} == {
            name: array.tobytes() for name, array in arrays.items()
        }
    assert arrays["value"].tolist() == list(range(10, 1_010))
    nothing = mesh.map("moody", []).arrays()
    assert {name: array.tolist() for name, array in nothing.items()} == {"point": []}


def test_a_failed_point_costs_no_other_its_place_in_the_file(mesh: Mesh, tmp_path: Path) -> None:
    moods = [10, 11, RAISES, 12]
    with pytest.raises(KernelFailed, match="point 2"):
        mesh.map("moody", {"mood": moods}).save(tmp_path / "out.csv")
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert rows == ["point,mood,value", "0,10,10.0", "1,11,11.0", "3,12,12.0"]


def test_an_endless_stream_is_drawn_as_it_is_read(mesh: Mesh) -> None:
    drawn = itertools.count()
    frames: Iterator[dict[str, Any]] = ({"mood": 10 + number} for number in drawn)
    with mesh.stream("moody", frames, ahead=16, seconds=0.0) as results:
        for taken, result in enumerate(itertools.islice(results, 500)):
            assert (result.index, int(result.value)) == (taken, 10 + taken)
    assert 500 <= next(drawn) <= 500 + 17
    assert list(results) == []


def test_a_stream_ends_with_its_frames_and_names_the_one_that_failed(mesh: Mesh) -> None:
    rows = [{"mood": mood} for mood in (10, 11, RAISES, 12)]
    results = mesh.stream("moody", rows)
    assert [int(next(results).value), int(next(results).value)] == [10, 11]
    with pytest.raises(KernelFailed, match="frame 2") as caught:
        next(results)
    assert "kernels_with_moods.py" in str(caught.value.__cause__)
    found = [each.index for each in mesh.stream("moody", rows[:2] * 50, ordered=False)]
    assert sorted(found) == list(range(100))


def test_a_stream_lost_with_its_agent_fails(spawn: Callable[..., AgentProcess]) -> None:
    agent = spawn("mortal")
    mesh = connect(agent.socket)
    results = mesh.stream("moody", ({"mood": mood} for mood in itertools.count(10)), seconds=0.1)
    next(results)
    threading.Timer(0.2, agent.kill).start()
    with pytest.raises(AgentUnreachable, match=r"frame \d+: "):
        list(itertools.islice(results, 1_000))
