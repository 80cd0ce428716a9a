import pytest

from qallow_agent.client.progress import ProgressLine


def test_the_line_says_how_far_it_is_and_what_went_wrong(capsys: pytest.CaptureFixture) -> None:
    meter = ProgressLine("harmonic", 1_000, on=True)
    meter.show(10, 1, 2)
    meter.show(11)
    meter.show(1_000)
    meter.end()
    said = capsys.readouterr().err
    assert "harmonic  10/1,000" in said
    assert "ETA" in said
    assert "failed 1  re-run 2" in said
    assert "11/1,000" not in said
    assert said.rstrip(" ").endswith("\n")


def test_a_sweep_that_was_over_at_once_says_nothing(capsys: pytest.CaptureFixture) -> None:
    ProgressLine("harmonic", 1, on=True).end()
    assert capsys.readouterr().err == ""
