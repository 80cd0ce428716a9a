import configparser
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["mesh", "kernels"])
def test_a_folder_at_the_top_is_linked_into_the_package(root: Path, name: str) -> None:
    link = root / "qallow_agent" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..", name)
    assert (root / name / "__init__.py").is_file()
    assert not (root / name).is_symlink()


def test_there_is_no_other_link(root: Path) -> None:
    folders = ("qallow_agent", "mesh", "kernels", "tests", "configs", "docs", "scripts")
    links = [path for folder in folders for path in (root / folder).rglob("*") if path.is_symlink()]
    assert sorted(links) == [root / "qallow_agent" / "kernels", root / "qallow_agent" / "mesh"]


@pytest.mark.parametrize("name", ["mesh", "kernels"])
def test_no_code_of_ours_answers_to_a_bare_name(root: Path, name: str, tmp_path: Path) -> None:
    program = f"import importlib.util as u; s = u.find_spec({name!r}); print(s and s.origin)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert str(root) not in done.stdout


def test_every_package_is_named_in_setup_cfg(root: Path) -> None:
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    named = config["options"]["packages"].split()
    folders = ("qallow_agent", "qallow_agent/mesh", "qallow_agent/kernels")
    found = {
        path.parent.relative_to(root).as_posix().replace("/", ".")
        for folder in folders
        for path in (root / folder).rglob("__init__.py")
    }
    assert named == sorted(found)


def test_every_folder_with_modules_is_a_package(code: dict[str, str]) -> None:
    folders = {str(Path(name).parent) for name in code if not name.startswith("benchmarks/")}
    assert [folder for folder in sorted(folders) if f"{folder}/__init__.py" not in code] == []


def test_the_tests_are_no_package(root: Path) -> None:
    assert list((root / "tests").rglob("__init__.py")) == []
