from pathlib import Path

from qallow_agent.config.reference import generated


def test_generated_files_are_in_step_with_the_code(root: Path) -> None:
    stale = [
        path.relative_to(root).as_posix()
        for path, text in generated(root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run: make docs"
