import pytest

from qallow_agent.base.errors import NotAdmitted
from qallow_agent.cli.output import say_error
from qallow_agent.cli.scores import gate_line, say_signals

GATE = {"state": "open", "e": 2970, "s": 970, "c": 1000, "h": 1000, "culprits": ["s0", "", ""]}


def test_an_open_gate_is_a_sum_with_its_culprits() -> None:
    assert gate_line(GATE) == "E 2.970 = S 0.970 (s0) + C 1.000 + H 1.000"
    assert gate_line(GATE | {"solo": True}).endswith(", solo")


def test_a_closed_gate_says_what_it_does_and_why() -> None:
    line = gate_line(GATE | {"state": "defers", "why": "it is hot"})
    assert line.endswith("; puts off new work: it is hot")


def test_signals_are_a_table_with_their_gaps(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"signal": "s2", "name": "thermal margin", "shown": "8 C", "thousandths": 800,
         "provenance": "measured", "source": "nvml", "stop": "", "why": ""},
        {"signal": "c3", "name": "CPU use by others", "shown": "unknown", "thousandths": None,
         "provenance": "unknown", "source": "", "stop": "", "why": "does not apply"},
    ]  # fmt: skip
    say_signals(rows)
    out = capsys.readouterr().out
    assert "thermal margin; nvml" in out
    assert "0.800" in out
    assert "does not apply" in out
    say_signals(())
    assert capsys.readouterr().out == ""


def test_a_refusal_is_printed_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    error = NotAdmitted("nobody takes it", hint="wait")
    error.document = {"text": "box may not run it", "code": "refused"}
    say_error(error)
    assert "box may not run it" in capsys.readouterr().err
    say_error(error, as_json=True)
    assert '"problem":{"code":"refused"}' in capsys.readouterr().err
