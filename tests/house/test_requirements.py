import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

# msgpack before 1.2.1 crashes when an Unpacker is used again after an error: CVE-2026-57585.
FLOORS = {
    "cryptography": "50",
    "msgpack": "1.2.1",
    "msgspec": "0.21",
    "numba": "0.61",
    "numpy": "2.0",
    "psutil": "6",
    "pyzmq": "26.4",
}


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return table


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (root / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition(";")[0].strip().partition("==")
        found.setdefault(name, []).append(version)
    return found


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_nothing_older_than_the_floor_is_accepted(
    project: dict[str, Any], name: str, floor: str
) -> None:
    wanted = {
        item.name: item.specifier for item in map(Requirement, project["dependencies"])
    }[name]  # fmt: skip
    assert floor in wanted
    parts = [int(part) for part in floor.split(".")]
    parts[-1] -= 1
    below = ".".join(map(str, parts))
    assert below not in wanted


def test_every_requirement_is_pinned_within_its_range(
    project: dict[str, Any], pins: dict[str, list[str]]
) -> None:
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["gpu"]]
    wrong = [
        str(requirement)
        for requirement in map(Requirement, wanted)
        for pin in pins.get(requirement.name, ["0"])
        if not requirement.specifier.contains(Version(pin))
    ]
    assert wrong == []


def test_every_supported_python_is_declared(project: dict[str, Any]) -> None:
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert declared == ["3.11", "3.12", "3.13", "3.14"]
    assert project["requires-python"] == f">={declared[0]}"
