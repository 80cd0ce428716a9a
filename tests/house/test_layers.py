import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = ("base", "energy", "ethics", "jobs", "ledger", "node", "placement")


@pytest.fixture(scope="module")
def contracts(root: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    return config


@pytest.mark.timeout(120)  # the import graph of the whole package, on a busy machine
def test_every_layer_contract_holds(root: Path) -> None:
    program = (
        "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_pure_room_is_on_the_list_of_quiet_rooms(
    contracts: configparser.ConfigParser, root: Path
) -> None:
    quiet = contracts["importlinter:contract:quiet"]["source_modules"].split()
    loud = {"io"}
    rooms = [f"qallow_agent.{name}" for name in ROOMS]
    rooms += [
        f"qallow_agent.mesh.{path.name}"
        for path in (root / "mesh").iterdir()
        if (path / "__init__.py").is_file() and path.name not in loud
    ]
    assert [room for room in rooms if room not in quiet] == []


def test_quiet_rooms_import_nothing_for_type_checkers_only(code: dict[str, str]) -> None:
    quiet = (*(f"qallow_agent/{room}/" for room in ROOMS), "mesh/")
    hidden = [
        name
        for name, text in code.items()
        if name.startswith(quiet) and not name.startswith("mesh/io/") and "TYPE_CHECKING" in text
    ]
    assert hidden == []


def test_every_storey_of_the_picture_is_in_the_contract(
    contracts: configparser.ConfigParser, pages: dict[str, str]
) -> None:
    storeys = contracts["importlinter:contract:storeys"]["layers"]
    picture = pages["ARCHITECTURE.md"].split("```")[1]
    drawn = re.findall(r"\b([a-z]+)/", picture)
    ordered = re.findall(r"[a-z]+", storeys)
    built = [name for name in ordered if name not in {"assembly", "adapters"}]
    assert [name for name in ordered if name in drawn] == drawn
    assert sorted(set(built) - set(drawn)) == []
