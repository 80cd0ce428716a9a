import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    ".ci", "benchmarks", "changes", "configs", "docs", "k8s", "kernels", "mesh", "qallow_agent",
    "scripts", "systemd", "tests",
)  # fmt: skip
LINKS = ("qallow_agent/mesh", "qallow_agent/kernels")


def walk() -> Iterator[Path]:
    # In a linked worktree .git is a file, which holds a path.
    yield from sorted(path for path in ROOT.iterdir() if path.is_file() and path.name != ".git")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            beyond_link = path.relative_to(ROOT).as_posix().startswith(LINKS)
            if path.is_file() and not beyond_link and "__pycache__" not in path.parts:
                yield path


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """Every text file of the repository by its path from the root."""
    found = {}
    for path in walk():
        try:
            found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


@pytest.fixture(scope="session")
def code(texts: dict[str, str]) -> dict[str, str]:
    """Every module of the package and its benchmarks, each under its real path."""
    own = ("qallow_agent/", "mesh/", "kernels/", "benchmarks/")
    return {
        name: text for name, text in texts.items() if name.endswith(".py") and name.startswith(own)
    }


@pytest.fixture(scope="session")
def pages(texts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name.endswith(".md")}


@pytest.fixture(scope="session")
def trees(code: dict[str, str]) -> dict[str, ast.Module]:
    return {name: ast.parse(text) for name, text in code.items()}


@pytest.fixture(scope="session")
def bare() -> Callable[[str], str]:
    """Return a function that drops the fenced blocks of a page."""

    def without_fences(page: str) -> str:
        return "".join(page.split("```")[::2])

    return without_fences
