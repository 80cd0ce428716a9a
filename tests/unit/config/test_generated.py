import tomllib
from pathlib import Path

import pytest

from qallow_agent.config.load import load_settings
from qallow_agent.config.reference import generated
from qallow_agent.config.render import effective, toml_value
from qallow_agent.config.schema import Settings
from qallow_agent.config.tree import build, entries, flatten, sections

ROOT = Path(__file__).parents[3]
PRESETS = sorted(path for path in (ROOT / "configs").glob("*.toml") if path.name != "agent.toml")


@pytest.mark.parametrize("path", generated(ROOT), ids=lambda path: path.name)
def test_generated_files_are_in_step_with_the_code(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated(ROOT)[path], "run 'make docs'"


def test_the_example_with_every_comment_removed_is_the_defaults() -> None:
    text = (ROOT / "configs" / "agent.toml").read_text(encoding="utf-8")
    lines = [line.removeprefix("# ") for line in text.splitlines() if _is_setting(line)]
    plain = tomllib.loads("\n".join(lines))
    flat = {
        f"{section}.{name}": tuple(value) if isinstance(value, list) else value
        for section in sections(Settings)
        for name, value in _table(plain, section).items()
        if not isinstance(value, dict)
    }
    assert flat == {key: entry.default for key, entry in entries(Settings).items()}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_valid_and_says_only_differences(path: Path) -> None:
    loaded = load_settings([path], environment={"HOME": "/home/ada"})
    table = entries(Settings)
    set_here = [key for key, source in loaded.sources.items() if source == f"file {path}"]
    assert set_here
    assert [key for key in set_here if loaded.values()[key] == table[key].default] == []


def test_the_effective_configuration_loads_to_itself(tmp_path: Path) -> None:
    loaded = load_settings([ROOT / "configs" / "wan.toml"], environment={"HOME": "/home/ada"})
    path = tmp_path / "shown.toml"
    path.write_text(effective(loaded.values(), loaded.sources), encoding="utf-8")
    assert load_settings([path], environment={}).settings == loaded.settings


def test_every_setting_explains_itself() -> None:
    for key, entry in entries(Settings).items():
        assert entry.rule.doc, key
        assert toml_value(entry.default), key


def test_the_tree_survives_flattening() -> None:
    assert build(Settings, flatten(Settings())) == Settings()


def _is_setting(line: str) -> bool:
    words = line.removeprefix("# ").split(" = ")
    return line.startswith("[") or (len(words) > 1 and words[0].isidentifier())


def _table(document: dict[str, object], section: str) -> dict[str, object]:
    table: object = document
    for name in section.split("."):
        table = table.get(name, {}) if isinstance(table, dict) else {}
    return table if isinstance(table, dict) else {}
