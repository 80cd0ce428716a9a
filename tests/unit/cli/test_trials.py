import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.cli import trials
from qallow_agent.cli.main import main
from qallow_agent.runtime.trial import Verdict

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(PLUGINS)
    file = tmp_path / "agent.toml"
    file.write_text(
        '[kernels]\ndisabled = ["elasticity", "harmonic"]\n'
        'modules = ["kernels_that_misbehave:ECHO", "kernels_that_misbehave:LIES",'
        ' "kernels_that_misbehave:CRASHES"]\n'
        f'[runners]\nimport_paths = ["{PLUGINS}"]\n'
    )
    return file


def test_every_kernel_is_tried_and_the_wrong_ones_are_named(
    misbehaving: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kernels", "test", "--config", str(misbehaving), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "qallow.kernels.test/v1"
    found = {each["kernel"]: each for each in document["trials"]}
    assert (found["echo"]["passed"], found["echo"]["max_error"]) == (True, 0.0)
    assert not found["lies"]["passed"]
    assert "shape (1, 3), declared" in found["lies"]["why"]
    assert found["crashes"]["why"] == "its process ended (killed by SIGSEGV)"


def test_a_kernel_of_this_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "test", "harmonic", "--device", "cpu0"]) == 0
    told = capsys.readouterr()
    assert "failed" not in told.err
    [_, row] = told.out.splitlines()
    assert row.split() == ["harmonic", "cpu0", "cpu", "ok", "0"]


def test_a_device_that_is_not_here_is_refused_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["kernels", "test", "--device", "fpga7"]) == 1
    assert "known: cpu0 (cpu)" in capsys.readouterr().err


def test_a_kernel_that_is_not_here_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "bench", "harmonc"]) == 2
    assert "harmonic" in capsys.readouterr().err


FAST = Verdict(
    backend="cpu", error=0.0, threads=2, points=4096, ops_per_s=264e9, steps_per_s=22e9,
    bound_per_s=300e9, energy=Reading(12.0, "joules", "rapl"), joules_per_op=4.5e-11,
)  # fmt: skip
UNKNOWN = Verdict(
    backend="cuda", error=None, points=4096, ops_per_s=5e12,
    energy=unknown("joules", "nvml", "the board counts no joules"),
)  # fmt: skip
WRONG = Verdict(backend="cuda", why="known answers: E[0] = 1, known answer 2", fix="mend it")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def attempts(*_: Any) -> Any:
        yield trials.Trial("elasticity", "tick", "cpu0", FAST)
        yield trials.Trial("elasticity", "tick", "gpu0", UNKNOWN)
        yield trials.Trial("a-kernel-with-a-very-long-name", "tick", "gpu0", WRONG)

    monkeypatch.setattr(trials, "attempts", attempts)


@pytest.mark.usefixtures("tried")
def test_a_benchmark_is_a_table_of_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "bench"]) == 1
    told = capsys.readouterr()
    assert max(map(len, told.out.splitlines())) <= 80
    rows = [row.split() for row in told.out.splitlines()]
    assert rows[1] == ["elasticity", "cpu0", "2", "264", "G", "22", "G", "88%", "0", "45", "pJ"]
    assert rows[2] == ["elasticity", "gpu0", "-", "5", "T", "-", "-", "-", "-"]
    assert rows[3][2:] == ["-", "failed", "-", "-", "-", "-"]
    assert "gpu0: joules unknown: the board counts no joules" in told.err
    assert "failed: known answers: E[0] = 1, known answer 2\n  fix: mend it" in told.err


def test_a_share_that_cannot_be_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beyond = msgspec.structs.replace(FAST, bound_per_s=200e9)
    monkeypatch.setattr(
        trials, "attempts", lambda *_: iter([trials.Trial("elasticity", "tick", "cpu0", beyond)])
    )
    assert main(["kernels", "bench"]) == 0
    told = capsys.readouterr()
    assert "132%" in told.out
    assert "beside other work" in told.err


@pytest.mark.usefixtures("tried")
def test_a_benchmark_as_json_says_where_its_joules_come_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["kernels", "bench", "--json"]) == 1
    first, second, _ = json.loads(capsys.readouterr().out)["trials"]
    assert first["energy"] == {"value": 12.0, "unit": "joules", "source": "rapl"}
    assert second["energy"]["provenance"] == "unknown"
    assert (first["bound_ops_per_s"], second["bound_ops_per_s"]) == (300e9, None)
