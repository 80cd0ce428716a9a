import errno
import json

import pytest

from qallow_agent.cli.output import emit, fit, note, table


def test_the_widest_column_gives_way() -> None:
    widths = fit(("A", "B", "C"), [("x" * 100, "y" * 10, "z")], 40)
    assert sum(widths) + 4 == 40
    assert widths[1:] == [10, 1]


def test_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    table(("NAME", "COUNT"), [("a", "5"), ("b", "1000")])
    assert capsys.readouterr().out.splitlines() == ["NAME  COUNT", "a         5", "b      1000"]


def test_an_empty_table_says_so_beside_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    table(("A",), [], empty="nobody is here")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nobody is here\n")


def test_what_json_cannot_say_becomes_null(capsys: pytest.CaptureFixture[str]) -> None:
    emit("qallow.x/v1", {"schema": "other", "bad": float("nan")})
    assert json.loads(capsys.readouterr().out) == {"schema": "qallow.x/v1", "bad": None}


def test_a_long_last_column_continues_below_itself(capsys: pytest.CaptureFixture[str]) -> None:
    table(("NAME", "TEXT"), [("a", "word " * 30), ("b", "")], wrap=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].startswith("      word")


def test_a_column_that_people_copy_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    row = ("job-gamhuux2bkzrgjky", "a-kernel-of-a-long-name-" * 3, "succeeded")
    table(("JOB", "KERNEL", "STATE"), [row], keep=0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("job-gamhuux2bkzrgjky  a-kernel")
    assert len(lines[1]) == 80


def test_a_note_to_a_closed_terminal_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("click.echo", gone)
    note("anybody there?")
