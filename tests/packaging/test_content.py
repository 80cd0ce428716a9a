import configparser
import io
import re
import tarfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(180)  # building takes seconds, on a busy machine tens of them

ROOT = Path(__file__).parents[2]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def files(wheel: Path, contents: Contents) -> dict[str, bytes]:
    return contents(wheel)


def metadata(files: dict[str, bytes], name: str) -> str:
    (found,) = [body for path, body in files.items() if path.endswith(f".dist-info/{name}")]
    return found.decode()


def test_the_wheel_holds_every_module_of_the_tree(files: dict[str, bytes]) -> None:
    folders = (ROOT / "qallow_agent", ROOT / "qallow_agent/mesh", ROOT / "qallow_agent/kernels")
    wanted = {
        path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.py")
    }
    assert "qallow_agent/mesh/wire/seal.py" in wanted
    assert "qallow_agent/kernels/harmonic/cpu.py" in wanted
    assert sorted(name for name in files if name.endswith(".py")) == sorted(wanted)


def test_the_wheel_holds_nothing_else(files: dict[str, bytes]) -> None:
    others = {name for name in files if not name.endswith(".py") and ".dist-info/" not in name}
    assert others == {"qallow_agent/py.typed"}
    assert {name.partition("/")[0].partition("-")[0] for name in files} == {"qallow_agent"}


def test_the_wheel_is_pure_and_carries_its_licence(files: dict[str, bytes], wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "Apache License" in metadata(files, "licenses/LICENSE")
    assert Parser().parsestr(metadata(files, "METADATA"))["License-Expression"] == "Apache-2.0"


def test_the_wheel_announces_its_command_and_kernels(files: dict[str, bytes]) -> None:
    points = configparser.ConfigParser()
    points.read_string(metadata(files, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {"qallow-agent": "qallow_agent.cli.main:main"}
    assert sorted(points["qallow_agent.kernels"]) == ["elasticity", "harmonic"]


def test_the_release_is_the_same_everywhere(files: dict[str, bytes]) -> None:
    declared = Parser().parsestr(metadata(files, "METADATA"))["Version"]
    module = files["qallow_agent/__init__.py"].decode()
    assert re.findall(r'^__version__ = "([^"]+)"$', module, re.MULTILINE) == [declared]


def test_the_sdist_holds_the_real_files_behind_the_links(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = {item.name.partition("/")[2]: item for item in archive.getmembers()}
    assert members["qallow_agent/mesh/wire/seal.py"].isreg()
    assert members["qallow_agent/kernels/spec.py"].isreg()
    assert [name for name, item in members.items() if item.issym() or item.islnk()] == []
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.cfg"} <= set(members)


def test_a_wheel_built_from_the_sdist_is_the_same(
    files: dict[str, bytes], second_wheel: Path, contents: Contents
) -> None:
    again = contents(second_wheel)
    record = [name for name in files if name.endswith("/RECORD")]
    for listing in (files, again):
        rows = io.StringIO(listing[record[0]].decode()).readlines()
        assert len(rows) == len(listing)
    assert {name: body for name, body in again.items() if name not in record} == {
        name: body for name, body in files.items() if name not in record
    }
