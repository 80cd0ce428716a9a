from pathlib import Path

import pytest

from qallow_agent.base.errors import InvariantBroken, UsageError
from qallow_agent.testing.scenario import main, parse, perform, render

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_gives_its_transcript(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert perform(text) == text, "read the difference, then rewrite it: docs/testing.md says how"


def test_a_scenario_is_rendered_as_it_was_parsed() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert render(parse(text)) == text


def test_an_expectation_that_does_not_hold_fails_the_scenario() -> None:
    with pytest.raises(InvariantBroken, match=r"expect members a: b dead.*b alive"):
        perform("nodes 2\nexpect members a: b dead\n")


def test_an_unknown_command_names_those_that_exist() -> None:
    with pytest.raises(UsageError, match="no command 'explode'") as caught:
        perform("explode a\n")
    assert "partition" in caught.value.hint


def test_a_command_with_missing_words_is_named() -> None:
    with pytest.raises(UsageError, match="cut a"):
        perform("nodes 2\ncut a\n")


def test_rewriting_fills_the_transcript_in_and_checking_then_agrees(tmp_path: Path) -> None:
    path = tmp_path / "small.txt"
    path.write_text("# Two boxes.\nfound a\njoin b via a\n", encoding="utf-8")
    assert main([str(path)]) == 1
    assert path.read_text(encoding="utf-8").endswith("join b via a\n")
    assert main(["--rewrite", str(path)]) == 0
    assert "trust.joined node=b" in path.read_text(encoding="utf-8")
    assert main([str(path)]) == 0
