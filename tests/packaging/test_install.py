import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(180)  # building takes seconds, on a busy machine tens of them

ROOT = Path(__file__).parents[2]


def call(bin_folder: Path, home: Path, *words: str) -> str:
    """Run a program of the fresh environment as a user with an empty home would."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = subprocess.run(
        [bin_folder / words[0], *words[1:]],
        cwd=home, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_installed_package_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    program = (
        "import qallow_agent, qallow_agent.mesh, qallow_agent.kernels as k;"
        "print(qallow_agent.__file__, k.__file__)"
    )
    site = next((installed.parent / "lib").glob("python3*/site-packages"))
    for path in call(installed, tmp_path, "python", "-c", program).split():
        assert Path(path).is_relative_to(site)


def test_the_command_says_its_release(installed: Path, tmp_path: Path) -> None:
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert call(installed, tmp_path, "qallow-agent", "--version") == f"qallow-agent {release}\n"


def test_the_installed_kernels_are_found(installed: Path, tmp_path: Path) -> None:
    document = json.loads(call(installed, tmp_path, "qallow-agent", "kernels", "ls", "--json"))
    assert [kernel["name"] for kernel in document["kernels"]] == ["elasticity", "harmonic"]


def test_the_installed_kernels_compute(installed: Path, tmp_path: Path) -> None:
    program = (
        "import time;"
        "from qallow_agent.kernels.registry import load_catalog;"
        "from qallow_agent.kernels.execution import run_canary;"
        "catalog = load_catalog();"
        "runs = [run_canary(catalog.get(name), 'reference', time.monotonic)"
        " for name in catalog.names];"
        "print(*[run.passed for run in runs])"
    )
    assert call(installed, tmp_path, "python", "-c", program).split() == ["True", "True"]


def test_the_default_configuration_is_valid_when_installed(installed: Path, tmp_path: Path) -> None:
    call(installed, tmp_path, "qallow-agent", "config", "validate")


def test_a_users_type_checker_sees_the_annotations(installed: Path) -> None:
    site = next((installed.parent / "lib").glob("python3*/site-packages"))
    assert (site / "qallow_agent" / "py.typed").is_file()
