import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MAKE = shutil.which("make")


@pytest.fixture(scope="module")
def targets(root: Path) -> list[str]:
    found = re.search(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1).split()


@pytest.mark.skipif(MAKE is None, reason="make is not installed")
def test_make_helps_with_every_target(root: Path, targets: list[str]) -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    alone.pop("MFLAGS", None)
    done = subprocess.run(["make"], cwd=root, env=alone, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == targets


@pytest.mark.parametrize("script", [".ci/run", "scripts/interop", "scripts/setup"])
def test_a_script_is_executable_and_sound(root: Path, script: str) -> None:
    assert os.access(root / script, os.X_OK)
    subprocess.run(["sh", "-n", root / script], check=True)


def test_every_change_passes_the_checks_and_all_tests(root: Path) -> None:
    lines = (root / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make check", "make test"]


def test_setup_refuses_a_python_that_is_too_old(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2"\nexit 1\n')
    old.chmod(0o755)
    tools = ("uname", "dirname", "sh")
    for tool in tools:
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    done = subprocess.run(
        ["sh", root / "scripts" / "setup", tmp_path / "venv"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Python 3.11 to 3.14 is needed; python3 is Python 3.9.2" in done.stderr
    assert "fix:" in done.stderr
    assert not (tmp_path / "venv").exists()
