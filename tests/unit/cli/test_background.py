import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qallow_agent.base.errors import JobFailed, JobNotFound, StorageCorrupt, UsageError
from qallow_agent.base.ids import JobId, Sender
from qallow_agent.base.message import Done, Failure, Message, Report
from qallow_agent.cli.detach import detach
from qallow_agent.cli.options import LocalAgent
from qallow_agent.cli.retained import fetch
from qallow_agent.jobs.messages import Deposit, Fetch

Serve = Callable[[Callable[[Sender, Message], list[Message]]], Path]
JOB = JobId("j-9")


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_detached_command_names_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, 'echo "$@"; echo "job j-9"'))
    _, log, job = detach(["map", "harmonic", "--detach", "-o", "out"], tmp_path / "out")
    assert job == "j-9"
    assert log.read_text().splitlines()[0] == "-m qallow_agent.cli.main map harmonic -o out"


def test_the_log_stands_beside_the_one_file_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, 'echo "job j-9"'))
    _, log, _ = detach(["map", "harmonic"], tmp_path / "new" / "out.csv")
    assert log == tmp_path / "new" / "out.csv.log"


def test_a_detached_command_that_fails_at_once_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, "echo no agent; exit 69"))
    with pytest.raises(JobFailed, match="exit code 69: no agent"):
        detach(["run", "x"], tmp_path / "out")


def test_a_detached_command_needs_a_place_for_its_results() -> None:
    with pytest.raises(UsageError, match="place for the results"):
        detach(["run", "x"], None)


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, point=np.arange(3), square=np.arange(3) ** 2)
    return buffer.getvalue()


def parts(data: bytes, size: int = 100) -> list[Message]:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    last = len(pieces) - 1
    return [Deposit(JOB, at, piece, at == last) for at, piece in enumerate(pieces)]


def test_a_retained_result_is_put_together_and_written(serve: Serve, tmp_path: Path) -> None:
    about = Report("qallow.jobs/v1", {"jobs": [{"job": JOB, "kernel": "square"}]})
    path = serve(lambda _, m: parts(archive()) if isinstance(m, Fetch) else [about])
    written = fetch(LocalAgent(str(path), 5.0), JOB, tmp_path / "out")
    with np.load(written[0]) as found:
        assert found["square"].tolist() == [0, 1, 4]
    assert '"kernel": "square"' in written[1].read_text()


@pytest.mark.parametrize("answer", [parts(archive())[1:], parts(b"no archive"), [Done()]])
def test_a_damaged_retained_result_is_refused(
    serve: Serve, tmp_path: Path, answer: list[Message]
) -> None:
    path = serve(lambda _, m: answer if isinstance(m, Fetch) else [Report("x", {})])
    with pytest.raises(StorageCorrupt):
        fetch(LocalAgent(str(path), 5.0), JOB, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_result_that_was_not_retained_is_not_found(serve: Serve, tmp_path: Path) -> None:
    path = serve(lambda _, __: [Failure("job-not-found", "not retained")])
    with pytest.raises(JobNotFound):
        fetch(LocalAgent(str(path), 5.0), JOB, tmp_path / "out")
